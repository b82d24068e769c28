"""What the database does for sessions of Manifold's role, whoever opens them: the node, or a pooler in between.

The time limit of a statement is the client's to enforce (``connection``). These limits hold where it cannot: it was
killed, or lost the network. They are defaults of the role in this one database. What an operator has set stays.
"""

from __future__ import annotations

from typing import Final

from psycopg import errors as pg
from psycopg import sql

from manifold_common.adapters.postgres.connection import Connection

DEFAULTS: Final = {"statement_timeout": "610s", "client_connection_check_interval": "5s"}
"""A statement may take ten minutes at most (``databaseTimeoutSeconds``); one whose client is gone is stopped soon."""

# "0" is no limit. Servers older than PostgreSQL 14 do not know the second.
_MISSING = """
SELECT s.name, current_database()::text FROM pg_settings AS s
WHERE s.name = ANY(%s::text[]) AND s.reset_val = '0' AND NOT EXISTS (
    SELECT FROM pg_db_role_setting AS d, unnest(d.setconfig) AS given
    WHERE d.setrole = (SELECT oid FROM pg_roles WHERE rolname = current_user)
      AND d.setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND split_part(given, '=', 1) = s.name)
"""


def missing_defaults(connection: Connection) -> list[tuple[str, str]]:
    """Return the settings that have no limit, each with the database's name."""
    return [(str(name), str(database)) for name, database in connection.execute(_MISSING, (list(DEFAULTS),)).fetchall()]


def set_defaults(connection: Connection) -> None:
    """Give the role its limits, where there are none. Where the server does not allow that, there stay none."""
    for name, database in missing_defaults(connection):
        statement = sql.SQL("ALTER ROLE CURRENT_USER IN DATABASE {} SET {} = {}").format(
            sql.Identifier(database), sql.Identifier(name), sql.Literal(DEFAULTS[name])
        )
        try:
            with connection.transaction():
                connection.execute(statement)
        except pg.InsufficientPrivilege:
            return
