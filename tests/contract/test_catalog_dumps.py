"""Dumps of the catalog, with PostgreSQL's own programs: into an empty database, on top of a catalog, and cut off."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from manifold_common.adapters.postgres.catalog import PostgresCatalog
from manifold_common.adapters.postgres.clients import client_environment
from manifold_common.adapters.postgres.migrations import known_migrations, migrate
from manifold_common.adapters.postgres.wholeness import parts_of, tables_of
from manifold_common.adapters.system.clock import SystemClock
from manifold_common.errors import DumpNotLoaded
from manifold_local.embedded.postgres_cluster import binaries

from tests.contract.catalog_fixtures import SESSION, TENANT, TTL, USER, draft, everything, make_project, session
from tests.support.postgres import database_of, direct_dsn, with_database

_PAGE = Path(__file__).parents[2] / "docs/operations.md"


def run(dsn: str, program: str, *arguments: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": "/usr/bin:/bin", **client_environment(direct_dsn(dsn))}
    command = [str(binaries() / program), *arguments]
    return subprocess.run(command, input=given, env=environment, capture_output=True, text=True, check=False)


def open_catalog(dsn: str) -> PostgresCatalog:
    return PostgresCatalog(dsn, clock=SystemClock())


@pytest.fixture
def other_dsn(postgres_dsn: str) -> Iterator[str]:
    """Another database, which is empty."""
    name = f"{database_of(postgres_dsn)}_other"
    assert run(postgres_dsn, "createdb", name).returncode == 0
    yield with_database(postgres_dsn, name)
    assert run(postgres_dsn, "dropdb", "--force", name).returncode == 0


def fill(dsn: str) -> list[object]:
    """Make a project with history and a session, and return all that can be seen of it."""
    with closing(open_catalog(dsn)) as catalog:
        made = make_project(catalog)
        made.publish(3)
        catalog.open_session(session(made, draft=draft(made)), ttl=TTL)
        return everything(catalog, made)


_OF_RELEASE_5 = """
INSERT INTO tenants VALUES ('acme', now());
INSERT INTO users VALUES ('acme', 'ann', now());
INSERT INTO projects (tenant_id, project_id, owner_id, name, created_at, updated_at)
VALUES ('acme', repeat('p', 26), 'ann', 'paper', now(), now());
INSERT INTO project_keys (tenant_id, project_id, dek_id, provider, key_name, key_version, ciphertext, created_at)
VALUES ('acme', repeat('p', 26), repeat('k', 26), 'file', 'master', 1, 'x', now());
INSERT INTO sessions (tenant_id, user_id, session_id, project_id, base_generation, scope, created_at, expires_at)
VALUES ('acme', 'ann', 's1', repeat('p', 26), 0, '', now(), now());
INSERT INTO outbox (tenant_id, project_id, type, generation, data, created_at)
VALUES ('acme', repeat('p', 26), 'x', 0, '{}', now());
"""


def fill_release_5(dsn: str) -> None:
    migrate(dsn, known=[one for one in known_migrations() if one.version <= 5])
    with psycopg.connect(dsn) as connection:
        connection.execute(_OF_RELEASE_5)


def contents(dsn: str) -> dict[str, object]:
    """Return every row of every table, and where the sequences stand."""
    found: dict[str, object] = {}
    with psycopg.connect(dsn) as connection:
        for table in ("schema_migrations", *tables_of([migration.sql for migration in known_migrations()])):
            found[table] = sorted(map(str, connection.execute(f"SELECT * FROM {table}").fetchall()))
        found["sequences"] = connection.execute(
            "SELECT sequencename, last_value FROM pg_sequences ORDER BY 1"
        ).fetchall()
    return found


def dump(dsn: str, *arguments: str) -> str:
    """Return a dump that servers of all versions load, made so as the documents say."""
    done = run(dsn, "pg_dump", *arguments)
    assert done.returncode == 0, done.stderr
    shown = re.search(r"^sed -i '(.*)' \"\$BACKUP/backup.sql\"$", _PAGE.read_text(), re.MULTILINE)
    assert shown is not None
    return subprocess.run(["sed", shown[1]], input=done.stdout, capture_output=True, text=True, check=True).stdout


def start(dsn: str) -> None:
    """What a start does with the database."""
    migrate(dsn)
    with closing(open_catalog(dsn)) as catalog:
        catalog.check_schema()


def test_a_dump_comes_back_whole_in_an_empty_database(postgres_dsn: str, other_dsn: str) -> None:
    fill(postgres_dsn)
    before = contents(postgres_dsn)
    done = run(other_dsn, "psql", given=dump(postgres_dsn))
    assert (done.returncode, done.stderr) == (0, "")
    assert contents(other_dsn) == before
    start(other_dsn)
    with closing(open_catalog(other_dsn)) as catalog:
        view = catalog.view_session(TENANT, USER, SESSION)
        assert view is not None and view.session.draft is not None
        catalog.drop_draft(TENANT, USER, SESSION, view.session.draft.commit)
        assert len(catalog.superseded_objects(0)) == 1, "its triggers came with it"


@pytest.mark.parametrize("arguments", [(), ("--inserts",), ("--data-only",)])
@pytest.mark.parametrize("filled", [False, True])
def test_a_dump_loaded_on_top_of_a_catalog_changes_nothing_and_the_next_start_says_so(
    postgres_dsn: str, other_dsn: str, filled: bool, arguments: tuple[str, ...]
) -> None:
    fill(postgres_dsn)
    text = dump(postgres_dsn, *arguments)
    migrate(other_dsn)
    if filled:
        for _ in range(2):
            with closing(open_catalog(other_dsn)) as catalog:
                make_project(catalog, "its own" if _ else "and another").publish(9)
    before = contents(other_dsn)
    loaded = run(other_dsn, "psql", given=text)
    assert "nothing of the dump is loaded" in loaded.stderr
    assert contents(other_dsn) == before
    for _ in range(2):
        with pytest.raises(DumpNotLoaded, match="had a catalog already") as refusal:
            start(other_dsn)
    assert "manifold migrate-db --keep-catalog" in str(refusal.value.hint)
    with closing(open_catalog(other_dsn)) as running:
        make_project(running, "of a node that runs").publish()
    migrate(other_dsn, keep_catalog=True)
    start(other_dsn)


def test_a_dump_of_an_earlier_release_is_refused_as_well(empty_postgres_dsn: str, other_dsn: str) -> None:
    fill_release_5(empty_postgres_dsn)
    text = dump(empty_postgres_dsn)
    assert "refuse_load" not in text
    migrate(other_dsn)
    before = contents(other_dsn)
    run(other_dsn, "psql", given=text)
    assert contents(other_dsn) == before
    with pytest.raises(DumpNotLoaded):
        start(other_dsn)


def test_a_dump_of_an_earlier_release_comes_back_in_an_empty_database_and_is_brought_up_to_date(
    empty_postgres_dsn: str, other_dsn: str
) -> None:
    fill_release_5(empty_postgres_dsn)
    run(other_dsn, "psql", given=dump(empty_postgres_dsn))
    start(other_dsn)
    with closing(open_catalog(other_dsn)) as catalog:
        assert catalog.view_session(TENANT, USER, SESSION) is not None


def make_current(dsn: str) -> None:
    migrate(dsn)
    fill(dsn)


@pytest.mark.parametrize("make", [fill_release_5, make_current])
def test_a_dump_that_was_cut_off_is_noticed_wherever_that_was(
    empty_postgres_dsn: str, other_dsn: str, make: Callable[[str], None]
) -> None:
    make(empty_postgres_dsn)
    statements = re.split(r"(?=^-- (?:Data for )?Name: )", dump(empty_postgres_dsn), flags=re.MULTILINE)
    foreign_keys = [n for n, one in enumerate(statements) if "FK CONSTRAINT" in one]
    data = [n for n, one in enumerate(statements) if "Type: TABLE DATA" in one]
    tables = [n for n, one in enumerate(statements) if "Type: TABLE;" in one]
    for cut in (tables[1], data[0], data[-3], data[-1] + 1, foreign_keys[0], foreign_keys[len(foreign_keys) // 2]):
        with psycopg.connect(other_dsn, autocommit=True) as connection:
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("CREATE SCHEMA public")
        run(other_dsn, "psql", given="".join(statements[:cut]))
        with pytest.raises(DumpNotLoaded) as refusal:
            start(other_dsn)
        assert "createdb" in str(refusal.value.hint)


def test_every_table_of_the_catalog_refuses_dumps_and_every_named_part_is_known(postgres_dsn: str) -> None:
    with psycopg.connect(postgres_dsn) as connection:
        tables = {name for (name,) in connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")}
        guarded = {
            name
            for (name,) in connection.execute(
                "SELECT tgrelid::regclass::text FROM pg_trigger WHERE tgname = 'refuse_load'"
            )
        }
    assert tables - guarded == {"refused_loads"}
    assert {"commits_id", "projects_head", "uploads_key", "sessions_by_expiry", "sessions_draft_deleted"} <= parts_of(
        [migration.sql for migration in known_migrations()]
    )


def test_somebody_elses_database_is_refused_untouched(empty_postgres_dsn: str) -> None:
    with psycopg.connect(empty_postgres_dsn, autocommit=True) as connection:
        connection.execute("CREATE TABLE users (mine int)")
        with pytest.raises(DumpNotLoaded, match="another program's"):
            migrate(empty_postgres_dsn)
        assert connection.execute("SELECT to_regclass('tenants')").fetchall() == [(None,)]


def test_programs_are_told_of_a_password_by_the_environment_alone() -> None:
    found = client_environment("postgresql://ann:s%40cret@db.example:5433/manifold?sslmode=require")
    assert found == {
        "PGHOST": "db.example",
        "PGPORT": "5433",
        "PGUSER": "ann",
        "PGPASSWORD": "s@cret",
        "PGDATABASE": "manifold",
        "PGSSLMODE": "require",
    }
