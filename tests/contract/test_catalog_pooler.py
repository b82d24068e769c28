"""The catalog behind a real PgBouncer: a few connections of the server are shared by whoever asks next."""

from __future__ import annotations

import configparser
import random
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from manifold_common.adapters.postgres.catalog import PostgresCatalog
from manifold_common.adapters.postgres.migrations import known_migrations, migrate, schema_version
from manifold_common.adapters.postgres.pool import Limits
from manifold_common.adapters.postgres.pooler import shares_sessions
from manifold_common.errors import AlreadyExists, CatalogUnavailable
from manifold_common.ids import SessionId
from manifold_common.ports.catalog import EventReport, OutboxRow
from manifold_local.embedded.postgres import EmbeddedPostgres

from tests.contract.catalog_fixtures import TENANT, TTL, USER, SettableClock, draft, make_project, session
from tests.contract.postgres_fixtures import IMPATIENT, connected, turn_of_another_process
from tests.support.pgbouncer import PgBouncer, running_pgbouncer
from tests.support.postgres import database_of, direct_dsn

_PAGE = Path(__file__).parents[2] / "docs/connections.md"
_SERVERS = 3
_SET_BY_PGBOUNCER = {"application_name", "client_encoding", "DateStyle", "TimeZone", "standard_conforming_strings"}


@pytest.fixture(scope="module")
def pooler(postgres_server: EmbeddedPostgres) -> Iterator[PgBouncer]:
    with running_pgbouncer(postgres_server.dsn, pool_size=_SERVERS) as made:
        yield made


@pytest.fixture
def postgres_dsn(postgres_dsn: str) -> str:
    """The server itself, however the tests are run."""
    return direct_dsn(postgres_dsn)


@pytest.fixture
def database(postgres_dsn: str) -> str:
    return database_of(postgres_dsn)


@pytest.fixture
def pooled_dsn(pooler: PgBouncer, database: str) -> str:
    return pooler.dsn(database)


def _work(catalog: PostgresCatalog, number: int, rounds: int, seen: list[str]) -> None:
    """Do what only one project is about, and look at each answer."""
    made = make_project(catalog, f"project-{number}")
    own = SessionId(f"session-{number}")
    catalog.open_session(session(made, own), ttl=TTL)
    for generation in range(1, rounds + 1):
        commit = made.publish(commit=made.next_commit(session=own), session_user=USER)
        assert catalog.head(TENANT, made.id).generation == generation
        plan = catalog.read_plan(TENANT, made.id)
        assert [row.commit for row in plan.commits][-1] == made.commits[-1].commit
        assert catalog.get_project(TENANT, made.id).name == f"project-{number}"
        view = catalog.view_session(TENANT, USER, own)
        assert view is not None
        assert (view.session.session, view.session.base_generation) == (own, generation)
        assert len(catalog.list_commits(TENANT, made.id)) == generation
        catalog.save_draft(TENANT, USER, own, draft(made), ttl=TTL)
        seen.append(str(commit))


def test_every_answer_belongs_to_its_question_when_many_share_few_server_connections(
    pooler: PgBouncer, pooled_dsn: str, database: str
) -> None:
    clients = [PostgresCatalog(pooled_dsn, clock=SettableClock(), limits=Limits(connections=4)) for _ in range(4)]
    seen: list[str] = []
    try:
        with ThreadPoolExecutor(16) as threads:
            jobs = [threads.submit(_work, clients[number % 4], number, 12, seen) for number in range(16)]
            most = 0
            while not all(job.done() for job in jobs):
                most = max(most, len(pooler.servers(database)))
                time.sleep(0.05)
        for job in jobs:
            job.result()
    finally:
        for client in clients:
            client.close()
    assert len(seen) == 16 * 12
    assert 1 < most <= _SERVERS


def test_nothing_stays_on_a_server_connection(postgres_server: EmbeddedPostgres, database: str) -> None:
    with running_pgbouncer(postgres_server.dsn, pool_size=1) as pooler:
        dsn = pooler.dsn(database)
        with connected(dsn) as catalog:
            _work(catalog, 1, 3, [])
            made = make_project(catalog, "turns")
            with catalog.commit_lease(TENANT, made.id, timeout_seconds=2) as had:
                assert had
            assert catalog.health().ok
        assert migrate(dsn) == []
        with psycopg.connect(dsn, autocommit=True, prepare_threshold=None) as same:
            changed = same.execute("SELECT name FROM pg_settings WHERE source = 'session'").fetchall()
            assert {name for (name,) in changed} <= _SET_BY_PGBOUNCER
            assert same.execute("SELECT name FROM pg_prepared_statements").fetchall() == []
            locks = same.execute("SELECT mode FROM pg_locks WHERE locktype = 'advisory'").fetchall()
            assert locks == []


