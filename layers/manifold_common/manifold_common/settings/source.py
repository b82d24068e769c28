"""Where the settings of a process came from, to be read again when a server no longer accepts a secret of theirs.

This knows nothing of what the settings are: it is handed them, how to read them, and how to compare them.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Generic, TypeVar

S = TypeVar("S")

_log = logging.getLogger(__name__)

PAUSE_SECONDS = 10.0
"""After a look that found nothing new, there is none for as long as this."""


class SettingsSource(Generic[S]):
    """Safe for threads."""

    def __init__(
        self,
        latest: S,
        read: Callable[[], S],
        override: Callable[[Mapping[str, str]], S],
        differences: Callable[[S, S], Sequence[str]],
    ) -> None:
        """
        Args:
            read: may raise whatever it likes: then what was read before stays.
            differences: returns the keys whose values differ, never a value.
        """
        self._latest = latest
        self._read = read
        self._override = override
        self._differences = differences
        self._lock = threading.Lock()
        self._quiet_until = -math.inf

    @property
    def latest(self) -> S:
        """What was read last."""
        return self._latest

    def overridden(self, stronger: Mapping[str, str]) -> S:
        """Return the settings with values by key that count more than whatever else gives them. Raises ConfigError."""
        return self._override(stronger)

    def look(self, is_news: Callable[[S], bool], now: float) -> None:
        """Read the settings again, unless what was read last is news to the caller, or it is too early.

        Args:
            now: seconds of a monotonic clock.
        """
        with self._lock:
            if is_news(self._latest) or now < self._quiet_until:
                return
            before = self._latest
            try:
                self._latest = self._read()
            except Exception as error:  # of a file that is being replaced, of a network: the old settings go on
                _log.warning("a server refuses a secret, and the settings cannot be read again: %s", error)
            if is_news(self._latest):
                _log.info("the settings were read again; new: %s", ", ".join(self._differences(before, self._latest)))
            else:
                self._quiet_until = now + PAUSE_SECONDS
