"""How many connections there are, what they are made from, and what is said on them."""

from __future__ import annotations

import importlib
import pkgutil
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta

import psycopg
import pytest
from manifold_common.adapters import postgres
from manifold_common.adapters.postgres import migration_lock, own_session, pool
from manifold_common.adapters.postgres.catalog import PostgresCatalog
from manifold_common.adapters.postgres.clients import client_environment
from manifold_common.adapters.postgres.dsn import Dsn
from manifold_common.adapters.postgres.migrations import migrate
from manifold_common.adapters.postgres.pool import Limits
from manifold_common.errors import CatalogUnavailable, ConfigError
from manifold_common.ids import Generation, SessionId
from manifold_common.ports.catalog import EventReport
from manifold_common.settings import child_environment
from manifold_local.embedded.postgres_cluster import binaries
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import Conninfo

from tests.contract.catalog_fixtures import (
    EVENT,
    NOW,
    SESSION,
    TENANT,
    TTL,
    USER,
    draft,
    key,
    make_project,
    session,
)
from tests.contract.postgres_fixtures import connected
from tests.support.postgres import database_of, direct_dsn, with_database
from tests.support.postgres_proxy import PostgresProxy, messages, startup_parameters
from tests.support.waiting import wait_until

_COUNT = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    " AND backend_type = 'client backend'"
)


@pytest.fixture
def postgres_dsn(postgres_dsn: str) -> str:
    """The server itself, however the tests are run: it is its connections that are counted."""
    return direct_dsn(postgres_dsn)


@pytest.fixture
def count(postgres_dsn: str) -> Iterator[Callable[[], int]]:
    """Tell how many other connections there are."""
    with psycopg.connect(postgres_dsn, autocommit=True) as watcher:
        yield lambda: int(watcher.execute(_COUNT).fetchall()[0][0])


@contextmanager
def most_of(count: Callable[[], int]) -> Iterator[list[int]]:
    """Look all the time; afterwards the list has the most that was seen."""
    stop, most = threading.Event(), [0]

    def look() -> None:
        while not stop.is_set():
            most[0] = max(most[0], count())

    with ThreadPoolExecutor(1) as thread:
        looking = thread.submit(look)
        try:
            yield most
        finally:
            stop.set()
            looking.result()


# --- how many -----------------------------------------------------------------------------------------------------


def test_there_are_never_more_connections_than_the_setting_says(postgres_dsn: str, count: Callable[[], int]) -> None:
    """Turns, health, commits and reads at once, from many threads."""
    with connected(postgres_dsn, Limits(connections=2)) as catalog, most_of(count) as most:
        made = [make_project(catalog, f"p{number}") for number in range(4)]

        def work(number: int) -> bool:
            project = made[number % 4]
            with catalog.commit_lease(TENANT, project.id, timeout_seconds=20) as had:
                catalog.health()
                catalog.claim_events("kafka", f"lease-{number}", seconds=1)
                return had and catalog.head(TENANT, project.id).generation == 0

        with ThreadPoolExecutor(16) as threads:
            assert all(threads.map(work, range(48)))
    assert most == [2]


def test_connections_that_nobody_needs_are_closed_but_for_one(postgres_dsn: str, count: Callable[[], int]) -> None:
    with connected(postgres_dsn, Limits(connections=4, idle_seconds=0.2)) as catalog:
        barrier = threading.Barrier(4)

        def use(_: int) -> None:
            barrier.wait()
            catalog._db.read("SELECT pg_sleep(0.1)", ())

        with ThreadPoolExecutor(4) as threads:
            list(threads.map(use, range(4)))
        assert count() == 4
        time.sleep(0.25)
        for _ in range(2):
            catalog.all_projects()
        wait_until(lambda: count() == 1, 5)
        catalog.rest()
        assert count() == 1


def test_a_process_that_may_not_run_for_a_while_keeps_one_connection_or_none(
    postgres_dsn: str, count: Callable[[], int]
) -> None:
    for idle_seconds, kept in ((60.0, 1), (0.0, 0)):
        with connected(postgres_dsn, Limits(connections=4, idle_seconds=idle_seconds)) as catalog:
            with ThreadPoolExecutor(4) as threads:
                list(threads.map(lambda _: catalog._db.read("SELECT pg_sleep(0.1)", ()), range(4)))
            catalog.rest()
            wait_until(lambda kept=kept: count() == kept, 5)
            catalog.all_projects()
        wait_until(lambda: count() == 0, 5)


