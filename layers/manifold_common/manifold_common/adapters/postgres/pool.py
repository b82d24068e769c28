"""Connections to PostgreSQL, each wait on them bounded.

A small pool without threads of its own: the caller that needs a connection makes it, and so gets the true reason when
that fails, and a restarted server is found again within milliseconds. A pooled connection is looked at before it is
lent out, without asking the server: a closed socket shows at once. Only one that has been idle for long is tried with
a round trip.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote

import psycopg
from psycopg.abc import PQGen
from psycopg.conninfo import conninfo_to_dict
from psycopg.types.numeric import Int8Dumper

from manifold_common.adapters.postgres.errors import is_permanent, is_refused, translate
from manifold_common.domain.patience import in_a_hurry, patience
from manifold_common.errors import CatalogUnavailable, ConfigError
from manifold_common.ports.credentials import Credentials, Fixed

_T = TypeVar("_T")

_TRUST_IDLE_SECONDS = 20.0
_PROBE_SECONDS = 3.0
_CONNECT_SECONDS = 5
_FIRST_BACKOFF_SECONDS = 0.02
_LAST_BACKOFF_SECONDS = 0.5
_CLIENT_MARGIN_SECONDS = 2.0
_USES_OF_A_PLAN = 200
_UNBOUNDED_SECONDS = 1e9
_SECRET_OPTIONS = ("password", "sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key")

_CONFIGURE = """
SELECT set_config('statement_timeout', %s, false),
       set_config('TimeZone', 'UTC', false),
       set_config('plan_cache_mode', 'force_generic_plan', false),
       set_config('enable_seqscan', 'off', false),
       set_config('synchronous_commit',
                  CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on'
                  ELSE current_setting('synchronous_commit') END, false)
"""
"""Every query is a look-up by an index, so planning it once for all values is right, and reading a whole table never
is. An acknowledged commit is durable, whatever the server's default is."""


class Connection(psycopg.Connection[tuple[Any, ...]]):
    """A connection that gives up waiting, also for a server that is there but frozen."""

    answer_seconds: float | None = None
    idle_since: float = 0.0
    uses: int = 0
    signed_in_with: str = ""
    """The connection string; of no more use once the server has refused it to another connection."""

    def wait(self, gen: PQGen[_T], interval: float = 0.1, timeout: float | None = None) -> _T:
        return super().wait(gen, interval, timeout if timeout is not None else self.answer_seconds)

    @contextmanager
    def hurried(self) -> Iterator[None]:
        """While this lasts, wait for an answer no longer than whoever asks does (``domain.patience``)."""
        usual = self.answer_seconds
        if in_a_hurry():
            self.answer_seconds = patience(usual or _UNBOUNDED_SECONDS)
        try:
            yield
        finally:
            self.answer_seconds = usual


@dataclass(frozen=True, slots=True)
class Limits:
    """How much, and for how long."""

    connections: int = 8
    """At most open at a time. Further callers wait."""
    statement_seconds: float = 15.0
    """The longest a statement may take. 0: no limit."""
    patience_seconds: float = 10.0
    """The longest to wait for a connection, and to go on repeating a read."""


class Dsn:
    """A connection string, which another may replace. Printing it shows no password."""

    def __init__(self, text: str | Credentials[str]) -> None:
        """Raises ConfigError: it is not a connection string."""
        self._credentials: Credentials[str] = Fixed(text) if isinstance(text, str) else text
        self._secrets = _secrets_of(self.text)

    def __repr__(self) -> str:
        return "Dsn(...)"

    @property
    def text(self) -> str:
        return self._credentials.current

    def replaced(self, refused: str) -> bool:
        """Tell whether there is another one by now than the one that a server has refused."""
        fresh = self._credentials.instead_of(refused)
        if fresh is None:
            return False
        self._secrets |= _secrets_of(fresh)
        return True

    def without_secrets(self, text: str) -> str:
        """Return ``text`` with whatever is secret in the connection string replaced."""
        for secret in sorted(self._secrets, key=len, reverse=True):
            text = text.replace(secret, "***")
        return text