@pytest.mark.alone("measures time-outs")
@pytest.mark.parametrize("pooled", [False, True], ids=["direct", "pooled"])
def test_a_statement_that_takes_too_long_is_stopped_at_the_server(
    postgres_dsn: str, pooled_dsn: str, pooled: bool
) -> None:
    """No limit is set at the server, whose sessions may be anybody's: the client has it stopped."""
    with connected(pooled_dsn if pooled else postgres_dsn) as catalog, psycopg.connect(postgres_dsn) as blocker:
        made = make_project(catalog)
        blocker.execute("SELECT * FROM projects FOR UPDATE")
        started = time.monotonic()
        with pytest.raises(CatalogUnavailable, match="took too long, and changed nothing"):
            catalog.publish_commit(made.publication())
        assert time.monotonic() - started < IMPATIENT.statement_seconds + 2
        waiting = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        assert blocker.execute(waiting).fetchall() == []
        blocker.rollback()
        assert catalog.list_commits(TENANT, made.id) == []
        made.publish()


def test_of_many_that_migrate_through_a_pooler_each_migration_is_applied_by_one(
    pooler: PgBouncer, empty_postgres_dsn: str
) -> None:
    empty_postgres_dsn = direct_dsn(empty_postgres_dsn)
    dsn = pooler.dsn(database_of(empty_postgres_dsn))
    with ThreadPoolExecutor(8) as threads:
        applied = list(threads.map(lambda _: migrate(dsn), range(8)))
    assert sorted(name for names in applied for name in names) == [one.name for one in known_migrations()]
    assert schema_version(empty_postgres_dsn) == known_migrations()[-1].version
    with psycopg.connect(empty_postgres_dsn) as direct:
        assert direct.execute("SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted").fetchall() == []
        limits = direct.execute("SELECT current_setting('statement_timeout')").fetchall()
    assert limits == [("610s",)]


def test_a_killed_holder_gives_its_turn_back_through_a_pooler(pooled_dsn: str) -> None:
    with connected(pooled_dsn) as catalog:
        made = make_project(catalog)
        with turn_of_another_process(pooled_dsn, made.id):
            pass
        with catalog.commit_lease(TENANT, made.id, timeout_seconds=0.2) as had:
            assert not had
        with catalog.commit_lease(TENANT, made.id, timeout_seconds=5) as had:
            assert had


def test_relays_through_a_pooler_deliver_each_event_once_and_in_order(pooled_dsn: str) -> None:
    with connected(pooled_dsn) as writer:
        for number in range(6):
            make_project(writer, f"project-{number}").publish(4)
        expected = writer.list_events(limit=1000)
    delivered: list[OutboxRow] = []

    def relay(number: int) -> None:
        with connected(pooled_dsn) as catalog:
            for turn in range(1000):
                lease = f"relay-{number}-{turn}"
                claims = catalog.claim_events("kafka", lease, seconds=60, streams=2, events=2)
                if not claims:
                    return
                delivered.extend(row for claim in claims for row in claim.rows)
                last = [
                    EventReport(one.tenant, one.project, one.rows[-1].sequence if one.rows else None) for one in claims
                ]
                assert catalog.report_events("kafka", lease, last) == len(claims)

    for _ in range(3):  # one that finds every stream taken at the moment goes home
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(relay, range(4)))
    assert sorted(row.sequence for row in delivered) == [row.sequence for row in expected]
    for project in {row.project for row in expected}:
        of_one = [row.sequence for row in delivered if row.project == project]
        assert of_one == sorted(of_one)


def test_acknowledged_commits_survive_whatever_happens_to_the_poolers_connections(
    pooler: PgBouncer, pooled_dsn: str, postgres_dsn: str, database: str
) -> None:
    stop = threading.Event()

    def write(number: int) -> tuple[int, int]:
        """Return how many commits were acknowledged, and how many are there."""
        made = make_project(catalog, f"writer-{number}")
        acknowledged = 0
        while not stop.is_set():
            publication = made.publication(base=catalog.head(TENANT, made.id))
            for _ in range(20):
                try:
                    if catalog.publish_commit(publication) is None:
                        assert catalog.find_commit(TENANT, made.id, publication.commit.commit) is not None
                    break
                except AlreadyExists:
                    break
                except CatalogUnavailable:  # the same commit again; it cannot happen twice
                    time.sleep(0.05)
            else:
                raise AssertionError("it did not come back")
            acknowledged += 1
        return acknowledged, len(catalog.list_commits(TENANT, made.id, limit=100_000))

    with (
        connected(pooled_dsn, Limits(connections=4, patience_seconds=10.0)) as catalog,
        ThreadPoolExecutor(4) as threads,
        psycopg.connect(postgres_dsn, autocommit=True) as operator,
    ):
        writers = [threads.submit(write, number) for number in range(4)]
        for _ in range(4):
            time.sleep(0.15)
            operator.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            time.sleep(0.1)
            pooler.admin(f"RECONNECT {database}")
        pooler.admin(f"PAUSE {database}")
        time.sleep(0.2)
        pooler.admin(f"RESUME {database}")
        pooler.admin(f"KILL {database}")  # its clients, too
        time.sleep(0.2)
        pooler.admin(f"RESUME {database}")
        time.sleep(0.2)
        stop.set()
        results = [writer.result(timeout=30) for writer in writers]
    assert all(acknowledged == there for acknowledged, there in results), results
    assert sum(acknowledged for acknowledged, _ in results) > 40


