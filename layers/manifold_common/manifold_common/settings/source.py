"""Where the settings of a process came from, to be read again when a server no longer accepts a secret of theirs."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from manifold_common.settings.model import Settings

_log = logging.getLogger(__name__)

PAUSE_SECONDS = 10.0
"""After a look that found nothing new, there is none for as long as this."""


class Source:
    """Safe for threads."""

    def __init__(
        self, latest: Settings, read: Callable[[], Settings], override: Callable[[Mapping[str, str]], Settings]
    ) -> None:
        """``read`` may raise whatever it likes: then what was read before stays."""
        self._latest = latest
        self._read = read
        self._override = override
        self._lock = threading.Lock()
        self._quiet_until = -math.inf

    @property
    def latest(self) -> Settings:
        """What was read last."""
        return self._latest

    def overridden(self, stronger: Mapping[str, str]) -> Settings:
        """Return the settings with values by key that count more than whatever else gives them. Raises ConfigError."""
        return self._override(stronger)

    def look(self, is_news: Callable[[Settings], bool], now: float) -> None:
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
                _log.info("the settings were read again; new: %s", ", ".join(_differences(before, self._latest)))
            else:
                self._quiet_until = now + PAUSE_SECONDS


def _differences(one: Settings, other: Settings) -> Sequence[str]:
    """Return the keys whose values differ, never a value."""
    from manifold_common.settings.catalogue import describe_settings

    return [setting.key for setting in describe_settings() if setting.value(one) != setting.value(other)]
