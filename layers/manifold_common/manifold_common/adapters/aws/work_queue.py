"""Work on jobs through SQS: each message is one worker's, which hands it on for as long as there is work."""

from __future__ import annotations

from manifold_common.adapters.aws.queue import SqsQueue
from manifold_common.adapters.aws.service import AwsOptions
from manifold_common.domain.correlation import correlation
from manifold_common.ports.clock import Clock

WORK: dict[str, int | str] = {"work": 1}
"""What a message says: its version, and whose request it follows. What there is to do, the catalog knows."""
_OTHERWISE = "no worker was woken, and jobs are found at the next scheduled run"


class SqsWorkQueue:
    """Implements the WorkQueue port."""

    def __init__(self, queue_url: str, workers: int, options: AwsOptions, *, clock: Clock) -> None:
        """
        Args:
            workers: how many there may be at once.
        """
        self._queue = SqsQueue(queue_url, options, clock=clock, otherwise=_OTHERWISE)
        self._workers = workers

    def wake_all(self) -> None:
        for _ in range(self._workers):
            if not self._send():
                break

    def wake_one(self, *, delay_seconds: int = 0) -> None:
        self._send(delay_seconds)

    def close(self) -> None:
        self._queue.close()

    def _send(self, delay_seconds: int = 0) -> bool:
        served = correlation()
        return self._queue.send(WORK, None if served is None else served.id, delay_seconds=delay_seconds)
