"""Three roles: an owner that migrates and dumps, the application's, and one for jobs that go across tenants.

The contract suites run as the role of jobs (``conftest.catalog``). Here: what the application can do and cannot.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from manifold_common.adapters.postgres import migrations, roles
from manifold_common.adapters.postgres.clients import client_environment
from manifold_common.adapters.postgres.defaults import DEFAULTS
from manifold_common.adapters.postgres.migrations import Migration, known_migrations, migrate, schema_version
from manifold_common.adapters.postgres.roles import APP, GRANTS, JOBS, OWNER
from manifold_common.bootstrap import role_script, set_up_roles
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.errors import DatabaseDenied, SchemaMismatch
from manifold_common.ids import Generation, SessionId, TagName
from manifold_common.services.projects.edits import Delete, MakeFolder
from manifold_common.shapes.intent import Intent
from manifold_local.embedded.postgres_cluster import binaries

from functions.invocation.entry import InvocationError
from tests.contract.catalog_fixtures import make_project
from tests.contract.postgres_fixtures import connected
from tests.support.functions import Function, MakeFunction, metrics_of, printed, sample
from tests.support.postgres import as_role, direct_dsn
from tests.support.webhooks import SECRET, WebhookEndpoint

SESSION = SessionId("s1")
LATER = Migration(
    9999, "9999_later", "CREATE TABLE later (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, t text);"
)
RIGHTS = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER")


@pytest.fixture
def application(postgres_dsn: str) -> str:
    return as_role(postgres_dsn, APP)


def work(function: Function) -> None:
    """Do what requests can ask for."""
    manifold = function.manifold
    edits, sessions = manifold.edits, manifold.sessions
    project = manifold.projects.create(LOCAL_PRINCIPAL, "demo").id
    edits.apply(LOCAL_PRINCIPAL, project, [MakeFolder(b"docs"), MakeFolder(b".skills/one")])
    place = Path(sessions.checkout(LOCAL_PRINCIPAL, SESSION, project).path)
    (place / "new").write_text("content")
    manifold.commits.save(LOCAL_PRINCIPAL, SESSION)
    manifold.commits.commit(LOCAL_PRINCIPAL, SESSION, Intent("message"))
    (place / "new").write_text("more")
    manifold.commits.save(LOCAL_PRINCIPAL, SESSION)
    sessions.close(LOCAL_PRINCIPAL, SESSION)
    edits.apply(LOCAL_PRINCIPAL, project, [Delete(b"docs")])
    edits.restore(LOCAL_PRINCIPAL, project, Generation(1), [], Intent())
    assert manifold.verify.run(LOCAL_PRINCIPAL, project, read_data=True).ok
    assert manifold.history.snapshot(LOCAL_PRINCIPAL, project).head.generation == 4
    tags, name = manifold.tags, TagName("release-1")
    seen, _ = tags.set(LOCAL_PRINCIPAL, project, name, Generation(1))
    tags.set(LOCAL_PRINCIPAL, project, name, Generation(2), expected=seen.point)
    tags.remove(LOCAL_PRINCIPAL, project, name)
    manifold.forks.fork(LOCAL_PRINCIPAL, project, "fork")
    manifold.projects.rename(LOCAL_PRINCIPAL, project, "other")
    sessions.checkout(LOCAL_PRINCIPAL, SESSION, project)
    (place / "new").write_text("even more")
    manifold.commits.save(LOCAL_PRINCIPAL, SESSION)
    manifold.projects.delete(LOCAL_PRINCIPAL, project)
    manifold.deleted_projects.undelete(LOCAL_PRINCIPAL, project)
    sessions.close(LOCAL_PRINCIPAL, SESSION)
    manifold.projects.delete(LOCAL_PRINCIPAL, project)
    assert len(manifold.events.recent(limit=100)) == 14
    assert manifold.context.catalog.health().ok


def test_the_application_does_all_that_requests_ask_for(make_function: MakeFunction, application: str) -> None:
    function = make_function(DATABASE_URL=application)
    work(function)
    assert function("api", sample("http-post", body='{"name": "more"}', isBase64Encoded=False))["statusCode"] == 201
    event = sample("commit-direct", tenant=None, user=None, request_id=None, project="more")
    assert function("commit", event)["generation"] == 1
    assert function("checkout", {"project": "more"})["kind"] == "new"
    assert function("api", sample("http-get", rawPath="/health", rawQueryString=""))["statusCode"] == 200


@pytest.mark.parametrize("name", ["fanout", "maintenance", "reencrypt"])
def test_jobs_are_done_by_their_role_and_denied_to_the_application(
    make_function: MakeFunction,
    postgres_dsn: str,
    application: str,
    webhook_endpoint: WebhookEndpoint,
    name: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    sinks = {"WEBHOOKS_URLS": webhook_endpoint.url, "WEBHOOKS_SECRET": SECRET}
    more = sinks if name == "fanout" else {}
    work(make_function(DATABASE_URL=application, **more))
    key = {"PROJECTS_ENCRYPTION_FILE_KEY_NAME": "second"} if name == "reencrypt" else {}
    denied = make_function(DATABASE_URL=application, **key, **more)
    capsys.readouterr()
    with pytest.raises(InvocationError) as caught:
        denied(name, {})
    log = capsys.readouterr().out
    assert "database_denied" in log
    if name == "fanout":
        assert type(caught.value).__name__ == "database_denied"
        assert "permission denied for table event_" in log and "manifold migrate-db --roles" in log
        assert metrics_of(log)["database.failures"] == 1
    allowed = make_function(DATABASE_URL=as_role(postgres_dsn, JOBS), **key)
    answer = allowed(name, {})
    if name == "reencrypt":
        assert answer["job"]["done"] > 0 and not answer["job"]["failed"]
    if name == "fanout":
        assert (len(webhook_endpoint.events), answer["waiting"]) == (14, 0)
        assert answer["settled"] == 14
    if name == "maintenance":
        assert "error" not in str(answer["chores"])


@pytest.fixture
def as_application(application: str) -> Iterator[Callable[[str], object]]:
    with connected(application) as catalog, psycopg.connect(application, autocommit=True) as connection:
        make_project(catalog).publish()
        yield connection.execute  # type: ignore[misc] # statements of this file


@pytest.mark.parametrize(
    "statement",
    [
        "TRUNCATE sessions",
        "DROP TABLE sessions",
        "CREATE TABLE mine (id int)",
        "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "ALTER TABLE sessions ADD COLUMN mine int",
        "ALTER TABLE commits DISABLE TRIGGER ALL",
        "CREATE INDEX mine ON sessions (session_id)",
        "UPDATE commits SET author_id = 'other'",
        "DELETE FROM commits",
        "DELETE FROM projects",
        "DELETE FROM project_keys",
        "UPDATE project_keys SET ciphertext = ''",
        "UPDATE outbox SET data = '{}'",
        "DELETE FROM outbox",
        "INSERT INTO event_streams (sink, tenant_id, project_id, delivered) VALUES ('kafka', 'a', 'b', 9)",
        "DELETE FROM superseded_objects",
        "DELETE FROM ended_sessions",
        "INSERT INTO schema_migrations (version, name, checksum) VALUES (99, 'x', 'x')",
        "DELETE FROM refused_loads",
        "DELETE FROM installation",
        "SELECT pg_read_file('/etc/passwd')",
    ],
)
def test_the_application_is_denied_what_no_request_asks_for(
    as_application: Callable[[str], object], statement: str
) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        as_application(statement)


def test_each_table_says_what_each_role_may_do_with_it(postgres_dsn: str) -> None:
    with psycopg.connect(postgres_dsn) as connection:
        rows = connection.execute(
            "SELECT t.tablename, r.role, array(SELECT p FROM unnest(%s::text[]) AS p"
            " WHERE has_table_privilege(r.role, t.tablename, p))"
            " FROM pg_tables AS t, unnest(%s::text[]) AS r (role) WHERE t.schemaname = 'public' ORDER BY r.role",
            (list(RIGHTS), [APP, JOBS]),
        ).fetchall()
    found: dict[str, tuple[set[str], ...]] = {}
    for table, _, rights in rows:
        found[table] = (*found.get(table, ()), set(rights))
    assert found.keys() == GRANTS.keys(), "each table has to be listed in adapters/postgres/roles.py"
    for table, (app, more) in GRANTS.items():
        granted = set(app.split(", "))
        assert found[table] == (granted, granted | set(filter(None, more.split(", ")))), table


def test_none_of_the_roles_is_more_than_it_has_to_be(postgres_dsn: str) -> None:
    with psycopg.connect(postgres_dsn) as connection:
        rows = connection.execute(
            "SELECT rolname, rolsuper OR rolcreatedb OR rolcreaterole OR rolbypassrls OR rolreplication, rolcanlogin"
            " FROM pg_roles WHERE rolname = ANY(%s)", ([OWNER, APP, JOBS],)
        ).fetchall()  # fmt: skip
    assert sorted(rows) == [(APP, False, True), (JOBS, False, True), (OWNER, False, True)]


@pytest.mark.parametrize("role", [OWNER, ""])
def test_a_table_of_a_later_migration_is_the_applications_too(postgres_dsn: str, role: str) -> None:
    """Whoever migrates: the owner, or a superuser."""
    assert migrate(as_role(postgres_dsn, role) if role else postgres_dsn, known=[*known_migrations(), LATER])
    for one in (APP, JOBS):
        with psycopg.connect(as_role(postgres_dsn, one)) as connection:
            connection.execute("INSERT INTO later (t) VALUES ('x')")
            connection.execute("UPDATE later SET t = 'y'")
            connection.execute("DELETE FROM later")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("DROP TABLE later")


def test_a_table_never_stands_without_its_grants(postgres_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An upgrade that is ended between the two is repeated whole."""
    known = [*known_migrations(), LATER]
    with monkeypatch.context() as patch, pytest.raises(InterruptedError):
        patch.setattr(migrations, "give_grants", ended)
        migrate(postgres_dsn, known=known)
    assert schema_version(postgres_dsn) == known_migrations()[-1].version
    assert migrate(postgres_dsn, known=known) == [LATER.name]
    with psycopg.connect(as_role(postgres_dsn, APP)) as connection:
        connection.execute("INSERT INTO later (t) VALUES ('x')")


