"""Time and randomness that stand still until a test moves them."""

from __future__ import annotations

import random
import threading
from datetime import UTC, datetime, timedelta


class ManualClock:
    """A clock that moves only when told to, or when somebody sleeps on it.

    Attributes:
        slept: every ``sleep`` so far, in seconds, in order.
    """

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._lock = threading.Lock()
        self._start = start
        self._elapsed_seconds = 0.0
        self.slept: list[float] = []

    def now(self) -> datetime:
        with self._lock:
            return self._start + timedelta(seconds=self._elapsed_seconds)

    def monotonic(self) -> float:
        with self._lock:
            return self._elapsed_seconds

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self.slept.append(seconds)
            self._elapsed_seconds += seconds

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass."""
        with self._lock:
            self._elapsed_seconds += seconds


class SeededRandomness:
    """The same bytes and floats for the same seed. Not for secrets."""

    def __init__(self, seed: int = 0) -> None:
        self._lock = threading.Lock()
        self._random = random.Random(seed)  # noqa: S311 - repeatable on purpose

    def token(self, size: int) -> bytes:
        with self._lock:
            return self._random.randbytes(size)

    def uniform(self) -> float:
        with self._lock:
            return self._random.random()
