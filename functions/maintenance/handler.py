"""Upkeep by the clock, and after each commit that is heard of: checkpoints, the end of sessions, old events."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Literal

from manifold_common.bootstrap import Manifold
from manifold_common.errors import ManifoldError, NotFound
from manifold_common.services.maintenance import Stop

from functions.invocation import metrics
from functions.invocation.batch import each, kind_of, value_of
from functions.invocation.decode import Request, refusal_of
from functions.invocation.entry import Call, function
from functions.invocation.logs import logger
from functions.invocation.schedule import scheduled
from functions.maintenance.commits import commit_of

_MARGIN_SECONDS = 15.0
"""A checkpoint of a large project takes some seconds."""

TaskName = Literal[
    "close_sessions",
    "write_checkpoints",
    "remove_unused_uploads",
    "remove_superseded_objects",
    "settle_events",
    "prune_events",
]

_TASKS: dict[TaskName, Callable[[Manifold, Stop], int]] = {
    "close_sessions": lambda manifold, stop: manifold.maintenance.sweep_sessions(stop=stop),
    "write_checkpoints": lambda manifold, stop: manifold.maintenance.write_checkpoints(stop=stop),
    "remove_unused_uploads": lambda manifold, stop: manifold.uploads.sweep(stop=stop),
    "remove_superseded_objects": lambda manifold, stop: manifold.superseded.sweep(stop=stop),
    "settle_events": lambda manifold, stop: manifold.events.settle(stop=stop),
    "prune_events": lambda manifold, stop: manifold.events.prune(stop=stop),
}


class MaintenanceRequest(Request):
    """Do what is due."""

    tasks: tuple[TaskName, ...] = tuple(_TASKS)
    """Only these, in this order."""


@function("maintenance")
def handler(event: Any, call: Call) -> dict[str, Any]:
    """Do each task by itself, so that none can stop the others; answer how much was done, and what failed."""
    kind = kind_of(event)
    if kind == "kafka":
        return each(kind, event, lambda record: _after_commit(record, call.manifold))
    if kind is not None:
        raise refusal_of("Records", "this function takes no messages of a queue")
    request, stop = scheduled(MaintenanceRequest, event), call.ends_within(_MARGIN_SECONDS)
    return {"tasks": {name: _run(name, call.manifold, stop) for name in request.tasks}}


def _run(name: TaskName, manifold: Manifold, stop: Stop) -> dict[str, Any]:
    begun = time.monotonic()
    outcome: dict[str, Any]
    try:
        outcome = {"skipped": "no time is left"} if stop() else {"done": _TASKS[name](manifold, stop)}
    except ManifoldError as error:
        logger.warning(f"{name} failed and will be tried again: {error.code}")
        outcome = {"error": error.code}
    metrics.count("maintenance.failures", "error" in outcome)
    return {**outcome, "seconds": round(time.monotonic() - begun, 3)}


def _after_commit(record: Any, manifold: Manifold) -> None:
    """Write a checkpoint if a commit has made one due. A record that comes again does no harm."""
    commit = commit_of(value_of(record))
    if commit is None:
        return
    try:
        written = manifold.maintenance.checkpoint_if_due(*commit)
    except NotFound:
        return  # deleted meanwhile
    metrics.count("checkpoints.written", written)
