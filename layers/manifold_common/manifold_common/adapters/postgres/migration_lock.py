"""The lock that keeps changes of the schema, or of who may do what with it, one at a time in a database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from psycopg import errors as pg

from manifold_common.adapters.postgres.connection import Connection
from manifold_common.errors import CatalogUnavailable

STATEMENT_SECONDS: Final = 300.0
_LOCK_SECONDS = 60
_LIMITS: Final = f"SET LOCAL lock_timeout = '{_LOCK_SECONDS}s'; SET LOCAL statement_timeout = '{STATEMENT_SECONDS}s'"
# The first number is "mani"; the two-number form shares no key with the catalog's other locks.
TAKE_TURN: Final = "DO $$ BEGIN PERFORM pg_advisory_xact_lock(1835101801, 1); END $$"


@contextmanager
def migration_lock(connection: Connection) -> Iterator[None]:
    """Begin a transaction in which no other process migrates; its end lets the next one.

    Raises:
        CatalogUnavailable: another process was at it for too long.
    """
    with connection.transaction():
        connection.execute(_LIMITS)
        try:
            connection.execute(TAKE_TURN)
        except pg.LockNotAvailable:
            raise CatalogUnavailable(
                f"another process has been migrating the database for more than {_LOCK_SECONDS} seconds",
                hint="try again",
            ) from None
        yield
