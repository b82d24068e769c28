"""Three roles in the database, so that no process may do more there than it has to.

``manifold_owner`` owns what migrations make: it migrates and dumps. ``manifold_app`` serves requests of one tenant at a
time; it changes rows, and neither tables nor history. ``manifold_jobs`` also does what spans tenants: it delivers
events, wraps keys anew and cleans up. docs/catalog.md has the table.

The statements may be repeated. They are for whoever owns the tables, or for a superuser, who then hands them over to
``manifold_owner``. A migration that makes a table has it listed here; until it is, the application may change its rows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final, LiteralString

import psycopg
from psycopg import errors as pg
from psycopg.sql import SQL, Composed, Identifier, Literal

from manifold_common.adapters.postgres.connection import Connection, connect
from manifold_common.adapters.postgres.defaults import DEFAULTS
from manifold_common.adapters.postgres.dsn import Dsn
from manifold_common.adapters.postgres.errors import translate
from manifold_common.adapters.postgres.migration_lock import TAKE_TURN, migration_lock
from manifold_common.adapters.postgres.wholeness import tables_of
from manifold_common.errors import DatabaseDenied

OWNER, APP, JOBS = "manifold_owner", "manifold_app", "manifold_jobs"
_STATEMENT_SECONDS = 60.0
_FUNCTION = re.compile(r"^CREATE (?:OR REPLACE )?FUNCTION (\w+)", re.MULTILINE)

GRANTS: Final[Mapping[str, tuple[LiteralString, LiteralString]]] = {
    "tenants": ("SELECT, INSERT", ""),
    "users": ("SELECT, INSERT", ""),
    "projects": ("SELECT, INSERT, UPDATE", ""),
    "project_keys": ("SELECT, INSERT", "UPDATE, DELETE"),
    "commits": ("SELECT, INSERT", "DELETE"),
    "checkpoints": ("SELECT, INSERT, UPDATE", "DELETE"),
    "removed_commits": ("SELECT", "INSERT, DELETE"),
    "declared_backups": ("SELECT", "INSERT, DELETE"),
    "condemned_objects": ("SELECT", "INSERT, UPDATE, DELETE"),
    "project_usage": ("SELECT", "INSERT, UPDATE"),
    "commit_turns": ("SELECT, INSERT, UPDATE, DELETE", ""),
    "sessions": ("SELECT, INSERT, UPDATE, DELETE", ""),
    "deleted_sessions": ("SELECT, INSERT, DELETE", ""),
    "ended_sessions": ("SELECT, INSERT", "DELETE"),
    "uploads": ("SELECT, INSERT, UPDATE, DELETE", ""),
    "resumable_uploads": ("SELECT, INSERT, UPDATE, DELETE", ""),
    "resumable_parts": ("SELECT, INSERT, UPDATE, DELETE", ""),
    "superseded_objects": ("SELECT, INSERT, UPDATE", "DELETE"),
    "damaged_objects": ("SELECT, INSERT, UPDATE, DELETE", ""),
    "tags": ("SELECT, INSERT, UPDATE, DELETE", ""),
    "outbox": ("SELECT, INSERT", "UPDATE, DELETE"),
    "removed_events": ("SELECT", "INSERT, UPDATE"),
    "event_streams": ("SELECT", "INSERT, UPDATE, DELETE"),
    "event_sinks": ("SELECT", "INSERT, UPDATE, DELETE"),
    "jobs": ("SELECT, INSERT, UPDATE", "DELETE"),
    "job_items": ("SELECT, UPDATE", "INSERT, DELETE"),
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

# The limits of ``defaults``, for the roles that work. What an operator has set stays.
_LIMITS: Final = """
DO $$
DECLARE missing record;
BEGIN
    FOR missing IN
        SELECT r.rolname AS role, g.name, g.value
        FROM pg_roles AS r
        CROSS JOIN unnest({names}::text[], {values}::text[]) AS g (name, value)
        JOIN pg_settings USING (name)  -- an older server does not know each
        WHERE r.rolname IN ('manifold_app', 'manifold_jobs') AND NOT EXISTS (
            SELECT FROM pg_db_role_setting AS s, unnest(s.setconfig) AS given
            WHERE s.setrole = r.oid AND split_part(given, '=', 1) = g.name
              AND s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database())))
    LOOP
        EXECUTE format(
            'ALTER ROLE %I IN DATABASE %I SET %I = %L', missing.role, current_database(), missing.name, missing.value);
    END LOOP;
