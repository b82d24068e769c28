"""What lives as long as a container: settings, services, connections. One invocation at a time works with it.

Everything is made when it is first needed. A start that failed is tried again by the next invocation; if the settings
were at fault, they are read again first, though not at every call. Work enters under a name: whatever belonged to
another session, or to another tenant, is removed then (``services/sessions/eviction.py``). A secret that a server
refuses later is read again by the adapter that was refused (``bootstrap/credentials.py``).
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from contextlib import suppress
from threading import Event
from typing import TYPE_CHECKING, Any, TypeVar, cast

from manifold_common.bootstrap import (
    Manifold,
    NudgeQueue,
    anew,
    build_function,
    build_nudge_queue,
    load_function_settings,
)
from manifold_common.domain.access import Principal
from manifold_common.errors import ConfigError, Denied, ManifoldError
from manifold_common.ids import SessionId, TenantId

from functions.invocation import metrics
from functions.invocation.logs import logger, set_up_logging

if TYPE_CHECKING:
    from manifold_common.settings import Settings

T = TypeVar("T")

_PAUSE_SECONDS = 10.0
"""Settings that were of no use are read again after as long as this: each time may cost a call of Secrets Manager."""


class Container:
    """Not for several threads."""

    def __init__(self) -> None:
        self._settings: Settings | None = None
        self._useless: tuple[float, ManifoldError] | None = None
        """When settings were last read that were of no use (monotonic seconds), and why."""
        self._manifold: Manifold | None = None
        self._tenant: TenantId | None = None
        self._queue: NudgeQueue | None = None
        self._wrote: Event | None = None
        self._made: dict[Callable[[Manifold], Any], Any] = {}
        self.function: str | None = None
        """Which function runs here, as its secret goes by it."""
        self.is_discreet = True
        """Whether logs must not quote errors. Until the settings are known, they must not."""

    @property
    def manifold(self) -> Manifold:
        """Every service, for work that is on behalf of no tenant.

        Raises:
            ConfigError, SchemaMismatch, Denied, Unavailable: it cannot start. The next call tries again.
        """
        if self._manifold is None:
            try:
                self._start()
            except ManifoldError as error:
                # It is about settings and servers, never about a project, so it may be told in full.
                logger.error(f"this function cannot start: {error}")
                raise
        assert self._manifold is not None
        return self._manifold

    def enter(self, principal: Principal, session: SessionId | None = None) -> Manifold:
        """Return every service, for work on behalf of ``principal``, in ``session`` if that is known.

        Raises:
            As ``manifold``. Unavailable: what another session changed cannot be saved now.
        """
        manifold = self.manifold
        manifold.eviction.make_way(principal, session)
        if self._tenant != principal.tenant:
            if self._tenant is not None:
                manifold = anew(manifold)
                self._take(manifold)
                gc.collect()  # keys are zeroed when they go, and some go only now
            self._tenant = None  # until all is done
            manifold.eviction.forget_other_tenants(principal.tenant)
            self._tenant = principal.tenant
        return manifold

    def kept(self, make: Callable[[Manifold], T]) -> T:
        """Return what ``make`` makes of the services: once for as long as these live."""
        manifold = self.manifold
        if make not in self._made:
            self._made[make] = make(manifold)
        return cast(T, self._made[make])

    def wake_fanout(self, correlation_id: str | None = None) -> None:
        """Wake what delivers events, if one was written since the last call. Best effort, within seconds."""
        if self._wrote is not None and self._wrote.is_set():
            self._wrote.clear()
            if self._queue is not None:
                self._queue.send(correlation_id)

    def rest(self) -> None:
        """Give back what would only lie idle until the next invocation, for which nobody knows when it comes."""
        if self._manifold is not None:
            self._manifold.context.catalog.rest()

    def close(self) -> None:
        """Give everything back, and start anew at the next use."""
        manifold, queue = self._manifold, self._queue
        self.__init__()  # type: ignore[misc]
        if queue is not None:
            queue.close()
        if manifold is not None:
            with suppress(ManifoldError):
                manifold.close()

    def _start(self) -> None:
        begun = time.monotonic()
        if self._useless is not None and begun < self._useless[0] + _PAUSE_SECONDS:
            raise self._useless[1].with_traceback(None)
        try:
            settings = self._settings = self._settings or self._load()
            manifold = build_function(settings, self.function)
            try:
                self._queue = build_nudge_queue(settings, manifold.context.clock)
            except BaseException:
                manifold.close()
                raise
        except (ConfigError, Denied) as error:
            self._settings = None
            self._useless = (begun, error)
            raise
        self._useless = None
        self._take(manifold)
        metrics.milliseconds("start.duration", time.monotonic() - begun)

    def _load(self) -> Settings:
        settings = load_function_settings(self.function)
        self.is_discreet = settings.projects.encrypt
        set_up_logging(settings.log_level, discreet=self.is_discreet)
        for warning in settings.warnings:
            logger.warning(str(warning))
        return settings

    def _take(self, manifold: Manifold) -> None:
        self._wrote = manifold.context.nudge.listen()
        self._manifold = manifold
        self._made.clear()


CONTAINER = Container()
"""This process's own."""
