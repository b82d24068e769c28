"""Nudges through SQS: one message after a change, which starts the function that delivers events.

Several nudges become one batch.
"""

from __future__ import annotations

from manifold_common.adapters.aws.queue import SqsQueue
from manifold_common.adapters.aws.service import AwsOptions
from manifold_common.ports.clock import Clock

NUDGE: dict[str, int | str] = {"nudge": 1}
"""What a message says: its version, and whose request it follows. What there is to deliver, the outbox knows."""
_OTHERWISE = "the fan-out was not woken, and finds the events at its next scheduled run"


class SqsNudgeQueue:
    """Implements the NudgeQueue port."""

    def __init__(self, queue_url: str, options: AwsOptions, *, clock: Clock) -> None:
        self._queue = SqsQueue(queue_url, options, clock=clock, otherwise=_OTHERWISE)

    def send(self, correlation_id: str | None = None) -> bool:
        return self._queue.send(NUDGE, correlation_id)

    def close(self) -> None:
        self._queue.close()
