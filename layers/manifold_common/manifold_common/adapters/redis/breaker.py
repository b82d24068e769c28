"""A circuit breaker: a server that does not answer costs one time-out per pause, however often it is asked for."""

from __future__ import annotations

import logging
import threading

from manifold_common.errors import Unavailable
from manifold_common.ports.clock import Clock

_log = logging.getLogger(__name__)


class Breaker:
    """Open (no requests) for ``pause_seconds`` after a failure; then one request may try, while others still pass by.

    Each change of state is logged once. Safe for threads.
    """

    def __init__(self, what: str, *, pause_seconds: float, clock: Clock) -> None:
        self._what = what
        self._pause_seconds = pause_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._closed_until = 0.0
        self._failing = False

    def admits(self) -> bool:
        """Tell whether a request may be made now. Whoever makes it reports how it went."""
        with self._lock:
            if not self._failing:
                return True
            now = self._clock.monotonic()
            if now < self._closed_until:
                return False
            # This caller tries; the others go on as if the server were down until it has reported.
            self._closed_until = now + self._pause_seconds
            return True

    def failed(self, error: Unavailable) -> None:
        with self._lock:
            self._closed_until = self._clock.monotonic() + self._pause_seconds
            before, self._failing = self._failing, True
        if not before:
            _log.warning("%s is out of use, and work goes on without it: %s", self._what, error)

    def succeeded(self) -> None:
        with self._lock:
            before, self._failing = self._failing, False
        if before:
            _log.info("%s is in use again", self._what)