EXCEPTION WHEN insufficient_privilege THEN
    RAISE NOTICE 'statements of the roles have no time limit on the server';
END
$$"""

# A superuser hands over what migrations have made, as it may have made some of it itself.
_HAND_OVER: Final = """
DO $$
DECLARE thing record;
BEGIN
    IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN RETURN; END IF;
    EXECUTE format('GRANT CREATE, USAGE ON SCHEMA %I TO manifold_owner', current_schema());
    FOR thing IN
        SELECT c.relname AS name FROM pg_class AS c
        WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r' AND c.relname = ANY({tables})
    LOOP
        EXECUTE format('ALTER TABLE %I OWNER TO manifold_owner', thing.name);
    END LOOP;
    FOR thing IN
        SELECT p.oid::regprocedure AS name FROM pg_proc AS p
        WHERE p.pronamespace = current_schema()::regnamespace AND p.proname = ANY({functions})
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
    FOR thing IN
        SELECT tablename AS name FROM pg_tables WHERE schemaname = current_schema() AND tablename = ANY({tables})
    LOOP
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO manifold_app', thing.name);
    END LOOP;
END
$$"""

_IN_USE: Final = """
SELECT EXISTS (
    SELECT FROM pg_class AS c CROSS JOIN pg_roles AS r
    WHERE c.oid = to_regclass('schema_migrations') AND r.rolname = 'manifold_app'
      AND has_table_privilege(r.oid, c.oid, 'SELECT'))
"""


def role_script(migrations: Sequence[str]) -> str:
    """Return the statements, for psql, for what migrations have made, given as SQL."""
    statements = [
        "BEGIN",
        TAKE_TURN,
        _MAKE_ROLES,
        _limits().as_string(),
        *(one.as_string() for one in _grants(migrations)),
        "COMMIT",
    ]
    return "".join(f"{statement.strip()};\n" for statement in statements)


def set_up_roles(dsn: str, migrations: Sequence[str]) -> list[str]:
    """Make the roles where they are missing and give each what it needs. Returns their names.

    Raises:
        DatabaseDenied: the role of ``dsn`` may not. CatalogUnavailable: also while another process migrates for long.
    """
    parsed = Dsn(dsn)
    try:
        with connect(parsed, statement_seconds=_STATEMENT_SECONDS) as connection, migration_lock(connection):
            connection.execute(_MAKE_ROLES)
            connection.execute(_limits())
            give_grants(connection, migrations)
    except pg.InsufficientPrivilege as error:
        raise DatabaseDenied(
            f"the database denies setting up roles: {error.diag.message_primary}",
            hint="do it as the owner of the tables with CREATEROLE, or as a superuser: "
            "manifold migrate-db --print-roles | psql --set ON_ERROR_STOP=1",
        ) from error
    except psycopg.Error as error:
        raise translate(error, parsed.without_secrets) from error
    return [OWNER, APP, JOBS]


def give_grants(connection: Connection, migrations: Sequence[str]) -> None:
    """Give the roles, which are there, what each needs."""
    for statement in _grants(migrations):
        connection.execute(statement)


def has_roles(connection: Connection) -> bool:
    """Tell whether the roles are used in this database, so that a migration has to give them their grants."""
    return bool(connection.execute(_IN_USE).fetchall()[0][0])


def _limits() -> Composed:
    return SQL(_LIMITS).format(names=Literal(list(DEFAULTS)), values=Literal(list(DEFAULTS.values())))


def _grants(migrations: Sequence[str]) -> list[Composed]:
    tables = ["schema_migrations", "refused_loads", *tables_of(migrations)]
    functions = [name for sql in migrations for name in _FUNCTION.findall(sql)]
    names = {"tables": Literal(tables), "functions": Literal(functions)}
    found = [SQL(_HAND_OVER).format(**names), SQL(_DEFAULTS).format(**names)]
    for table in tables:
        if table not in GRANTS:
            continue
        (app, more), name = GRANTS[table], Identifier(table)
        found.append(SQL("REVOKE ALL ON {} FROM manifold_app, manifold_jobs").format(name))
        found.append(SQL("GRANT " + app + " ON {} TO manifold_app").format(name))
        if more:
            found.append(SQL("GRANT " + more + " ON {} TO manifold_jobs").format(name))
    return found
