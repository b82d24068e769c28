"""Credentials out of the settings, which are read again when a server refuses them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, TypeVar

from manifold_common.errors import ManifoldError

if TYPE_CHECKING:
    from manifold_common.ports.clock import Clock
    from manifold_common.settings import Settings

T = TypeVar("T")

_log = logging.getLogger(__name__)


class SettingsCredentials(Generic[T]):
    """Implements the Credentials port. Everything else of the settings stays as the process was started with it."""

    def __init__(self, settings: Settings, make: Callable[[Settings], T], clock: Clock) -> None:
        """``make`` returns equal values for settings that are equal in what concerns it.

        Raises:
            As ``make`` does for ``settings``.
        """
        self._source = settings.source
        self._make = make
        self._clock = clock
        self._lock = threading.Lock()
        self._seen = settings
        self._useless: Settings | None = None
        self._current = make(settings)

    @property
    def current(self) -> T:
        if self._source is not None and self._source.latest is not self._seen:
            with self._lock:
                self._see(self._source.latest)
        return self._current

    def instead_of(self, refused: T) -> T | None:
        if self.current != refused:
            return self._current
        if self._source is None:
            return None
        self._source.look(lambda settings: self._made_of(settings) != refused, self._clock.monotonic())
        return self._current if self.current != refused else None

    def _see(self, settings: Settings) -> None:
        self._current = self._made_of(settings)
        self._seen = settings

    def _made_of(self, settings: Settings) -> T:
        """Return what there is to show by ``settings``; what there was, if these cannot be used."""
        try:
            return self._make(settings)
        except (ManifoldError, OSError) as error:
            if settings is not self._useless:
                self._useless = settings
                _log.warning("the settings were read again, and cannot be used: %s", error)
            return self._current
