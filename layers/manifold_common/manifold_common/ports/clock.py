"""Time and randomness, passed in so that tests can hold both still."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    def now(self) -> datetime:
        """Return the wall-clock time, aware, in UTC."""

    def monotonic(self) -> float:
        """Return seconds on a clock that never goes back. Only differences mean anything."""

    def sleep(self, seconds: float) -> None:
        """Wait for ``seconds``."""


class Randomness(Protocol):
    def token(self, size: int) -> bytes:
        """Return ``size`` bytes fit for keys and ids (a CSPRNG outside tests)."""

    def uniform(self) -> float:
        """Return a float in [0, 1), for jitter only."""
