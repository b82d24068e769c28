"""Runs one statement, with the retries that are safe for it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, LiteralString, TypeAlias

import psycopg
from psycopg import errors as pg

from manifold_common.adapters.postgres.connection import Connection
from manifold_common.adapters.postgres.dsn import Dsn
from manifold_common.adapters.postgres.errors import is_forbidden, is_lost, is_undone, translate
from manifold_common.adapters.postgres.pool import Limits, Pool
from manifold_common.domain.patience import patience
from manifold_common.errors import InvalidInput, ManifoldError, NoSpace

Row: TypeAlias = tuple[Any, ...]
Params: TypeAlias = Sequence[Any] | Mapping[str, Any]

_BACKOFF_SECONDS = 0.02


class Database:
    """Each statement is a transaction of its own and one round trip."""

    def __init__(self, dsn: Dsn, limits: Limits) -> None:
        self._dsn = dsn
        self._limits = limits
        self._pool = Pool(dsn, limits)
        self.refusal: tuple[float, str] | None = None
        """When a statement was last given up for want of room on the server's disk (monotonic seconds), and why."""

    def read(self, statement: LiteralString, params: Params, *, patience_seconds: float | None = None) -> list[Row]:
        """Return the rows; a lost connection is replaced and the statement sent again.

        Raises:
            CatalogUnavailable: it did not work in time.
        """
        longest = self._limits.patience_seconds if patience_seconds is None else patience_seconds
        return self._run(statement, params, time.monotonic() + patience(longest), repeatable=True)

    def write(self, statement: LiteralString, params: Params) -> list[Row]:
        """Return the rows. Repeated only while it is certain that nothing happened.

        Raises:
            CatalogUnavailable: it cannot be known whether it happened.
        """
        longest = patience(self._limits.patience_seconds)
        return self._run(statement, params, time.monotonic() + longest, repeatable=False)

    def rest(self) -> None:
        self._pool.rest()

    def close(self) -> None:
        self._pool.close()

    def _run(self, statement: LiteralString, params: Params, deadline: float, *, repeatable: bool) -> list[Row]:
        while True:
            with self._pool.connection(patience_seconds=max(0.0, deadline - time.monotonic())) as connection:
                try:
                    with connection.hurried():
                        return _rows(connection, statement, params)
                except UnicodeEncodeError as error:
                    raise InvalidInput(f"the catalog cannot hold a text that is not Unicode: {error.reason}") from error
                except psycopg.Error as error:
                    again = is_undone(error) or (repeatable and is_lost(error)) or self._replaced(connection, error)
                    failure = self._failure(connection, error)
                    if not again or time.monotonic() + _BACKOFF_SECONDS >= deadline:
                        raise failure from error
            time.sleep(_BACKOFF_SECONDS)

    def _replaced(self, connection: Connection, error: psycopg.Error) -> bool:
        """Tell whether the server refused a statement to a role that another has replaced by now."""
        return is_forbidden(error) and self._dsn.replaced(connection.signed_in_with)

    def _failure(self, connection: Connection, error: psycopg.Error) -> ManifoldError:
        if is_lost(error):
            connection.close()
        failure = translate(error, self._dsn.without_secrets)
        if isinstance(failure, NoSpace):
            self.refusal = (time.monotonic(), failure.message)
        return failure


def _rows(connection: Connection, statement: LiteralString, params: Params) -> list[Row]:
    try:
        return connection.execute(statement, params, binary=True).fetchall()
    except pg.FeatureNotSupported:
        if connection.prepare_threshold is None:
            raise
    # It was refused, so nothing happened: what it returns is of another type by now than when it was prepared.
    connection.is_spent = True
    return connection.execute(statement, params, binary=True, prepare=False).fetchall()