def ended(*_: object) -> None:
    raise InterruptedError


def test_processes_that_migrate_and_set_up_roles_at_once_wait_for_each_other(empty_postgres_dsn: str) -> None:
    def upgrade(_: int) -> list[str]:
        return [*migrate(empty_postgres_dsn), *set_up_roles(empty_postgres_dsn)]

    old = [one for one in known_migrations() if one.version <= 10]
    for _ in range(3):
        with psycopg.connect(empty_postgres_dsn, autocommit=True) as connection:
            connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        migrate(empty_postgres_dsn, known=old)
        roles.set_up_roles(empty_postgres_dsn, [one.sql for one in old])
        with ThreadPoolExecutor(4) as threads:
            found = [name for names in threads.map(upgrade, range(4)) for name in names]
        new = [one.name for one in known_migrations() if one not in old]
        assert sorted(found) == sorted([*new, *4 * [OWNER, APP, JOBS]])


def test_the_owner_makes_a_catalog_from_nothing_and_may_repeat_it(empty_postgres_dsn: str, postgres_dsn: str) -> None:
    with psycopg.connect(empty_postgres_dsn, autocommit=True) as connection:
        connection.execute("GRANT CREATE, USAGE ON SCHEMA public TO manifold_owner")
    owner = as_role(empty_postgres_dsn, OWNER)
    assert len(migrate(owner)) == len(known_migrations())
    for _ in range(2):
        assert set_up_roles(owner) == [OWNER, APP, JOBS]
    with connected(as_role(empty_postgres_dsn, APP)) as catalog:
        catalog.check_schema()
        make_project(catalog).publish()
    dump = subprocess.run([binaries() / "pg_dump"], env=client_environment(owner), capture_output=True, check=True)
    assert b"COPY public.commits" in dump.stdout


