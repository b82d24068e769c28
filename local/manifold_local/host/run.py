"""The host process: database, services, HTTP server and background work in one.

Order of effects at start: the lock of WORKDIR, the port, the database, its schema, what dead processes left, then
requests. At the end: no new requests, running ones finish, changes of working sets are saved as drafts, the database
is left, and stopped unless somebody else uses it: a copy of WORKDIR that is made then is whole.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import signal
import socket
import threading
import time
from contextlib import ExitStack
from types import FrameType
from typing import TYPE_CHECKING

from manifold_common.bootstrap import Manifold, build, build_impatient_store, build_relays, migrate_catalog
from manifold_common.bootstrap.chores import CHORES
from manifold_common.services.upkeep.store_check import check_store
from manifold_common.settings import Settings

from manifold_local.embedded.postgres import EmbeddedPostgres, ensure_embedded
from manifold_local.handover import Handover
from manifold_local.host.following import following
from manifold_local.host.logs import set_up_logging
from manifold_local.host.memory import share_arenas
from manifold_local.host.port import reserve
from manifold_local.host.relaying import Relaying
from manifold_local.host.scheduler import Scheduler, Task, run_task, stop_all
from manifold_local.host.tasks import chores, task_of, watch_over
from manifold_local.host_lock import HostLock
from manifold_local.running import RunningServer, noted
from manifold_local.runtime import EMBEDDED_FOLDER, has_database

if TYPE_CHECKING:
    from manifold_local.host.server import HostServer

_log = logging.getLogger(__name__)

_SHARE_OF_REQUESTS = 0.5
_GRACE_SECONDS = 5.0
_FOLLOWER_SECONDS = 2.0
_RELAYS_SECONDS = 3.0
_CHECK_SECONDS = 10.0
_PLACE_SECONDS = 5.0
_INTERRUPTED = 130
_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""Those that are ignored stay so: ``nohup`` has SIGHUP ignored."""
_STUCK = 1
_MOVED = 1


def run_host(settings: Settings, given: Handover) -> int:
    """Serve until SIGTERM, SIGINT or SIGHUP; return the exit code. A second SIGINT ends the process at once.

    For the main thread of a process.

    Args:
        given: what leads commands in other shells to the same installation.

    Raises:
        ConfigError, AlreadyExists, NotAdopted: it cannot start, and the message says why. Others as
            ``bootstrap.build``.
    """
    set_up_logging(settings.log_level, discreet=settings.projects.encrypt)
    for warning in settings.warnings:
        _log.warning("%s", warning)
    share_arenas()
    return _Host(settings, given).run()


class _StoppedEarly(BaseException):
    """A signal came before there was a server to stop."""


