"""Three roles in the database, so that no process may do more there than it has to.

``manifold_owner`` owns what migrations make: it migrates and dumps. ``manifold_app`` serves requests of one tenant at a
time; it changes rows, and neither tables nor history. ``manifold_jobs`` does besides what goes across tenants: it
delivers events, wraps keys anew and cleans up. docs/catalog.md has the table.

The statements may be repeated. They are for whoever owns the tables, or for a superuser, who then hands them over to
``manifold_owner``. A migration that makes a table has it listed here; until it is, the application may change its rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, LiteralString

import psycopg
from psycopg import errors as pg
from psycopg.sql import SQL, Composed, Identifier

from manifold_common.adapters.postgres.errors import translate
from manifold_common.adapters.postgres.pool import Connection, Dsn, connect
from manifold_common.errors import DatabaseDenied

OWNER, APP, JOBS = "manifold_owner", "manifold_app", "manifold_jobs"
_STATEMENT_SECONDS = 60.0

GRANTS: Final[Mapping[str, tuple[LiteralString, LiteralString]]] = {
    "tenants": ("SELECT, INSERT", ""),
    "users": ("SELECT, INSERT", ""),
    "projects": ("SELECT, INSERT, UPDATE", ""),
    "project_keys": ("SELECT, INSERT", "UPDATE"),
    "commits": ("SELECT, INSERT", ""),
    "checkpoints": ("SELECT, INSERT, UPDATE", ""),
    "sessions": ("SELECT, INSERT, UPDATE, DELETE", ""),
    "ended_sessions": ("SELECT, INSERT", "DELETE"),
    "uploads": ("SELECT, INSERT, UPDATE, DELETE", ""),
    "superseded_objects": ("SELECT, INSERT, UPDATE", "DELETE"),
    "outbox": ("SELECT, INSERT", "UPDATE, DELETE"),
    "event_streams": ("SELECT", "INSERT, UPDATE, DELETE"),
    "installation": ("SELECT, UPDATE", ""),
    "refused_loads": ("SELECT", ""),
    "schema_migrations": ("SELECT", ""),
}
"""By table: what the application may do, and what jobs may do besides."""

_MAKE_ROLES: Final = """
DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['manifold_owner', 'manifold_app', 'manifold_jobs'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) THEN
            EXECUTE format('CREATE ROLE %I LOGIN', name);
        END IF;
    END LOOP;
    IF NOT pg_has_role('manifold_jobs', 'manifold_app', 'USAGE') THEN
        GRANT manifold_app TO manifold_jobs;
    END IF;
END
$$"""

_HAND_OVER: Final = """
DO $$
DECLARE thing record;
BEGIN
    IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN RETURN; END IF;
    EXECUTE format('GRANT CREATE, USAGE ON SCHEMA %I TO manifold_owner', current_schema());
    FOR thing IN
        SELECT c.relname FROM pg_class AS c
        WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r'
          AND c.relowner <> 'manifold_owner'::regrole
          AND (c.relname = 'schema_migrations' OR EXISTS (
              SELECT FROM pg_trigger AS t WHERE t.tgrelid = c.oid AND t.tgname = 'refuse_load')
              OR c.relname = 'refused_loads')
    LOOP
        EXECUTE format('ALTER TABLE %I OWNER TO manifold_owner', thing.relname);
    END LOOP;
    FOR thing IN
        SELECT p.oid::regprocedure AS name FROM pg_proc AS p
        WHERE p.pronamespace = current_schema()::regnamespace AND p.proowner <> 'manifold_owner'::regrole
          AND EXISTS (SELECT FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = t.tgrelid
                      WHERE t.tgfoid = p.oid AND c.relowner = 'manifold_owner'::regrole)
    LOOP
        EXECUTE format('ALTER FUNCTION %s OWNER TO manifold_owner', thing.name);
    END LOOP;
END
$$"""

_DEFAULTS: Final = """
DO $$
DECLARE owner text; thing record;
BEGIN
    SELECT tableowner INTO owner FROM pg_tables
    WHERE schemaname = current_schema() AND tablename = 'schema_migrations';
    EXECUTE format('REVOKE CREATE ON SCHEMA %I FROM PUBLIC', current_schema());
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO manifold_app', current_schema());
    EXECUTE format('ALTER DEFAULT PRIVILEGES FOR ROLE %I IN SCHEMA %I'
                   ' GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO manifold_app', owner, current_schema());
    FOR thing IN SELECT tablename FROM pg_tables WHERE schemaname = current_schema() AND tableowner = owner LOOP
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO manifold_app', thing.tablename);
    END LOOP;
END
$$"""

_IN_USE: Final = """
SELECT EXISTS (
    SELECT FROM pg_class AS c CROSS JOIN pg_roles AS r
    WHERE c.oid = to_regclass('schema_migrations') AND r.rolname = 'manifold_app'
      AND has_table_privilege(r.oid, c.oid, 'SELECT'))
"""


def role_script() -> str:
    """Return the statements, for psql."""
    statements = [_MAKE_ROLES, _HAND_OVER, _DEFAULTS, *(statement.as_string() for statement in _grants())]
    return "".join(f"{statement.strip()};\n" for statement in ("BEGIN", *statements, "COMMIT"))


def set_up_roles(dsn: str) -> list[str]:
    """Make the roles where they are missing and give each what it needs. Returns their names.

    Raises:
        DatabaseDenied: the role of ``dsn`` may not. CatalogUnavailable.
    """
    parsed = Dsn(dsn)
    try:
        with connect(parsed, statement_seconds=_STATEMENT_SECONDS) as connection, connection.transaction():
            connection.execute(_MAKE_ROLES, prepare=False)
            give_grants(connection)
    except pg.InsufficientPrivilege as error:
        raise DatabaseDenied(
            f"the database denies setting up roles: {error.diag.message_primary}",
            hint="do it as the owner of the tables with CREATEROLE, or as a superuser: "
            "manifold migrate-db --print-roles | psql --set ON_ERROR_STOP=1",
        ) from error
    except psycopg.Error as error:
        raise translate(error, parsed.password) from error
    return [OWNER, APP, JOBS]


def give_grants(connection: Connection) -> None:
    """Give the roles, which are there, what each needs."""
    connection.execute(_HAND_OVER, prepare=False)
    connection.execute(_DEFAULTS, prepare=False)
    for statement in _grants():
        connection.execute(statement, prepare=False)


def has_roles(connection: Connection) -> bool:
    """Tell whether the roles are used in this database, so that a migration has to give them their grants."""
    return bool(connection.execute(_IN_USE).fetchall()[0][0])


def _grants() -> list[Composed]:
    found = []
    for table, (app, more) in GRANTS.items():
        name = Identifier(table)
        found.append(SQL("REVOKE ALL ON {} FROM manifold_app, manifold_jobs").format(name))
        found.append(SQL("GRANT " + app + " ON {} TO manifold_app").format(name))
        if more:
            found.append(SQL("GRANT " + more + " ON {} TO manifold_jobs").format(name))
    return found
