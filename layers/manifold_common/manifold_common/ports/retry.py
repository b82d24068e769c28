"""Repeating what failed for a passing reason: the one rule for every adapter that talks to a server."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from manifold_common.domain.patience import patience
from manifold_common.domain.retry_after import RETRY_AFTER
from manifold_common.errors import ManifoldError
from manifold_common.ports.clock import Clock, Randomness

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential backoff with full jitter (a wait is uniform between nought and a bound that doubles).

    Full jitter because clients that failed together would otherwise come back together.
    """

    attempts: int = 5
    """Of the operation, the first one included."""
    budget_seconds: float = 30.0
    """No attempt begins later than this after the first began. One attempt is bounded by the adapter's own timeout."""
    base_seconds: float = 0.05
    """Bound of the first wait."""
    cap_seconds: float = 3.0
    """Bound of any wait."""

    def __post_init__(self) -> None:
        if self.attempts < 1 or min(self.budget_seconds, self.base_seconds, self.cap_seconds) < 0:
            raise ValueError(f"{self!r} makes no sense")


LONGEST_REST_SECONDS = 60.0
"""What work waits for is asked again after a minute at the latest, whatever it said."""


class Rest:
    """For how long a server has asked to be left alone, for all threads of a process. Safe for threads."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._until = -math.inf

    def note(self, asked_seconds: float | None) -> None:
        """Take down what a server has asked for: never less than before, and no more than a minute at a time."""
        if asked_seconds is not None:
            until = self._clock.monotonic() + min(asked_seconds, LONGEST_REST_SECONDS)
            with self._lock:
                self._until = max(self._until, until)

    def left_seconds(self) -> float:
        with self._lock:
            return max(0.0, self._until - self._clock.monotonic())


def is_passing(error: Exception) -> bool:
    """Say whether an adapter marked ``error`` as one that may be gone the next time (``retryable=True``)."""
    return isinstance(error, ManifoldError) and error.details.get("retryable") is True


def retry(policy: RetryPolicy, clock: Clock, randomness: Randomness, operation: Callable[[], T]) -> T:
    """Return what ``operation`` returns, calling it again while it raises an error that ``is_passing``.

    A server that says when to come back is not asked before, and if that is later than an attempt may begin, not at
    all. Where somebody is in a hurry (``domain.patience``), no attempt begins later than they wait.

    Raises:
        Exception: the last error of ``operation``, when it is not passing, or attempts or time are used up.
    """
    begun = clock.monotonic()
    budget_seconds = patience(policy.budget_seconds)
    for attempt in range(policy.attempts):
        try:
            return operation()
        except Exception as error:
            bound = min(policy.cap_seconds, policy.base_seconds * 2**attempt)
            wait = _asked(error) + bound * randomness.uniform()
            spent = clock.monotonic() - begun
            if not is_passing(error) or attempt + 1 == policy.attempts or spent + wait > budget_seconds:
                raise
        clock.sleep(wait)
    raise AssertionError("a policy has at least one attempt")


def _asked(error: Exception) -> float:
    asked = error.details.get(RETRY_AFTER) if isinstance(error, ManifoldError) else None
    return max(0.0, asked) if isinstance(asked, int | float) else 0.0