class _Host:
    def __init__(self, settings: Settings, given: Handover) -> None:
        self._settings = settings
        self._given = given
        self._server: HostServer | None = None
        self._stopping = False
        self._moved = False

    def run(self) -> int:
        signals = [sign for sign in _ENDING if signal.getsignal(sign) is not signal.SIG_IGN]
        before = {sign: signal.signal(sign, self._on_signal) for sign in signals}
        try:
            with ExitStack() as stack:
                self._run(stack)
        except _StoppedEarly:
            _log.info("stopped while starting")
        finally:
            for sign, handler in before.items():
                signal.signal(sign, handler)
        return _MOVED if self._moved else 0

    def _run(self, stack: ExitStack) -> None:
        settings = self._settings
        lock = HostLock(settings.workdir)
        stack.callback(lock.close)
        listener = stack.enter_context(reserve(settings.server.host, settings.server.port))
        # The web framework takes a quarter of a second to import; meanwhile the database starts.
        importing = threading.Thread(target=importlib.import_module, args=("manifold_local.host.app",), daemon=True)
        importing.start()
        postgres, dsn = self._database(stack)
        for name in migrate_catalog(dsn):
            _log.info("database migrated: %s", name)
        manifold = build(settings, dsn)
        stack.callback(manifold.close)
        manifold.standing.admit()
        _check_store(manifold)
        run_task(task_of(CHORES["remove_working_sets"], manifold))  # those that dead processes left
        importing.join()
        self._serve(manifold, postgres, listener, lock)

    def _database(self, stack: ExitStack) -> tuple[EmbeddedPostgres | None, str]:
        if self._settings.database_url is not None:
            return None, self._settings.database_url.get_secret_value()
        if not has_database(self._settings):
            _log.info("making a new installation in %s", self._settings.workdir)
        postgres = ensure_embedded(self._settings.workdir / EMBEDDED_FOLDER)
        stack.callback(postgres.close, stop_now=True)
        return postgres, postgres.dsn

    def _serve(
        self, manifold: Manifold, postgres: EmbeddedPostgres | None, listener: socket.socket, lock: HostLock
    ) -> None:
        from functions.api.traffic import Traffic
        from manifold_local.host.app import host_app
        from manifold_local.host.connections import allow_files
        from manifold_local.host.server import HostServer
        from manifold_local.host.welcome import welcome

        url = _url(self._settings.server.host, listener.getsockname()[1])
        patience = self._settings.server.shutdown_seconds
        if not allow_files(self._settings.server.max_connections):
            _log.warning("fewer than server.maxConnections clients can be served: raise 'ulimit -n'")
        traffic = Traffic(self._settings)
        server = HostServer(host_app(manifold, traffic), traffic, shutdown_seconds=patience * _SHARE_OF_REQUESTS)
        relaying = Relaying(build_relays(manifold), manifold.context.nudge)
        watches = [Task("watch_workdir", _PLACE_SECONDS, lambda _: self._stop_if_moved(lock))]
        if postgres is not None:
            watches.append(watch_over(postgres, manifold))
        tasks = [*chores(manifold), *watches]
        schedulers = [
            Scheduler([task for task in tasks if task.is_long is is_long], manifold.warnings)
            for is_long in (False, True)
        ]
        for scheduler in schedulers:
            scheduler.start()
        relaying.start()
        listener.listen(server.config.backlog)
        lock.tell(url)
        self._server = server
        server.should_exit = self._stopping
        welcome(self._settings, manifold, url, self._given)
        with (
            noted(RunningServer(url, self._given)),
            following(manifold.prefetcher, patience_seconds=_FOLLOWER_SECONDS),
        ):
            asyncio.run(server.serve(sockets=[listener]))
        started = time.monotonic()
        if not stop_all(schedulers, patience * (1 - _SHARE_OF_REQUESTS)):
            _log.warning("background work did not end in time")
        run_task(task_of(CHORES["save_drafts"], manifold))
        # Last, so that the requests just served have their events sent; what is not sent now, the next process sends.
        if not relaying.stop(_RELAYS_SECONDS):
            _log.warning("events were still being sent; they will be sent again")
        _log.info("stopped; background work and drafts took %.1f s", time.monotonic() - started)

    def _stop_if_moved(self, lock: HostLock) -> bool:
        """Stop when WORKDIR is elsewhere: what is written below its path now is not what its database is about."""
        if self._moved or lock.is_in_place():
            return False
        self._moved = True
        _log.error(
            "%s was moved or removed while the host runs, which stops now; start it with WORKDIR set to where it is",
            self._settings.workdir,
        )
        os.kill(os.getpid(), signal.SIGTERM)
        return True

    def _on_signal(self, sign: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the shape of a handler
        if self._stopping:
            if sign == signal.SIGINT:
                os._exit(_INTERRUPTED)
            return
        self._stopping = True
        watchdog = threading.Timer(self._settings.server.shutdown_seconds + _GRACE_SECONDS, os._exit, (_STUCK,))
        watchdog.daemon = True
        watchdog.start()
        if self._server is None:
            raise _StoppedEarly
        self._server.should_exit = True


def _check_store(manifold: Manifold) -> None:
    """Raises ConfigError: the store lacks what only an operator can give. A store that is away may come back."""
    context = manifold.context
    store = build_impatient_store(manifold.settings, context.clock, context.randomness, seconds=_CHECK_SECONDS)
    if store is None:
        return
    report = check_store(store, context.randomness)
    report.require()
    for ability in report.abilities:
        if not ability.ok:
            _log.warning("the object store cannot %s: %s", ability.name, ability.problem)


def _url(host: str, port: int) -> str:
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"http://{shown}:{port}"