@pytest.mark.alone("measures time-outs")
def test_a_pooler_that_is_full_is_told_as_such_and_used_again_when_it_is_not(
    postgres_server: EmbeddedPostgres, database: str
) -> None:
    limits = Limits(connections=2, connect_seconds=0.5)
    with running_pgbouncer(postgres_server.dsn, max_client_conn="2") as pooler:
        dsn = pooler.dsn(database)
        with connected(dsn, limits) as catalog:
            with psycopg.connect(dsn), psycopg.connect(dsn):
                started = time.monotonic()
                with pytest.raises(CatalogUnavailable, match="too many connections") as caught:
                    catalog.all_projects()
                assert time.monotonic() - started < 2
                assert "max_client_conn" in caught.value.hint
            assert catalog.all_projects() == []


def test_a_pooler_without_a_free_server_connection_is_told_as_such(
    postgres_server: EmbeddedPostgres, database: str
) -> None:
    limits = Limits(connections=2, patience_seconds=0.5, statement_seconds=5.0)
    with running_pgbouncer(postgres_server.dsn, pool_size=1, query_wait_timeout="1") as pooler:
        dsn = pooler.dsn(database)
        with connected(dsn, limits) as catalog:
            made = make_project(catalog)
            with psycopg.connect(dsn) as other:
                other.execute("SELECT 1")  # in a transaction, and so has the only one
                with pytest.raises(CatalogUnavailable, match="too many connections") as caught:
                    catalog.publish_commit(made.publication())
                assert "default_pool_size" in caught.value.hint
            made.publish()


def test_a_pooler_in_statement_mode_serves_the_catalog_and_refuses_to_migrate_it(
    postgres_server: EmbeddedPostgres, database: str, empty_postgres_dsn: str
) -> None:
    with running_pgbouncer(postgres_server.dsn, mode="statement") as pooler:
        with connected(pooler.dsn(database)) as catalog:
            _work(catalog, 1, 2, [])
        with pytest.raises(CatalogUnavailable, match="statement mode") as caught:
            migrate(pooler.dsn(database_of(empty_postgres_dsn)))
        assert "pool_mode = transaction" in caught.value.hint
    assert schema_version(empty_postgres_dsn) == 0


def test_the_pooler_of_the_documents_works(postgres_server: EmbeddedPostgres, database: str) -> None:
    found = re.search(r"```ini\n(.*?)```", _PAGE.read_text(), re.DOTALL)
    assert found is not None
    shown = configparser.ConfigParser()
    shown.read_string(found[1])
    settings = dict(shown["pgbouncer"])
    assert settings.pop("pool_mode") == "transaction"
    pool_size = int(settings.pop("default_pool_size"))
    with running_pgbouncer(postgres_server.dsn, pool_size=pool_size, **settings) as pooler:
        assert migrate(pooler.dsn(database)) == []
        with connected(pooler.dsn(database)) as catalog:
            _work(catalog, 1, 2, [])


def test_limits_that_an_operator_has_set_as_the_documents_show_stay(postgres_dsn: str, database: str) -> None:
    shown = re.findall(r"^ALTER ROLE manifold IN DATABASE manifold (SET .*);$", _PAGE.read_text(), re.MULTILINE)
    assert len(shown) == 2
    for setting in shown:
        with psycopg.connect(postgres_dsn, autocommit=True) as operator:
            operator.execute(f"ALTER ROLE manifold IN DATABASE {database} {setting}")
    for _ in range(2):
        assert migrate(postgres_dsn) == []
    with psycopg.connect(postgres_dsn) as connection:
        names = ("statement_timeout", "idle_session_timeout", "client_connection_check_interval")
        limits = [connection.execute(f"SHOW {name}").fetchall()[0][0] for name in names]
    assert limits == ["12s", "1min", "5s"]


def test_poolers_that_share_sessions_are_told_from_those_that_do_not(
    postgres_server: EmbeddedPostgres, postgres_dsn: str, pooled_dsn: str, database: str
) -> None:
    assert not shares_sessions(postgres_dsn)
    assert shares_sessions(pooled_dsn)
    with running_pgbouncer(postgres_server.dsn, mode="session") as pooler:
        assert not shares_sessions(pooler.dsn(database))


def test_a_shared_session_is_noticed_also_while_others_use_the_pooler(pooled_dsn: str) -> None:
    stop = threading.Event()

    def disturb() -> None:
        with psycopg.connect(pooled_dsn, autocommit=True, prepare_threshold=None) as connection:
            while not stop.is_set():
                connection.execute("SELECT pg_sleep(%s)", (random.random() / 200,))

    with ThreadPoolExecutor(4) as threads:
        jobs = [threads.submit(disturb) for _ in range(4)]
        try:
            assert all(shares_sessions(pooled_dsn) for _ in range(5))
        finally:
            stop.set()
        for job in jobs:
            job.result()
