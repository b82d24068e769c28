"""One connection, which leaves nothing behind on the server.

Between it and the server may be a pooler that gives each transaction another server connection (PgBouncer in
transaction mode, RDS Proxy). So nothing is kept in a session: no ``SET``, no prepared statement, no lock that outlives
its transaction. What a session would hold is held here (a time limit, the meaning of times and intervals), by the
tables (durability, ``migrations/0011``) or by the role (``defaults``). Only a caller that knows that there is no pooler
may add what makes it faster (``own_session``).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Final, TypeVar

import psycopg
from psycopg import errors as pg
from psycopg.abc import PQGen
from psycopg.pq import TransactionStatus
from psycopg.types.datetime import TimedeltaBinaryDumper
from psycopg.types.numeric import Int8Dumper

from manifold_common.adapters.postgres.dsn import Dsn
from manifold_common.adapters.postgres.errors import is_refused
from manifold_common.domain.patience import in_a_hurry, patience
from manifold_common.errors import CatalogUnavailable

_T = TypeVar("_T")

CONNECT_SECONDS: Final = 5
_STOP_SECONDS: Final = 1.0
_UNBOUNDED_SECONDS: Final = 1e9
_MICROSECOND: Final = timedelta(microseconds=1)
_INTERVAL: Final = struct.Struct("!qii")


class Connection(psycopg.Connection[tuple[Any, ...]]):
    """A connection whose waits are bounded, even for a server that is reachable but frozen."""

    answer_seconds: float | None = None
    """The longest a statement may take. Then the server is asked to stop it."""
    idle_since: float = 0.0
    uses: int = 0
    signed_in_with: str = ""
    """The connection string; of no more use once the server has refused it to another connection."""
    is_spent: bool = False
    """A wish to stop a statement is under way, and might meet the next one."""

    def wait(self, gen: PQGen[_T], interval: float = 0.1, timeout: float | None = None) -> _T:
        """Raises QueryCanceled: it took too long and did not happen. OperationalError: nobody knows."""
        longest = timeout if timeout is not None else self.answer_seconds
        try:
            return super().wait(gen, interval, longest)
        except psycopg.OperationalError as error:
            if timeout is not None or error.sqlstate or not self._has_asked():
                raise
            late = error
        self.is_spent = True
        try:
            self.cancel_safe(timeout=_STOP_SECONDS)
            return super().wait(gen, interval, _STOP_SECONDS)
        except pg.QueryCanceled:
            raise
        except psycopg.Error:
            raise late from None

    def _has_asked(self) -> bool:
        return self.pgconn.transaction_status == TransactionStatus.ACTIVE

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


class _ExactTimedelta(TimedeltaBinaryDumper):
    """Without days: how long a day is depends on the time zone of a session."""

    def dump(self, obj: timedelta) -> bytes:
        return _INTERVAL.pack(obj // _MICROSECOND, 0, 0)


def connect(dsn: Dsn, *, statement_seconds: float, within_seconds: float = CONNECT_SECONDS) -> Connection:
    """Open a connection, with another connection string if the server refuses this one and there is another by now.

    Raises:
        psycopg.Error: it cannot be had.
        CatalogUnavailable: the database is not one that can hold every text.
    """
    shown = dsn.current
    try:
        return _connect(dsn, shown, statement_seconds, within_seconds)
    except psycopg.Error as error:
        if not is_refused(error) or not dsn.replaced(shown):
            raise
    return _connect(dsn, dsn.current, statement_seconds, within_seconds)


def _connect(dsn: Dsn, shown: str, statement_seconds: float, within_seconds: float) -> Connection:
    connection = Connection.connect(
        dsn.complete(shown),
        autocommit=True,
        prepare_threshold=None,
        client_encoding="UTF8",
        connect_timeout=max(1, min(CONNECT_SECONDS, round(within_seconds))),
        keepalives=1,
        keepalives_idle=10,
        keepalives_interval=5,
        keepalives_count=3,
        tcp_user_timeout=15_000,
        application_name="manifold",
    )
    connection.signed_in_with = shown
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        connection.close()
        raise CatalogUnavailable(
            f"the database's encoding is {encoding}, not UTF8",
            hint="make one with: createdb --encoding=UTF8 --template=template0",
        )
    connection.adapters.register_dumper(int, Int8Dumper)  # a bound is a bigint, however small it is
    connection.adapters.register_dumper(timedelta, _ExactTimedelta)
    connection.answer_seconds = statement_seconds or None
    return connection
