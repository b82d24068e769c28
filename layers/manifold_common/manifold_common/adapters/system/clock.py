"""The machine's own clock and randomness."""

from __future__ import annotations

import os
import random
import time
from datetime import UTC, datetime


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class SystemRandomness:
    def token(self, size: int) -> bytes:
        return os.urandom(size)

    def uniform(self) -> float:
        return random.random()  # noqa: S311 - jitter, not a secret
