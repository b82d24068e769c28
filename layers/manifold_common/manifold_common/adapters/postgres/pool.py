"""Connections to PostgreSQL: bounded in number, and every wait on one bounded in time.

A small pool without threads of its own: the caller that needs a connection makes it, and so gets the true reason when
that fails, and a restarted server is found again within milliseconds. A pooled connection is looked at before it is
lent out, without asking the server: a closed socket shows at once. Only one that has been idle for long is tried with
a round trip. Whoever gives a connection back closes those that nobody has needed for a while.
"""

from __future__ import annotations

import os
import random
import select
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg

from manifold_common.adapters.postgres import own_session
from manifold_common.adapters.postgres.connection import Connection, connect
from manifold_common.adapters.postgres.dsn import Dsn
from manifold_common.adapters.postgres.errors import is_permanent, translate
from manifold_common.domain.patience import patience
from manifold_common.domain.wording import span
from manifold_common.errors import CatalogUnavailable

_TRUST_IDLE_SECONDS = 20.0
_PROBE_SECONDS = 3.0
_FIRST_BACKOFF_SECONDS = 0.04
_LAST_BACKOFF_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Limits:
    """How much, and for how long."""

    connections: int = 8
    """At most open at a time. Further callers wait."""
    statement_seconds: float = 15.0
    """The longest a statement may take. 0: no limit."""
    patience_seconds: float = 10.0
    """The longest to wait for a free connection, and to go on repeating a read."""
    connect_seconds: float = 10.0
    """The longest to try to open one, while the server is away or has none left."""
    idle_seconds: float = 60.0
    """A connection that nobody has needed for so long is closed. 0: none is kept by ``rest``."""


class Pool:
    """Lends connections. Safe for threads, and for a process that forks."""

    def __init__(self, dsn: Dsn, limits: Limits) -> None:
        self._dsn = dsn
        self._limits = limits
        self._closed = False
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._idle: list[Connection] = []
        """Taken and given back at the end, so the first is the one that was idle for longest."""
        self._places = threading.Semaphore(self._limits.connections)

    @contextmanager
    def connection(self, *, patience_seconds: float | None = None) -> Iterator[Connection]:
        """Lend a working connection; it comes back when the block ends, unless it is broken.

        Raises:
            CatalogUnavailable: none could be had in time. Nothing was sent.
        """
        longest = patience(self._limits.patience_seconds if patience_seconds is None else patience_seconds)
        deadline = time.monotonic() + longest
        if self._pid != os.getpid():
            self._reset()  # a connection shared with the parent process would mix up their answers
        places = self._places
        if not places.acquire(timeout=longest):
            raise CatalogUnavailable(
                f"all {self._limits.connections} database connections have been in use for {span(longest)}",
                hint="try again; if it happens often, raise DATABASE_POOL_MAX",
            )
        try:
            connection = self._take() or self._open(min(deadline, time.monotonic() + self._limits.connect_seconds))
            try:
                yield connection
            finally:
                self._give_back(connection)
        finally:
            places.release()

    def rest(self) -> None:
        """Close what is idle but for one connection: the process may not run for a while, and could close none."""
        self._close_idle(keep=1 if self._limits.idle_seconds else 0, idle_for=0.0)

    def close(self) -> None:
        self._closed = True
        self._close_idle(keep=0, idle_for=0.0)

    def _take(self) -> Connection | None:
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return None
            if connection.signed_in_with == self._dsn.current and _is_usable(connection):
                connection.uses += 1
                if own_session.before_use(connection):
                    return connection
            connection.close()

    def _open(self, deadline: float) -> Connection:
        backoff = _FIRST_BACKOFF_SECONDS
        while True:
            if self._closed:
                raise CatalogUnavailable("the catalog is closed")
            try:
                return self._connect(deadline - time.monotonic())
            except psycopg.Error as error:
                wait = backoff * random.random()  # noqa: S311 - so that many who failed together come back one by one
                if is_permanent(error) or time.monotonic() + wait >= deadline:
                    raise translate(error, self._dsn.without_secrets) from error
            time.sleep(wait)
            backoff = min(backoff * 2, _LAST_BACKOFF_SECONDS)

    def _connect(self, within_seconds: float) -> Connection:
        connection = connect(self._dsn, statement_seconds=self._limits.statement_seconds, within_seconds=within_seconds)
        if self._dsn.is_direct:
            try:
                own_session.begin(connection)
            except BaseException:
                connection.close()
                raise
        return connection

    def _give_back(self, connection: Connection) -> None:
        is_idle = connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        if self._closed or connection.is_spent or not is_idle:
            connection.close()
            return
        connection.idle_since = time.monotonic()
        self._idle.append(connection)
        self._close_idle(keep=1, idle_for=self._limits.idle_seconds)

    def _close_idle(self, *, keep: int, idle_for: float) -> None:
        while len(self._idle) > keep:
            try:
                oldest = self._idle.pop(0)
            except IndexError:  # another thread was faster
                return
            if time.monotonic() - oldest.idle_since < idle_for:
                self._idle.insert(0, oldest)
                return
            oldest.close()


def _is_usable(connection: Connection) -> bool:
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN | select.POLLHUP | select.POLLERR)
    silent = not poll.poll(0)
    if silent and time.monotonic() - connection.idle_since < _TRUST_IDLE_SECONDS:
        return True
    # Something arrived unasked (a farewell, or only a notice), or the network may have dropped us meanwhile.
    usual, connection.answer_seconds = connection.answer_seconds, _PROBE_SECONDS
    try:
        connection.execute("SELECT 1")
    except psycopg.Error:
        return False
    finally:
        connection.answer_seconds = usual
    return True