def test_a_role_that_may_make_no_roles_is_told_what_an_administrator_runs(postgres_dsn: str, application: str) -> None:
    with pytest.raises(DatabaseDenied) as caught:
        set_up_roles(application)
    assert "--print-roles | psql" in str(caught.value.hint)


def test_the_script_for_administrators_does_the_same(empty_postgres_dsn: str) -> None:
    migrate(empty_postgres_dsn)
    for _ in range(2):
        subprocess.run(
            [binaries() / "psql", "--quiet", "--no-psqlrc", "--set", "ON_ERROR_STOP=1"],
            input=role_script().encode(), env=client_environment(empty_postgres_dsn), check=True,
        )  # fmt: skip
    with psycopg.connect(empty_postgres_dsn) as connection:
        owners = connection.execute("SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'").fetchall()
    assert owners == [(OWNER,)]
    with connected(as_role(empty_postgres_dsn, JOBS)) as catalog:
        make_project(catalog).publish()


def test_the_application_starts_on_its_schema_and_can_bring_no_other_about(
    postgres_dsn: str, application: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert migrate(application) == [], "nothing is to be done, so nothing is asked for"
    newer = [*known_migrations(), LATER]
    with pytest.raises(DatabaseDenied, match=r"denies it: .*permission denied") as caught:
        migrate(application, known=newer)
    assert "role that owns the tables" in str(caught.value.hint)
    monkeypatch.setattr("manifold_common.adapters.postgres.migrations.known_migrations", lambda: newer)
    with connected(application) as catalog, pytest.raises(SchemaMismatch, match="manifold migrate-db"):
        catalog.check_schema()


def test_a_missing_grant_is_told_at_once_with_the_command_and_nothing_is_tried_again(
    make_function: MakeFunction, postgres_dsn: str, application: str, capsys: Any
) -> None:
    function = make_function(DATABASE_URL=application)
    function.manifold.projects.create(LOCAL_PRINCIPAL, "demo")
    with psycopg.connect(postgres_dsn, autocommit=True) as connection:
        connection.execute(f"REVOKE INSERT ON commits FROM {APP}")
    event = sample("commit-direct", tenant=None, user=None, errors="return")
    problem = function("commit", event)["error"]
    assert (problem["status"], problem["code"]) == (503, "database_denied")
    assert problem["detail"] == "the database denies it: permission denied for table commits"
    assert "manifold migrate-db --roles" in problem["hint"]
    (logged,) = (line for line in printed(capsys.readouterr().out) if "database_denied: " in str(line))
    assert logged["level"] == "ERROR"


def test_a_dump_without_roles_gets_them_where_it_is_loaded(empty_postgres_dsn: str, postgres_dsn: str) -> None:
    with connected(postgres_dsn) as catalog:
        made = make_project(catalog)
    owner = client_environment(as_role(postgres_dsn, OWNER))
    command = [binaries() / "pg_dump", "--no-owner", "--no-privileges"]
    dump = subprocess.run(command, env=owner, capture_output=True, check=True).stdout
    dump = dump.replace(b"SET transaction_timeout = 0;\n", b"")  # servers before PostgreSQL 17 do not know it
    subprocess.run(
        [binaries() / "psql", "--quiet", "--no-psqlrc", "--set", "ON_ERROR_STOP=1", "--output", "/dev/null"],
        input=dump, env=client_environment(direct_dsn(empty_postgres_dsn)), check=True,
    )  # fmt: skip
    assert b"manifold_" not in dump
    set_up_roles(empty_postgres_dsn)
    with connected(as_role(empty_postgres_dsn, APP)) as catalog:
        catalog.check_schema()
        assert catalog.get_project(made.tenant, made.id).name == made.row.name


def test_a_statement_of_the_working_roles_ends_on_the_server_by_itself_unless_an_operator_says_otherwise(
    postgres_dsn: str,
) -> None:
    with psycopg.connect(postgres_dsn, autocommit=True) as connection:
        for role in (APP, JOBS):
            connection.execute(f"ALTER ROLE {role} IN DATABASE {connection.info.dbname} RESET ALL")
        connection.execute(f"ALTER ROLE {APP} IN DATABASE {connection.info.dbname} SET statement_timeout = '7s'")
        set_up_roles(postgres_dsn)
        found = connection.execute(
            "SELECT setrole::regrole::text, setconfig FROM pg_db_role_setting AS s JOIN pg_database AS d"
            " ON d.oid = s.setdatabase WHERE datname = current_database() ORDER BY 1"
        ).fetchall()
    assert {role: dict(one.split("=") for one in given) for role, given in found} == {
        APP: {**DEFAULTS, "statement_timeout": "7s"},
        JOBS: DEFAULTS,
    }