@pytest.mark.parametrize("when", ["before it is looked at", "right after"])
def test_a_connection_that_the_server_ended_while_it_was_idle_is_no_ones_error(
    postgres_dsn: str, count: Callable[[], int], monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    if when == "right after":
        monkeypatch.setattr(pool, "_is_usable", lambda connection: True)
    with psycopg.connect(postgres_dsn, autocommit=True) as operator:
        operator.execute(f"ALTER DATABASE {database_of(postgres_dsn)} SET idle_session_timeout = '50ms'")
    with connected(postgres_dsn) as catalog:
        made = make_project(catalog)
        for _ in range(3):
            wait_until(lambda: count() == 0, 5)
            made.publish()


# --- what they are made from --------------------------------------------------------------------------------------


def test_no_variable_of_the_environment_changes_a_connection(
    postgres_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is set to what would make the connection fail or be another one, if it counted."""
    values = {"PGPORT": "1", "PGCONNECT_TIMEOUT": "soon", "PGOPTIONS": "-c search_path=elsewhere -c nonsense=1"}
    with connected(postgres_dsn) as catalog:
        made = make_project(catalog)
    variables = [option.envvar.decode() for option in Conninfo.get_defaults() if option.envvar]
    assert len(variables) > 30
    for variable in variables:
        if variable == "PGSERVICE":
            continue
        with monkeypatch.context() as patch:
            patch.setenv(variable, values.get(variable, "nonsense"))
            with connected(postgres_dsn) as catalog:
                assert catalog.get_project(TENANT, made.id).owner == USER, variable
                assert catalog._db.read("SHOW client_encoding", ()) == [("UTF8",)], variable
                assert catalog._db.read("SELECT current_database()::text", ()) == [(database_of(postgres_dsn),)]


def test_variables_that_could_lead_elsewhere_do_not_where_the_url_leaves_everything_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in {"PGHOST": "evil", "PGHOSTADDR": "192.0.2.1", "PGUSER": "eve", "PGDATABASE": "trap"}.items():
        monkeypatch.setenv(name, value)
    after = conninfo_to_dict(Dsn("postgresql:///").text)
    assert not {"evil", "192.0.2.1", "eve", "trap"} & {str(value) for value in after.values()}
    assert {"host", "hostaddr", "user", "dbname"} <= after.keys(), "what is not said here, the environment says"


def test_no_variable_of_the_environment_leads_the_programs_of_postgresql_elsewhere(
    postgres_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for option in Conninfo.get_defaults():
        if option.envvar and option.envvar != b"PGSERVICE":
            monkeypatch.setenv(option.envvar.decode(), "nonsense")
    done = subprocess.run(
        [binaries() / "psql", "--no-psqlrc", "--tuples-only", "--command", "SELECT current_database()"],
        env=child_environment(client_environment(postgres_dsn)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.strip()) == (0, database_of(postgres_dsn)), done.stderr


def test_a_service_in_the_environment_is_refused(postgres_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGSERVICE", "elsewhere")
    with pytest.raises(ConfigError, match="PGSERVICE") as caught:
        migrate(postgres_dsn)
    assert "unset PGSERVICE" in caught.value.hint


@pytest.mark.parametrize(
    "settings",
    [
        {"client_encoding": "latin1"},
        {"TimeZone": "America/New_York", "DateStyle": "German", "IntervalStyle": "sql_standard"},
        {"bytea_output": "escape", "extra_float_digits": "-15", "enable_indexscan": "off"},
        {"default_transaction_isolation": "serializable"},
        {"jit_above_cost": "0", "plan_cache_mode": "force_generic_plan"},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_what_a_session_begins_with_does_not_change_what_is_read_or_written(
    postgres_dsn: str, settings: dict[str, str]
) -> None:
    with psycopg.connect(postgres_dsn, autocommit=True) as operator:
        for name, value in settings.items():
            operator.execute(f"ALTER DATABASE {database_of(postgres_dsn)} SET {name} = '{value}'")
    with connected(postgres_dsn) as catalog:
        made = make_project(catalog, "Grüße, 世界 🌍")
        made.publish(commit=made.next_commit(created_at=NOW))
        opened = catalog.open_session(session(made), ttl=timedelta(days=400))
        assert catalog.get_project(TENANT, made.id).name == "Grüße, 世界 🌍"
        assert catalog.list_commits(TENANT, made.id)[0].created_at == NOW
        assert catalog.list_commits(TENANT, made.id)[0].created_at.utcoffset() == timedelta(0)
        view = catalog.view_session(TENANT, USER, SESSION)
        assert view is not None
        assert view.session.expires_at == opened.expires_at
        assert view.session.expires_at - view.session.created_at == timedelta(days=400), "not an hour more or less"


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_that_cannot_hold_every_text_is_refused(postgres_dsn: str, encoding: str) -> None:
    name = f"test_{encoding.lower()}"
    with psycopg.connect(postgres_dsn, autocommit=True) as operator:
        operator.execute(f"CREATE DATABASE {name} ENCODING {encoding} LOCALE 'C' TEMPLATE template0")
        try:
            dsn = with_database(postgres_dsn, name)
            with pytest.raises(CatalogUnavailable, match=f"encoding is {encoding}, not UTF8") as caught:
                migrate(dsn)
            assert "createdb --encoding=UTF8" in caught.value.hint
            with connected(dsn) as catalog, pytest.raises(CatalogUnavailable, match="not UTF8"):
                catalog.all_projects()
        finally:
            operator.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.parametrize("scheme", ["POSTGRESQL", "Postgres", "postgres"])
def test_the_scheme_of_a_url_may_be_written_in_any_case(postgres_dsn: str, scheme: str) -> None:
    with connected(postgres_dsn.replace("postgresql://", f"{scheme}://")) as catalog:
        assert catalog.all_projects() == []


# --- what is said on them -----------------------------------------------------------------------------------------


_PINS = re.compile(
    r"^\s*(SET|RESET|DISCARD|LISTEN|UNLISTEN|LOAD|PREPARE|EXECUTE|DEALLOCATE|DECLARE)\b|\bset_config\b"
    r"|\bTEMP(ORARY)?\b|\b(nextval|setval|currval|lastval)\b|\bpg_(try_)?advisory_(un)?lock|\bWITH HOLD\b",
    re.IGNORECASE,
)
"""What ties a client to a server connection at RDS Proxy, and goes wrong behind a pooler in transaction mode."""
_LONGEST_BYTES = 16 * 1024


def _statements() -> dict[str, str]:
    found = {}
    for module in pkgutil.walk_packages(postgres.__path__, f"{postgres.__name__}."):
        if not module.ispkg and module.name not in (migration_lock.__name__, own_session.__name__):
            for name, value in vars(importlib.import_module(module.name)).items():
                if isinstance(value, str) and re.match(r"\s*(SELECT|WITH|INSERT|UPDATE|DELETE|SET|LOCK)\b", value):
                    found[f"{module.name}.{name}"] = value
    return found


def test_no_statement_of_the_catalog_leaves_anything_in_a_session() -> None:
    statements = _statements()
    assert len(statements) > 50
    for name, statement in statements.items():
        assert not _PINS.search(statement), name
        assert len(statement) < _LONGEST_BYTES, name
    limits = [part.strip() for part in migration_lock._LIMITS.split(";")]
    assert all(part.startswith("SET LOCAL ") for part in limits)


def test_nothing_that_is_sent_ties_a_client_to_a_server_connection(postgres_dsn: str) -> None:
    """Whatever the library does of itself is looked at, too: what comes over the wire is."""
    migrate(postgres_dsn)
    with PostgresProxy(postgres_dsn) as proxy:
        assert migrate(proxy.dsn) == [], "as a host does at its start"
        with connected(proxy.dsn) as catalog:
            for round_number in range(8):  # a library may prepare what it sees often
                _everything(catalog, round_number)
        seen = set()
        for sent in proxy.sent:
            assert startup_parameters(sent).keys() <= {"user", "database", "client_encoding", "application_name"}
            for kind, content in messages(bytes(sent)):
                if kind == "P":
                    name, statement = content.split(b"\0")[:2]
                    assert name == b"", statement
                elif kind == "Q":
                    statement = content.rstrip(b"\0")
                else:
                    assert kind in "BDESX", kind
                    continue
                seen.add(statement)
                assert not _PINS.search(statement.decode()), statement
                assert len(statement) < _LONGEST_BYTES
    assert len(seen) > 30


def _everything(catalog: PostgresCatalog, number: int) -> None:
    made = make_project(catalog, f"project-{number}")
    own = SessionId(f"session-{number}")
    catalog.open_session(session(made, own), ttl=TTL)
    made.publish(commit=made.next_commit(session=own), session_user=USER)
    catalog.save_draft(TENANT, USER, own, draft(made), ttl=TTL)
    catalog.view_session(TENANT, USER, own)
    catalog.read_plan(TENANT, made.id, known=[made.head.point])
    catalog.read_plan(TENANT, made.id, Generation(1))
    catalog.list_commits(TENANT, made.id)
    catalog.find_commit(TENANT, made.id, made.commits[-1].commit)
    catalog.list_checkpoints(TENANT, made.id)
    with catalog.commit_lease(TENANT, made.id, timeout_seconds=5) as had:
        assert had
    catalog.begin_epoch(key(made.id, epoch=1), made.head)
    catalog.project_keys(TENANT, made.id)
    for claim in catalog.claim_events("kafka", "lease", seconds=30):
        catalog.report_events("kafka", "lease", [EventReport(claim.tenant, claim.project, claim.rows[-1].sequence)])
    catalog.settle_events(["kafka"])
    catalog.prune_events(NOW)
    catalog.event_streams(["kafka"])
    catalog.redrive_events()
    catalog.recent_events()
    catalog.superseded_objects(0.0)
    catalog.expired_sessions(TTL)
    catalog.rename_project(TENANT, made.id, f"renamed-{number}", EVENT)
    catalog.close_session(TENANT, USER, own)
    catalog.installation()
    catalog.check_schema()
    assert catalog.health().ok
    catalog.delete_project(TENANT, made.id, EVENT)
