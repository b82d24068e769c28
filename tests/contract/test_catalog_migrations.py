"""From one schema of the catalog to the next, on a real server: by one of many, in whole steps, and with the rows."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from manifold_common.adapters.postgres.migrations import Migration, known_migrations, migrate, schema_version
from manifold_common.errors import ManifoldError, SchemaMismatch
from manifold_common.ids import Generation

from tests.contract.catalog_fixtures import NO_PROJECT, NOW, TENANT, new_id
from tests.contract.postgres_fixtures import connected


def test_of_many_processes_that_migrate_at_once_one_applies_each(empty_postgres_dsn: str) -> None:
    with ThreadPoolExecutor(8) as threads:
        applied = list(threads.map(lambda _: migrate(empty_postgres_dsn), range(8)))
    assert sorted(name for names in applied for name in names) == [migration.name for migration in known_migrations()]
    assert migrate(empty_postgres_dsn) == []
    assert schema_version(empty_postgres_dsn) == known_migrations()[-1].version


def test_an_interrupted_migration_leaves_nothing_and_can_be_repeated(empty_postgres_dsn: str) -> None:
    first = Migration(1, "0001_one", "CREATE TABLE one (x int)")
    broken = Migration(2, "0002_two", "CREATE TABLE two (x int); SELECT 1 / 0")
    with pytest.raises(ManifoldError):
        migrate(empty_postgres_dsn, known=[first, broken])
    assert schema_version(empty_postgres_dsn) == 1
    assert migrate(empty_postgres_dsn, known=[first, broken._replace(sql="CREATE TABLE two (x int)")]) == ["0002_two"]


def test_uploads_of_an_older_schema_are_removed_in_their_time_unless_something_may_refer_to_them(
    empty_postgres_dsn: str,
) -> None:
    """What was claimed may be referred to: its row goes, its object stays. The rest cannot be used any more."""
    migrate(empty_postgres_dsn, known=[one for one in known_migrations() if one.version <= 5])
    ids = {name: new_id() for name in ("project", "dek", "claimed", "open")}
    with psycopg.connect(empty_postgres_dsn) as connection:
        connection.execute("INSERT INTO tenants VALUES ('acme', now())")
        connection.execute("INSERT INTO users VALUES ('acme', 'ann', now())")
        connection.execute(
            "INSERT INTO projects (tenant_id, project_id, owner_id, name, created_at, updated_at) "
            "VALUES ('acme', %(project)s, 'ann', 'old', now(), now())",
            ids,
        )
        connection.execute(
            "INSERT INTO project_keys (tenant_id, project_id, dek_id, provider, key_name, key_version, ciphertext, "
            "created_at) VALUES ('acme', %(project)s, %(dek)s, 'file', 'k', 1, '', now())",
            ids,
        )
        for name in ("claimed", "open"):
            connection.execute(
                "INSERT INTO uploads VALUES ('acme', %(project)s, %(name)s, 'ann', 's1', 'pack', %(name)s, 0, %(dek)s, "
                "now() - interval '2 days', now() - interval '1 day', %(claimed)s)",
                {**ids, "name": ids[name], "claimed": name == "claimed"},
            )
    migrate(empty_postgres_dsn)
    with connected(empty_postgres_dsn) as catalog:
        (left,) = catalog.ended_uploads(datetime.now(UTC))
        assert (left.name, left.stored_bytes is None, left.proof, left.commits) == (ids["open"], False, None, ())
        assert catalog.remove_upload(left)


def test_commits_of_before_have_the_time_they_said_and_none_that_is_still_to_come(empty_postgres_dsn: str) -> None:
    migrate(empty_postgres_dsn, known=[one for one in known_migrations() if one.version <= 5])
    long_ago, ahead = NOW - timedelta(days=9), datetime.now(UTC) + timedelta(days=9)
    with psycopg.connect(empty_postgres_dsn) as connection:
        connection.execute("INSERT INTO tenants VALUES ('acme', now())")
        connection.execute("INSERT INTO users VALUES ('acme', 'ann', now())")
        for number, said in enumerate((long_ago, ahead)):
            project, commit, dek = (f"{letter}{number}".rjust(26, "x") for letter in "pcd")
            connection.execute(
                "INSERT INTO projects (tenant_id, project_id, owner_id, name, created_at, updated_at)"
                " VALUES ('acme', %s, 'ann', %s, now(), now())",
                (project, project),
            )
            connection.execute(
                "INSERT INTO project_keys (tenant_id, project_id, dek_id, provider, key_name, key_version, ciphertext,"
                " created_at) VALUES ('acme', %s, %s, 'file', 'k', 1, 'x', now())",
                (project, dek),
            )
            connection.execute(
                "INSERT INTO commits (tenant_id, project_id, generation, commit_id, record_hash, dek_id, object_bytes,"
                " author_id, note, created_at) VALUES ('acme', %s, 1, %s, 'h', %s, 1, 'ann', 'n', %s)",
                (project, commit, dek, said),
            )
            connection.execute(
                "UPDATE projects SET generation = 1, head_commit_id = %s WHERE project_id = %s", (commit, project)
            )
    before = datetime.now(UTC)
    assert "0010_commit_times" in migrate(empty_postgres_dsn)
    with connected(empty_postgres_dsn) as catalog:
        rows = [
            (project.head.committed_at, catalog.commit_at(project.tenant, project.project, Generation(1)))
            for project in catalog.all_projects()
        ]
    assert [committed for committed, _ in rows] == [long_ago, ahead] == [row.created_at for _, row in rows]
    assert rows[0][1].recorded_at == long_ago
    recorded = rows[1][1].recorded_at
    assert recorded is not None
    assert abs(recorded - before) < timedelta(hours=1)


def test_an_edited_migration_is_refused(postgres_dsn: str) -> None:
    edited = [migration._replace(sql=migration.sql + "\n-- edited") for migration in known_migrations()]
    with pytest.raises(SchemaMismatch, match="0001_catalog"):
        migrate(postgres_dsn, known=edited)


def test_a_database_newer_than_the_program_is_refused(postgres_dsn: str) -> None:
    with psycopg.connect(postgres_dsn) as connection:
        connection.execute("INSERT INTO schema_migrations (version, name, checksum) VALUES (999, 'x', 'y')")
    with pytest.raises(SchemaMismatch, match="999"):
        migrate(postgres_dsn)
    with connected(postgres_dsn) as catalog, pytest.raises(SchemaMismatch, match="upgrade"):
        catalog.check_schema()


def test_a_database_without_the_schema_is_refused_with_the_command_to_run(
    empty_postgres_dsn: str, postgres_dsn: str
) -> None:
    with connected(empty_postgres_dsn) as catalog:
        with pytest.raises(SchemaMismatch, match="manifold migrate-db"):
            catalog.check_schema()
        with pytest.raises(SchemaMismatch, match="manifold migrate-db"):
            catalog.head(TENANT, NO_PROJECT)
    with connected(postgres_dsn) as catalog:
        catalog.check_schema()
