"""Work on jobs within one invocation, and who goes on with it.

Each message of a queue is one worker's turn: it leads to one more at most, and to none once there is nothing to do. So
there are no more turns than were woken, and those too many end with the work.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Literal

from manifold_common.bootstrap.jobs import kinds_of
from manifold_common.domain.job import ItemState
from manifold_common.domain.patience import wanted_while
from manifold_common.services.jobs.worker import Step
from manifold_common.shapes.base import Request

from functions.invocation import metrics
from functions.invocation.batch import each_message
from functions.invocation.decode import CorrelationId, json_of, request_of
from functions.invocation.entry import Call
from functions.invocation.logs import logger

_PATIENCE_SECONDS = 5.0
"""A job with a rate is paused for less than that after each slice, if the rate is not a very low one."""
_TURNS = (0, 15, 60, 900)
"""In how many seconds the next turn may be: at once; when what is away is tried again; when the claim of a lost worker
has run out; as late as SQS lets a message wait."""


class Work(Request, frozen=True, kw_only=True):
    """A message of the queue."""

    work: Literal[1]
    correlation_id: CorrelationId | None = None
    """Of the request or the turn that it follows."""


class Worked:
    """What an invocation did for jobs."""

    def __init__(self) -> None:
        self.finished = 0
        """Items that came to an end."""
        self.done: Counter[str] = Counter()
        """Items that are done, by the kind of their job."""
        self.failed: Counter[str] = Counter()
        """Items that met an error, by the kind of their job. Those that rest are among them."""

    def heed(self, kind: str, step: Step) -> None:
        self.finished += step.finished
        self.done[kind] += sum(one.state is ItemState.DONE for one in step.reports)
        self.failed[kind] += sum(one.code is not None for one in step.reports)


def work_on_jobs(
    call: Call,
    function: str,
    margin_seconds: float,
    *,
    stop: Callable[[], bool] | None = None,
    hands_on: bool = True,
) -> Worked:
    """Work on the jobs of a function until there is nothing to do or time runs out, and wake who goes on, if need be.

    Args:
        margin_seconds: nothing is begun when so little time is left, and what takes long is cut off.
        stop: tells whether to begin nothing more although there is time.
        hands_on: wake who goes on. Not where the next call comes soon by itself: each such call would add a turn to
            those that there are.

    Raises CatalogUnavailable.
    """
    manifold, kinds, worked = call.manifold, kinds_of(function), Worked()
    worker, is_over = manifold.job_worker, call.ends_within(margin_seconds)
    with wanted_while(lambda: not is_over()):
        worker.run(
            kinds,
            stop=is_over if stop is None else lambda: is_over() or stop(),
            patience_seconds=_PATIENCE_SECONDS,
            heed=worked.heed,
        )
    queue = manifold.work_queues.get(function)
    if queue is not None and hands_on:
        for seconds in _TURNS:
            if worker.has_work(kinds, within_seconds=seconds):
                queue.wake_one(delay_seconds=seconds)
                break
    metrics.count("jobs.finished", worked.finished)
    return worked


def each_turn(event: Mapping[str, Any], work: Callable[[], Worked]) -> dict[str, Any]:
    """Do ``work`` once for a batch of the queue; return which messages failed, as Lambda wants to know it.

    A message fails if it is none of ours, or if nobody could look for work; then it comes again.
    """
    worked: list[Worked] = []

    def heed(record: Any) -> None:
        turn = request_of(Work, json_of(record.body, "the message"), "the message")
        if turn.correlation_id is not None:
            logger.info("woken", woken_by=turn.correlation_id)
        if not worked:
            worked.append(work())

    return each_message(event, heed)
