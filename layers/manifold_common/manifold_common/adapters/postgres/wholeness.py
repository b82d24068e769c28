"""Is the catalog in the database whole? It is not when a dump was loaded the wrong way.

Loaded into a database that has a catalog already, a dump changes nothing: each table has a trigger that leaves its rows
out, notes that, and makes its session read-only. Loaded only in part into an empty one, it lacks what dumps make last:
constraints, indexes and triggers. Both are noticed before the catalog is used.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, LiteralString

from psycopg import sql

from manifold_common.adapters.postgres.connection import Connection
from manifold_common.errors import DumpNotLoaded

_Read = Callable[[LiteralString, Sequence[Any]], list[tuple[Any, ...]]]
_LOADS = "refused_loads"

_TABLE = re.compile(r"^CREATE (?:UNLOGGED )?TABLE (\w+)", re.MULTILINE)
_PART = re.compile(
    r"\bCONSTRAINT (\w+) (?:UNIQUE|PRIMARY|FOREIGN)|^CREATE (?:UNIQUE )?INDEX (\w+)|^CREATE TRIGGER (\w+)", re.MULTILINE
)
_DROPPED = re.compile(r"\bDROP (?:INDEX|CONSTRAINT|TRIGGER) (?:IF EXISTS )?(\w+(?:, \w+)*)")

_MISSING = """
SELECT name, current_database()::text FROM unnest(%s::text[]) AS name
WHERE NOT EXISTS (SELECT FROM pg_constraint AS c WHERE c.conname = name AND pg_table_is_visible(c.conrelid))
  AND NOT EXISTS (SELECT FROM pg_class AS c WHERE c.relname = name AND pg_table_is_visible(c.oid))
  AND NOT EXISTS (SELECT FROM pg_trigger AS t WHERE t.tgname = name AND pg_table_is_visible(t.tgrelid))
ORDER BY name
"""

_REFUSED = """
SELECT to_char(max(refused_at) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS'), current_database()::text
FROM refused_loads HAVING count(*) > 0
"""

_UNGUARDED = """
SELECT name FROM unnest(%(tables)s::text[]) AS name
WHERE to_regprocedure(%(trigger)s || '()') IS NOT NULL AND to_regclass(name) IS NOT NULL
  AND NOT EXISTS (SELECT FROM pg_trigger AS t WHERE t.tgname = %(trigger)s AND t.tgrelid = to_regclass(name))
"""

_GUARDS: Mapping[str, LiteralString] = {
    "refuse_load": """
        CREATE TRIGGER refuse_load BEFORE INSERT ON {} FOR EACH ROW WHEN (current_setting('search_path') = '')
        EXECUTE FUNCTION refuse_load()
    """,
    "commit_durably": """
        CREATE TRIGGER commit_durably BEFORE INSERT OR UPDATE OR DELETE ON {} FOR EACH STATEMENT
        WHEN (current_setting('synchronous_commit') = 'off') EXECUTE FUNCTION commit_durably()
    """,
}
"""What every table has: triggers, each named as the function that it calls."""


def tables_of(migrations: Sequence[str]) -> list[str]:
    """Return the tables that migrations make, but the one that notes what was refused."""
    return [name for text in migrations for name in _TABLE.findall(text) if name != _LOADS]


def parts_of(migrations: Sequence[str]) -> set[str]:
    """Return the constraints, indexes and triggers with a name that are there after migrations, given as SQL."""
    parts: set[str] = set()
    for text in migrations:
        for dropped in _DROPPED.findall(text):
            parts -= set(dropped.split(", "))
        parts |= {name for names in _PART.findall(text) for name in names if name}
    return parts


def guard(connection: Connection, migrations: Sequence[str]) -> None:
    """Give every table of the catalog the triggers that all have: one refuses a dump, one makes changes durable."""
    tables = ["schema_migrations", *tables_of(migrations)]
    for trigger, statement in _GUARDS.items():
        for (table,) in connection.execute(_UNGUARDED, {"tables": tables, "trigger": trigger}).fetchall():
            connection.execute(sql.SQL(statement).format(sql.Identifier(table)))


def require_whole(read: _Read, migrations: Sequence[str]) -> None:
    """Raises DumpNotLoaded: a dump was refused, or what these migrations have made is not all there."""
    found = read(_MISSING, (sorted(parts_of(migrations)),))
    if found:
        missing = [str(name) for name, _ in found]
        raise DumpNotLoaded(
            f"the catalog in the database is not whole: {len(missing)} of its parts are missing, such as {missing[0]}. "
            "A dump was loaded only in part",
            hint=f"load it again, into an empty database: {_how(found[0][1])}",
            missing=missing,
        )
    if not any(f"CREATE TABLE {_LOADS} " in text for text in migrations):
        return
    for refused_at, database in read(_REFUSED, ()):
        raise DumpNotLoaded(
            f"a dump was loaded into the database {database!r} at {refused_at} UTC, which had a catalog already: "
            "nothing of the dump is there, and the catalog is as it was",
            hint=f"to have the dump, load it into an empty database: {_how(database)}; to go on with the catalog as it "
            "is: manifold migrate-db --keep-catalog",
        )


def _how(database: str) -> str:
    return (
        f"manifold database dropdb {database} && manifold database createdb {database} && "
        "manifold database psql --set ON_ERROR_STOP=1 --file backup.sql"
    )


def forget_refused(connection: Connection) -> None:
    """Go on with the catalog that is there."""
    if connection.execute("SELECT to_regclass('refused_loads')").fetchall() != [(None,)]:
        connection.execute("DELETE FROM refused_loads")
