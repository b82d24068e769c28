"""Upkeep by the clock, and after each commit that is heard of: checkpoints, the end of sessions, old events; and jobs
about content, also when the queue says that one has something to do."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from manifold_common.bootstrap import Manifold
from manifold_common.bootstrap.chores import CHORES, Stop, chores_of
from manifold_common.domain.panic import panics_as_errors
from manifold_common.errors import CatalogUnavailable, ManifoldError, NotFound, PartlyDone, told

from functions.invocation import metrics
from functions.invocation.batch import KafkaRecord, each_record, kind_of
from functions.invocation.decode import refusal_of
from functions.invocation.entry import Call, function
from functions.invocation.logs import logger, where_of
from functions.invocation.schedule import ScheduledRequest, scheduled
from functions.invocation.work import Worked, each_turn, work_on_jobs
from functions.maintenance import space
from functions.maintenance.commits import commit_of

_MARGIN_SECONDS = 15.0
"""A checkpoint of a large project takes some seconds."""

_JOB_SECONDS = 240.0
"""Then no more of a job is begun: the next call by the schedule is near, and each works with what room there is."""
_FUNCTION = "maintenance"
_JOBS = "jobs"
"""Stands beside the chores in answers and metrics."""

NAMES = chores_of(_FUNCTION)


class MaintenanceRequest(ScheduledRequest, frozen=True, kw_only=True):
    """Do what is due."""

    chores: tuple[str, ...] = tuple(NAMES)
    """Only these, in this order."""
    jobs: bool | None = None
    """Also work on jobs. By default where no chores are named."""


@function(_FUNCTION)
def handler(event: Any, call: Call) -> dict[str, Any]:
    """Do each chore by itself, so that none can stop the others, then what there is time for of jobs; answer how much
    was done. A message of the queue has jobs worked on and no chore done.

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
    if kind == "sqs":
        return each_turn(event, lambda: _turn(call))
    request, stop = scheduled(MaintenanceRequest, event), call.ends_within(_MARGIN_SECONDS)
    for number, name in enumerate(request.chores):
        if name not in NAMES:
            raise refusal_of(f"chores[{number}]", f"expected one of {', '.join(NAMES)}")
    chores = {name: _run(name, partial(CHORES[name].run, call.manifold, stop), call, stop) for name in request.chores}
    answer: dict[str, Any] = {"chores": chores}
    works = request.chores == tuple(NAMES) if request.jobs is None else request.jobs
    if works:
        answer[_JOBS] = _run(_JOBS, lambda: _work_between(call), call, stop)
    failed = [name for name, outcome in {**chores, _JOBS: answer.get(_JOBS, {})}.items() if "error" in outcome]
    metrics.count("maintenance.failures", len(failed))
    _measure(call)
    for name in failed:
        metrics.count(f"maintenance.failures.{name}", 1)
    if failed:
        raise PartlyDone(
            f"{len(failed)} of {len(chores) + works} chores failed: {', '.join(failed)}",
            hint="the next run tries again; the function's log has a line for each",
            **answer,
        )
    return answer


def _work_between(call: Call) -> int:
    """Work on jobs until the next scheduled call is near. Returns how many items came to an end."""
    begun = time.monotonic()
    worked = work_on_jobs(
        call, _FUNCTION, _MARGIN_SECONDS, stop=lambda: time.monotonic() - begun >= _JOB_SECONDS, hands_on=False
    )
    return worked.finished


def _turn(call: Call) -> Worked:
    """Work on jobs for as long as there is time. Once the next turn was handed on, nothing may fail any more."""
    worked = work_on_jobs(call, _FUNCTION, _MARGIN_SECONDS)
    _measure(call)
    return worked


def _measure(call: Call) -> None:
    with suppress(CatalogUnavailable):  # then there is more to be heard of than this
        space.measure(call.manifold)


def _run(name: str, work: Callable[[], int], call: Call, stop: Stop) -> dict[str, Any]:
    begun = time.monotonic()
    outcome: dict[str, Any]
    try:
        with panics_as_errors():
            outcome = {"skipped": "no time is left"} if stop() else {"done": work()}
    except ManifoldError as error:
        logger.error(f"chore {name} failed and will be tried again: {told(error)}")
        outcome = {"error": error.code}
        if isinstance(error, PartlyDone):
            outcome |= error.details
    except Exception as error:
        logger.error(f"chore {name} failed: {where_of(error, discreet=call.manifold.settings.projects.encrypt)}")
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