def _secrets_of(dsn: str) -> frozenset[str]:
    """Raises ConfigError: it is not a connection string."""
    try:
        options = conninfo_to_dict(dsn)
    except (psycopg.ProgrammingError, UnicodeError):
        # libpq quotes the part it does not understand, which may be the password.
        raise ConfigError(
            "DATABASE_URL is not a valid PostgreSQL connection string",
            hint="write postgresql://user:password@host:5432/database, with %-escapes for special characters",
        ) from None
    found = {str(options.get(name) or "") for name in _SECRET_OPTIONS}
    return frozenset(form for secret in found if secret for form in (secret, quote(secret, safe="")))


def connect(dsn: Dsn, *, statement_seconds: float, within_seconds: float = _CONNECT_SECONDS) -> Connection:
    """Open and configure a connection, with another connection string if the server refuses this one and there is
    another by now. Raises psycopg.Error."""
    text = dsn.text
    try:
        return _connect(text, statement_seconds, within_seconds)
    except psycopg.Error as error:
        if not is_refused(error) or not dsn.replaced(text):
            raise
    return _connect(dsn.text, statement_seconds, within_seconds)


def _connect(text: str, statement_seconds: float, within_seconds: float) -> Connection:
    connection = Connection.connect(
        text,
        autocommit=True,
        prepare_threshold=2,
        connect_timeout=max(1, min(_CONNECT_SECONDS, round(within_seconds))),
        keepalives=1,
        keepalives_idle=10,
        keepalives_interval=5,
        keepalives_count=3,
        tcp_user_timeout=15_000,
        application_name="manifold",
    )
    connection.signed_in_with = text
    try:
        connection.adapters.register_dumper(int, Int8Dumper)  # one prepared statement whatever the number's size
        connection.answer_seconds = _CONNECT_SECONDS
        connection.execute(_CONFIGURE, (f"{statement_seconds * 1000:.0f}ms",), prepare=False)
        connection.answer_seconds = statement_seconds + _CLIENT_MARGIN_SECONDS if statement_seconds else None
    except BaseException:
        connection.close()
        raise
    return connection


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
                f"all {self._limits.connections} database connections have been in use for {longest:g} seconds",
                hint="try again",
            )
        try:
            connection = self._take() or self._open(deadline)
            try:
                yield connection
            finally:
                self._give_back(connection)
        finally:
            places.release()

    def close(self) -> None:
        self._closed = True
        while self._idle:
            self._idle.pop().close()

    def _take(self) -> Connection | None:
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return None
            if connection.signed_in_with == self._dsn.text and _is_usable(connection):
                return connection
            connection.close()

    def _open(self, deadline: float) -> Connection:
        backoff = _FIRST_BACKOFF_SECONDS
        while True:
            if self._closed:
                raise CatalogUnavailable("the catalog is closed")
            try:
                return connect(
                    self._dsn,
                    statement_seconds=self._limits.statement_seconds,
                    within_seconds=deadline - time.monotonic(),
                )
            except psycopg.Error as error:
                if is_permanent(error) or time.monotonic() + backoff >= deadline:
                    raise translate(error, self._dsn.without_secrets) from error
            time.sleep(backoff)
            backoff = min(backoff * 2, _LAST_BACKOFF_SECONDS)

    def _give_back(self, connection: Connection) -> None:
        if connection.closed or self._closed or connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
            connection.close()
            return
        connection.uses += 1
        if connection.uses % _USES_OF_A_PLAN == 0 and not _forget_plans(connection):
            connection.close()
            return
        connection.idle_since = time.monotonic()
        self._idle.append(connection)


def _forget_plans(connection: Connection) -> bool:
    """Let PostgreSQL plan anew: its plans fit the tables as they were, which may have been empty at that time."""
    try:
        connection.execute("DISCARD PLANS", prepare=False)
    except psycopg.Error:
        return False
    return True


def _is_usable(connection: Connection) -> bool:
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN | select.POLLHUP | select.POLLERR)
    silent = not poll.poll(0)
    if silent and time.monotonic() - connection.idle_since < _TRUST_IDLE_SECONDS:
        return True
    # Something arrived unasked (a farewell, or only a notice), or the network may have dropped us meanwhile.
    usual, connection.answer_seconds = connection.answer_seconds, _PROBE_SECONDS
    try:
        connection.execute("SELECT 1", prepare=False)
    except psycopg.Error:
        return False
    finally:
        connection.answer_seconds = usual
    return True
