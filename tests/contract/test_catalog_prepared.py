"""Prepared statements: only where a session of the server is a connection's own; seen by nobody but on the clock."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from manifold_common.adapters.postgres import own_session
from manifold_common.adapters.postgres.catalog import PostgresCatalog
from manifold_common.adapters.postgres.connection import connect
from manifold_common.adapters.postgres.dsn import Dsn
from manifold_common.adapters.postgres.migrations import Migration, known_migrations, migrate
from manifold_common.adapters.system.clock import SystemClock
from manifold_common.bootstrap import build_catalog
from manifold_common.domain.own_server import OwnServer
from manifold_common.domain.patience import hurried
from manifold_common.errors import ConfigError
from manifold_common.ports.catalog import Catalog
from manifold_local.embedded.postgres import EmbeddedPostgres
from manifold_local.runtime import open_database, open_manifold

from tests.contract.catalog_fixtures import SESSION, TENANT, TTL, USER, make_project, session
from tests.contract.postgres_fixtures import connected
from tests.support.manifold import settings_for
from tests.support.pgbouncer import running_pgbouncer
from tests.support.postgres import database_of, direct_dsn
from tests.support.postgres_proxy import PostgresProxy

_OFTEN = 12
"""More often than a statement is sent before it is prepared, and planned for its values before its plan is kept."""


@pytest.fixture
def postgres_dsn(postgres_dsn: str) -> str:
    """The server itself, however the tests are run."""
    return direct_dsn(postgres_dsn)


@pytest.fixture
def direct(postgres_dsn: str) -> Iterator[PostgresCatalog]:
    with connected(postgres_dsn, is_direct=True) as catalog:
        yield catalog


def _prepared(catalog: Catalog) -> list[str]:
    """Return what the session that a catalog uses keeps."""
    assert isinstance(catalog, PostgresCatalog)
    for _ in range(_OFTEN):
        assert catalog.all_projects() == []
    return [statement for (statement,) in catalog._db.read("SELECT statement FROM pg_prepared_statements", ())]


def test_only_who_starts_the_server_or_says_so_has_statements_prepared(tmp_path: Path, ram_folder: Path) -> None:
    settings = settings_for(tmp_path, ram_folder / "ram")
    with open_manifold(settings) as manifold, open_database(settings) as dsn:
        assert isinstance(dsn, OwnServer)
        assert any("FROM projects" in statement for statement in _prepared(manifold.context.catalog))
        for variables, prepares in (({}, False), ({"DATABASE_PREPARE": "true"}, True)):
            named = settings_for(tmp_path, ram_folder / "ram", DATABASE_URL=str(dsn), **variables)
            assert named.database_url is not None
            catalog = build_catalog(named, named.database_url.get_secret_value(), SystemClock())
            assert isinstance(catalog, PostgresCatalog)
            assert bool(_prepared(catalog)) == prepares, "the same server, as a user names it"
            catalog.close()


def test_behind_a_pooler_it_is_refused_and_nothing_stays_in_its_sessions(
    postgres_server: EmbeddedPostgres, postgres_dsn: str
) -> None:
    with running_pgbouncer(postgres_server.dsn, pool_size=1) as pooler:
        dsn = pooler.dsn(database_of(postgres_dsn))
        with connected(dsn, is_direct=True) as catalog:
            for _ in range(3):
                with pytest.raises(ConfigError, match="databasePrepare is on, but a pooler answers") as caught:
                    catalog.all_projects()
                assert "DATABASE_PREPARE=false" in caught.value.hint
            assert not catalog.health().ok
        with psycopg.connect(dsn, autocommit=True, prepare_threshold=None) as same:
            assert same.execute("SHOW enable_seqscan").fetchall() == [("on",)]
            assert same.execute("SELECT name FROM pg_prepared_statements").fetchall() == []


def test_a_server_that_freezes_before_a_new_session_is_begun_is_waited_for_only_as_long_as_the_caller_does(
    postgres_dsn: str,
) -> None:
    def freeze() -> None:
        connection = connect(dsn, statement_seconds=15.0)
        try:
            proxy.fault = "freeze"
            own_session.begin(connection)
        finally:
            connection.close()

    with PostgresProxy(postgres_dsn) as proxy, hurried(1.0):
        dsn = Dsn(proxy.dsn, is_direct=True)
        started = time.monotonic()
        with pytest.raises(psycopg.Error):
            freeze()
        assert time.monotonic() - started < 8
        proxy.fault = ""


def test_a_table_that_changes_under_prepared_statements_is_nobodys_error(
    direct: PostgresCatalog, postgres_dsn: str
) -> None:
    """A read and a write, each with a result of another type than when it was prepared; then a migration."""
    made = make_project(direct)
    direct.open_session(session(made), ttl=TTL)

    def use() -> None:
        for _ in range(_OFTEN):
            assert direct.get_project(TENANT, made.id).name == "paper"
            direct.prolong_session(TENANT, USER, SESSION, TTL)

    use()
    with psycopg.connect(postgres_dsn, autocommit=True) as operator:
        operator.execute("ALTER TABLE projects ALTER COLUMN name TYPE varchar(300)")
        operator.execute("ALTER TABLE sessions ALTER COLUMN expires_at TYPE timestamptz(3)")
    use()
    latest = known_migrations()
    change = "ALTER TABLE projects ADD COLUMN more text; ALTER TABLE projects ALTER COLUMN name TYPE text"
    migrate(postgres_dsn, known=[*latest, Migration(latest[-1].version + 1, "9999_more", change)])
    use()


def test_a_plan_of_empty_tables_is_not_kept_when_they_have_grown(direct: PostgresCatalog, postgres_dsn: str) -> None:
    """Nobody tells PostgreSQL that they have grown: what would do that has not come by yet."""
    made = make_project(direct)
    with psycopg.connect(postgres_dsn, autocommit=True) as operator:
        for table in ("projects", "sessions"):
            operator.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = off)")
            operator.execute(f"VACUUM ANALYZE {table}")  # so that it is known to be empty
        for _ in range(_OFTEN):
            direct.view_session(TENANT, USER, SESSION)
            direct.list_commits(TENANT, made.id)
        before = _kept_plans(direct)
        operator.execute(
            "INSERT INTO projects (tenant_id, project_id, owner_id, name, created_at, updated_at)"
            " SELECT tenant_id, lpad(n::text, 26, 'a'), owner_id, n::text, now(), now()"
            " FROM projects, generate_series(1, 5000) AS n"
        )
        for _ in range(200):
            direct.list_commits(TENANT, made.id)
        after = _kept_plans(direct)
    assert len(before) == len(after) == 2
    assert "projects_living_name" in str(before), "the index of a tenant's names: as good as any for one project"
    assert "projects_living_name" not in str(after), "it would be read whole, for one project of thousands"
    assert "Seq Scan" not in str([before, after]), "nor is a table that was empty"


def _kept_plans(catalog: PostgresCatalog) -> list[object]:
    """Return the plans of the statements about sessions and commits that a session of the server keeps."""
    found = catalog._db.read(
        "SELECT name, parameter_types::text[] FROM pg_prepared_statements"
        " WHERE generic_plans > 0 AND statement ~ 'FROM (sessions|commits|projects) AS'",
        (),
    )
    values = {"text": "'x'", "bigint": "1"}
    with catalog._db._pool.connection() as connection:
        return [
            connection.execute(f"EXPLAIN EXECUTE {name}({', '.join(values[kind] for kind in kinds)})").fetchall()
            for name, kinds in found
        ]
