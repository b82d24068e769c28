"""Upkeep by the clock, and after each commit that is heard of: checkpoints, the end of sessions, old events."""

from __future__ import annotations

import time
from typing import Any

from manifold_common.bootstrap import Manifold
from manifold_common.bootstrap.chores import CHORES, Stop, chores_of
from manifold_common.domain.panic import panics_as_errors
from manifold_common.errors import ManifoldError, NotFound, PartlyDone, told

from functions.invocation import metrics
from functions.invocation.batch import KafkaRecord, each_record, kind_of
from functions.invocation.decode import refusal_of
from functions.invocation.entry import Call, function
from functions.invocation.logs import logger, where_of
from functions.invocation.schedule import ScheduledRequest, scheduled
from functions.maintenance.commits import commit_of

_MARGIN_SECONDS = 15.0
"""A checkpoint of a large project takes some seconds."""

NAMES = chores_of("maintenance")


class MaintenanceRequest(ScheduledRequest, frozen=True, kw_only=True):
    """Do what is due."""

    chores: tuple[str, ...] = tuple(NAMES)
    """Only these, in this order."""


@function("maintenance")
def handler(event: Any, call: Call) -> dict[str, Any]:
    """Do each chore by itself, so that none can stop the others; answer how much was done.

    Raises:
        PartlyDone: chores failed, or a batch of Kafka was not done. Its details say which.
    """
    kind = kind_of(event)
    if kind == "kafka":
        settings = call.manifold.settings
        return each_record(
            event,
            lambda record: _after_commit(record, call.manifold),
            one_by_one=settings.functions.partial_batches,
            discreet=settings.projects.encrypt,
        )
    if kind is not None:
        raise refusal_of("Records", "this function takes no messages of a queue")
    request, stop = scheduled(MaintenanceRequest, event), call.ends_within(_MARGIN_SECONDS)
    for number, name in enumerate(request.chores):
        if name not in NAMES:
            raise refusal_of(f"chores[{number}]", f"expected one of {', '.join(NAMES)}")
    chores = {name: _run(name, call.manifold, stop) for name in request.chores}
    failed = [name for name, outcome in chores.items() if "error" in outcome]
    metrics.count("maintenance.failures", len(failed))
    for name in failed:
        metrics.count(f"maintenance.failures.{name}", 1)
    if failed:
        raise PartlyDone(
            f"{len(failed)} of {len(chores)} chores failed: {', '.join(failed)}",
            hint="the next run tries again; the function's log has a line for each",
            chores=chores,
        )
    return {"chores": chores}


def _run(name: str, manifold: Manifold, stop: Stop) -> dict[str, Any]:
    begun = time.monotonic()
    outcome: dict[str, Any]
    try:
        with panics_as_errors():
            outcome = {"skipped": "no time is left"} if stop() else {"done": CHORES[name].run(manifold, stop)}
    except ManifoldError as error:
        logger.error(f"chore {name} failed and will be tried again: {told(error)}")
        outcome = {"error": error.code}
        if isinstance(error, PartlyDone):
            outcome |= error.details
    except Exception as error:
        logger.error(f"chore {name} failed: {where_of(error, discreet=manifold.settings.projects.encrypt)}")
        outcome = {"error": "internal"}
    return {**outcome, "seconds": round(time.monotonic() - begun, 3)}


def _after_commit(record: KafkaRecord, manifold: Manifold) -> None:
    """Write a checkpoint if a commit has made one due. A record that comes again does no harm."""
    commit = commit_of(record.content())
    if commit is None:
        return
    try:
        written = manifold.maintenance.checkpoint_if_due(*commit)
    except NotFound:
        return  # deleted meanwhile
    metrics.count("checkpoints.written", written)
