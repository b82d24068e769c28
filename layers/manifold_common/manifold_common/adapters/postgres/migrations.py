"""The schema, as numbered SQL files, each applied once, in order and wholly.

``migrations/0001_catalog.sql`` is version 1, and so on. A file is never edited after its release: its checksum is kept
in the database, and a file that no longer matches is refused.
"""

from __future__ import annotations

import hashlib
from importlib import resources
from typing import Any, NamedTuple

import psycopg
from psycopg import errors as pg

from manifold_common.adapters.postgres.connection import Connection, connect
from manifold_common.adapters.postgres.defaults import missing_defaults, set_defaults
from manifold_common.adapters.postgres.dsn import Dsn
from manifold_common.adapters.postgres.errors import MIGRATE_HINT, translate
from manifold_common.adapters.postgres.migration_lock import STATEMENT_SECONDS, migration_lock
from manifold_common.adapters.postgres.roles import give_grants, has_roles
from manifold_common.adapters.postgres.wholeness import forget_refused, guard, require_whole
from manifold_common.errors import DumpNotLoaded, SchemaMismatch

_HISTORY = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    version integer PRIMARY KEY,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)"""


class Migration(NamedTuple):
    version: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


def known_migrations() -> list[Migration]:
    """Return this program's migrations, by version."""
    folder = resources.files("manifold_common.adapters.postgres") / "migrations"
    files = sorted((entry for entry in folder.iterdir() if entry.name.endswith(".sql")), key=lambda entry: entry.name)
    return [Migration(int(file.name[:4]), file.name[:-4], file.read_text(encoding="utf-8")) for file in files]


def migrate(dsn: str, *, known: list[Migration] | None = None, keep_catalog: bool = False) -> list[str]:
    """Bring the database to this program's schema and return the names of the migrations that were applied.

    Several processes may do so at once; one works, the others wait for it. An interrupted migration leaves nothing.

    Args:
        keep_catalog: go on with the catalog that is there, after a dump was refused.

    Raises:
        DumpNotLoaded: the catalog that is there is not whole, or a dump was loaded on top of it.
        SchemaMismatch: the database is newer than this program, or a migration was edited after it was applied.
        CatalogUnavailable: the database cannot be reached or refuses.
    """
    parsed = Dsn(dsn)
    migrations = known_migrations() if known is None else known
    try:
        with connect(parsed, statement_seconds=STATEMENT_SECONDS) as connection:
            if keep_catalog:
                forget_refused(connection)
            pending = _pending(_whole_history(connection, migrations), migrations)
            done = [migration.name for migration in pending if _apply_once(connection, migration, migrations)]
            if missing_defaults(connection):
                with migration_lock(connection):
                    set_defaults(connection)
            return done
    except psycopg.Error as error:
        raise translate(error, parsed.without_secrets) from error


def _whole_history(connection: Connection, known: list[Migration]) -> dict[int, str]:
    """Return what was applied, once all that it made is there. Raises DumpNotLoaded: it is not."""
    while True:
        applied = _history(connection)
        made = [migration.sql for migration in known if migration.version in applied]
        try:
            require_whole(lambda sql, params: connection.execute(sql, params).fetchall(), made)
        except DumpNotLoaded:
            if _history(connection) == applied:
                raise
            continue  # another process has applied more meanwhile, which may remove what earlier ones made
        return applied


def _apply_once(connection: Connection, migration: Migration, known: list[Migration]) -> bool:
    """Return whether it was applied: another process may have done so meanwhile."""
    with migration_lock(connection):
        connection.execute(_HISTORY)
        if migration not in _pending(_history(connection), known):
            return False
        _apply(connection, migration)
        guard(connection, [one.sql for one in known])
        if has_roles(connection):
            give_grants(connection, [one.sql for one in known if one.version <= migration.version])
        connection.execute(
            "INSERT INTO schema_migrations (version, name, checksum) VALUES (%s, %s, %s)",
            (migration.version, migration.name, migration.checksum),
        )
    return True


def _apply(connection: Connection, migration: Migration) -> None:
    try:
        connection.execute(migration.sql)
    except pg.DuplicateTable as error:
        raise DumpNotLoaded(
            f"migration {migration.name} cannot be applied: {error.diag.message_primary}. A dump was loaded only in "
            "part, or the database is another program's",
            hint="use a database that is empty: dropdb, createdb, then load the dump with psql --set ON_ERROR_STOP=1 "
            "--file backup.sql, if there is one",
        ) from error


def schema_version(dsn: str) -> int:
    """Return the version of the database's schema, 0 if there is none. Raises CatalogUnavailable."""
    parsed = Dsn(dsn)
    try:
        with connect(parsed, statement_seconds=STATEMENT_SECONDS) as connection:
            return max(_history(connection), default=0)
    except psycopg.Error as error:
        raise translate(error, parsed.without_secrets) from error


def refuse_other_version(found: int) -> None:
    """Raises SchemaMismatch unless ``found`` is the version this program works with."""
    wanted = known_migrations()[-1].version
    if found < wanted:
        raise SchemaMismatch(
            f"the database schema is version {found}, and this program needs version {wanted}",
            hint=MIGRATE_HINT,
            found=found,
            wanted=wanted,
        )
    if found > wanted:
        raise SchemaMismatch(
            f"the database schema is version {found}, and this program only knows version {wanted}",
            hint="upgrade this program; a newer one has run 'manifold migrate-db' on the database",
            found=found,
            wanted=wanted,
        )


def _history(connection: Connection) -> dict[int, str]:
    try:
        rows: list[tuple[Any, ...]] = connection.execute("SELECT version, checksum FROM schema_migrations").fetchall()
    except pg.UndefinedTable:
        return {}
    return dict(rows)


def _pending(applied: dict[int, str], known: list[Migration]) -> list[Migration]:
    if (newest := max(applied, default=0)) > known[-1].version:
        raise SchemaMismatch(
            f"the database schema is version {newest}, and this program only knows version {known[-1].version}",
            hint="upgrade this program",
        )
    for migration in known:
        if applied.get(migration.version, migration.checksum) != migration.checksum:
            raise SchemaMismatch(
                f"migration {migration.name} was applied to the database in another form than this program's",
                hint="use the release that applied it; to change the schema, add a new migration",
            )
    return [migration for migration in known if migration.version not in applied]
