"""What only a real server can show: lost answers, restarts, round trips, and what the schema refuses."""

from __future__ import annotations

import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import psycopg
import pytest
from manifold_common.adapters.postgres.catalog import PostgresCatalog, deleted_projects
from manifold_common.adapters.postgres.errors import translate
from manifold_common.adapters.postgres.migrations import known_migrations, migrate
from manifold_common.adapters.postgres.pool import Limits
from manifold_common.adapters.postgres.wholeness import tables_of
from manifold_common.errors import (
    AlreadyExists,
    CatalogUnavailable,
    ConfigError,
    InvalidInput,
    ManifoldError,
    NoSpace,
    NotFound,
)
from manifold_common.ids import Generation, SessionId, TagName
from manifold_common.ports.catalog import DeletedProject, OutboxEvent
from manifold_local.embedded.postgres import ensure_embedded
from psycopg import errors as pg

from tests.contract.catalog_fixtures import (
    EVENT,
    LATER,
    NO_PROJECT,
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
from tests.contract.postgres_fixtures import connected, turn_of_another_process
from tests.support.postgres import database_of, direct_dsn
from tests.support.postgres_proxy import PostgresProxy

_WAITING = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


@pytest.fixture
def proxy(postgres_dsn: str) -> Iterator[PostgresProxy]:
    with PostgresProxy(postgres_dsn) as proxy:
        yield proxy


@pytest.fixture
def catalog(proxy: PostgresProxy) -> Iterator[PostgresCatalog]:
    with connected(proxy.dsn) as catalog:
        yield catalog


# --- lost answers -------------------------------------------------------------------------------------------------


def test_a_lost_acknowledgement_is_unavailable_not_a_conflict_and_the_commit_is_found(
    catalog: PostgresCatalog, proxy: PostgresProxy
) -> None:
    made = make_project(catalog)
    made.publish()
    publication = made.publication()
    proxy.fault = "cut_after_answer"
    with pytest.raises(CatalogUnavailable):
        catalog.publish_commit(publication)
    assert catalog.find_commit(TENANT, made.id, publication.commit.commit) == publication.commit
    assert catalog.head(TENANT, made.id).generation == 2


def test_a_publication_that_never_arrived_is_unavailable_and_not_found(
    catalog: PostgresCatalog, proxy: PostgresProxy
) -> None:
    made = make_project(catalog)
    publication = made.publication()
    proxy.fault = "cut_before_request"
    with pytest.raises(CatalogUnavailable):
        catalog.publish_commit(publication)
    assert catalog.find_commit(TENANT, made.id, publication.commit.commit) is None
    assert catalog.publish_commit(publication) is not None


def test_every_write_says_so_when_its_answer_is_lost_and_none_is_sent_twice(
    catalog: PostgresCatalog, proxy: PostgresProxy
) -> None:
    made = make_project(catalog)
    made.publish()
    catalog.open_session(session(made), ttl=TTL)
    tag = TagName("release-1")
    writes: list[Callable[[], object]] = [
        lambda: make_project(catalog, "second"),
        lambda: catalog.rename_project(TENANT, made.id, "thesis", EVENT),
        lambda: catalog.set_tag(TENANT, made.id, tag, made.commits[0].point, USER, EVENT, expected=None),
        lambda: catalog.remove_tag(TENANT, made.id, tag, EVENT, expected=made.commits[0].point),
        lambda: catalog.begin_epoch(key(made.id, epoch=1), made.head),
        lambda: catalog.open_session(session(made, SessionId("s2")), ttl=TTL),
        lambda: catalog.save_draft(TENANT, USER, SESSION, draft(made), ttl=TTL),
        lambda: catalog.close_session(TENANT, USER, SESSION),
        lambda: catalog.delete_project(TENANT, made.id, EVENT),
    ]
    for write in writes:
        catalog.all_projects()  # so that it is the write, not the making of a connection, that meets the fault
        proxy.fault = "cut_after_answer"
        with pytest.raises(CatalogUnavailable):
            write()
    assert [row.name for row in catalog.all_projects()] == ["second"]
    assert [event.type for event in catalog.list_events()] == [EVENT.type] * 7


def test_reads_go_on_over_a_new_connection_when_theirs_is_lost(catalog: PostgresCatalog, proxy: PostgresProxy) -> None:
    made = make_project(catalog)
    made.publish(2)
    catalog.open_session(session(made), ttl=TTL)
    reads: list[Callable[[], object]] = [
        lambda: catalog.get_project(TENANT, made.id),
        lambda: catalog.read_plan(TENANT, made.id),
        lambda: (catalog.view_session(TENANT, USER, SESSION) or ())[:2],  # what comes after is the time
        lambda: catalog.list_commits(TENANT, made.id),
        lambda: catalog.list_events(),
    ]
    for read in reads:
        expected = read()
        for fault in ("cut_after_answer", "cut_before_request"):
            proxy.fault = fault
            assert read() == expected
            assert proxy.fault == ""


def test_a_write_does_not_fail_because_pooled_connections_died_while_idle(
    catalog: PostgresCatalog, proxy: PostgresProxy
) -> None:
    made = make_project(catalog)
    barrier = threading.Barrier(4)

    def use_a_connection(_: int) -> None:
        barrier.wait()
        for _ in range(10):
            catalog.head(TENANT, made.id)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(use_a_connection, range(4)))
    proxy.cut_all()
    made.publish(6)


def test_a_server_that_stops_answering_is_given_up_in_time(catalog: PostgresCatalog, proxy: PostgresProxy) -> None:
    made = make_project(catalog)
    proxy.fault = "freeze"
    started = time.monotonic()
    with pytest.raises(CatalogUnavailable):
        catalog.publish_commit(made.publication())
    assert time.monotonic() - started < 8
    ok, detail, *_ = catalog.health()
    assert not ok
    assert detail
    proxy.fault = ""
    assert catalog.publish_commit(made.publication()) is not None


def test_a_statement_that_takes_too_long_is_stopped_and_changes_nothing(postgres_dsn: str) -> None:
    with connected(postgres_dsn) as catalog, psycopg.connect(postgres_dsn) as blocker:
        made = make_project(catalog)
        blocker.execute("SELECT * FROM projects FOR UPDATE")
        with pytest.raises(CatalogUnavailable):
            catalog.publish_commit(made.publication())
        blocker.rollback()
        assert catalog.list_commits(TENANT, made.id) == []
        made.publish()


def test_a_caller_waits_for_a_free_connection_only_so_long(postgres_dsn: str) -> None:
    limits = Limits(connections=1, statement_seconds=3.0, patience_seconds=0.2)
    with connected(postgres_dsn, limits) as catalog, psycopg.connect(postgres_dsn) as blocker:
        made = make_project(catalog)
        blocker.execute("SELECT * FROM projects FOR UPDATE")
        with ThreadPoolExecutor(1) as thread:
            writing = thread.submit(catalog.publish_commit, made.publication())
            time.sleep(0.1)
            with pytest.raises(CatalogUnavailable, match="in use"):
                catalog.head(TENANT, made.id)
            blocker.rollback()
            assert writing.result() is not None


@pytest.mark.parametrize("closed", ["session", "project"])
def test_a_commit_that_waited_for_its_session_to_be_deleted_is_told_what_is_gone(
    postgres_dsn: str, closed: Literal["session", "project"]
) -> None:
    with connected(postgres_dsn) as catalog, psycopg.connect(postgres_dsn) as other, ThreadPoolExecutor(1) as thread:
        made = make_project(catalog)
        catalog.open_session(session(made), ttl=TTL)
        other.execute("DELETE FROM sessions WHERE session_id = %s", (SESSION,))
        if closed == "project":
            other.execute("UPDATE projects SET deleted_at = now() WHERE project_id = %s", (made.id,))
        commit = made.next_commit(session=SESSION)
        publishing = thread.submit(catalog.publish_commit, made.publication(commit, session_user=USER))
        with psycopg.connect(postgres_dsn, autocommit=True) as watcher:
            while not watcher.execute(_WAITING).fetchall():
                assert not publishing.done(), publishing.result()
        other.commit()
        with pytest.raises(NotFound, match=f"there is no {closed}"):
            publishing.result()
        assert closed == "project" or catalog.head(TENANT, made.id).generation == 0


def test_a_write_goes_to_the_successor_of_a_server_that_became_read_only(postgres_dsn: str) -> None:
    name = database_of(postgres_dsn)
    with connected(postgres_dsn) as catalog, psycopg.connect(postgres_dsn, autocommit=True) as operator:
        made = make_project(catalog)
        operator.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        with connected(postgres_dsn) as late:
            late.head(TENANT, made.id)
            operator.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = off")
            assert late.publish_commit(made.publication()) is not None


def test_work_goes_on_through_restarts_of_the_server_and_no_acknowledged_commit_is_lost(tmp_path: Path) -> None:
    with ensure_embedded(tmp_path / "pg", linger_seconds=0.2) as server:
        migrate(server.dsn)
        with connected(server.dsn, Limits(patience_seconds=15.0)) as catalog:
            made = make_project(catalog)
            stop, acknowledged, lost_answers = threading.Event(), [], []

            def write() -> None:
                while not stop.is_set():
                    publication = made.publication(base=catalog.head(TENANT, made.id))
                    try:
                        assert catalog.publish_commit(publication) is not None
                    except CatalogUnavailable:
                        lost_answers.append(publication.commit.commit)
                        if catalog.find_commit(TENANT, made.id, publication.commit.commit) is None:
                            continue
                    acknowledged.append(publication.commit.commit)

            with ThreadPoolExecutor(1) as thread:
                writer = thread.submit(write)
                for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
                    enough = len(acknowledged) + 20
                    while len(acknowledged) < enough:
                        assert not writer.done()
                        time.sleep(0.005)
                    os.kill(int((tmp_path / "pg/data/postmaster.pid").read_text().split()[0]), number)
                    time.sleep(0.1)
                    server.ensure_running()
                time.sleep(0.1)
                stop.set()
                writer.result(timeout=30)
            history = [row.commit for row in catalog.list_commits(TENANT, made.id, limit=100_000)]
            assert history[::-1] == acknowledged
            assert len(acknowledged) > 60
        server.close(stop_now=True)


# --- round trips --------------------------------------------------------------------------------------------------


def test_the_hot_calls_are_one_round_trip_each(catalog: PostgresCatalog, proxy: PostgresProxy) -> None:
    made = make_project(catalog)
    catalog.open_session(session(made), ttl=TTL)

    def publish() -> None:
        made.publish(commit=made.next_commit(session=SESSION), session_user=USER)

    hot: list[Callable[[], object]] = [
        publish,
        lambda: catalog.view_session(TENANT, USER, SESSION),
        lambda: catalog.read_plan(TENANT, made.id, known=[made.head.point]),
        lambda: catalog.head(TENANT, made.id),
        lambda: catalog.save_draft(TENANT, USER, SESSION, draft(made), ttl=TTL),
    ]
    for call in hot:
        for _ in range(4):
            call()
        before = proxy.round_trips
        for _ in range(5):
            call()
        assert proxy.round_trips - before == 5


def test_a_commit_late_in_a_long_history_reads_no_more_than_an_early_one(postgres_dsn: str) -> None:
    with connected(postgres_dsn) as catalog:
        made = make_project(catalog)

        def blocks_read() -> int:
            catalog._db.read("SELECT pg_stat_force_next_flush()", ())  # else counters are reported once a second
            sums = catalog._db.read(
                "SELECT sum(idx_blks_hit + heap_blks_hit + idx_blks_read + heap_blks_read)::bigint"
                " FROM pg_statio_user_tables",
                (),
            )
            return int(sums[0][0])

        costs = []
        for _ in range(2):
            made.publish(300)
            before = blocks_read()
            for _ in range(10):
                made.publish()
                catalog.read_plan(TENANT, made.id, known=[made.commits[-2].point])
                catalog.commit_at(TENANT, made.id, Generation(3))
            costs.append(blocks_read() - before)
    assert 0 < costs[1] <= costs[0] * 1.3 + 50, costs


# --- turns between processes --------------------------------------------------------------------------------------


def test_a_killed_process_gives_its_turn_back(postgres_dsn: str) -> None:
    with connected(postgres_dsn) as catalog:
        made = make_project(catalog)
        with turn_of_another_process(postgres_dsn, made.id):
            started = time.monotonic()
            with catalog.commit_lease(TENANT, made.id, timeout_seconds=0.3) as had:
                assert not had
            assert 0.2 < time.monotonic() - started < 5
        with catalog.commit_lease(TENANT, made.id, timeout_seconds=5) as had:
            assert had


def test_a_holder_that_was_stopped_for_too_long_publishes_nothing_and_ends_nobody_elses_turn(postgres_dsn: str) -> None:
    """It does not know that its lease is over. The other one is at work, and each names the head it began with."""
    with connected(postgres_dsn) as slow, connected(postgres_dsn) as quick, psycopg.connect(postgres_dsn) as operator:
        made = make_project(slow)
        late = made.publication()
        with slow.commit_lease(TENANT, made.id, timeout_seconds=1) as had:
            assert had
            operator.execute("UPDATE commit_turns SET leased_until = now() - interval '1 s', holder = 'nobody'")
            operator.commit()
            with quick.commit_lease(TENANT, made.id, timeout_seconds=1) as other:
                assert other
                assert quick.publish_commit(made.publication()) is not None
                assert slow.publish_commit(late) is None
                slow._leases._end({"tenant": TENANT, "project": made.id, "holder": "of the past"})
                with connected(postgres_dsn) as third, third.commit_lease(TENANT, made.id, timeout_seconds=0.1) as had:
                    assert not had


def test_a_turn_lasts_for_as_long_as_its_holder_works(postgres_dsn: str) -> None:
    with connected(postgres_dsn) as working, connected(postgres_dsn) as waiting:
        made = make_project(working)
        with working.commit_lease(TENANT, made.id, timeout_seconds=1) as had:
            assert had
            with waiting.commit_lease(TENANT, made.id, timeout_seconds=4) as other:  # longer than a lease
                assert not other
        with waiting.commit_lease(TENANT, made.id, timeout_seconds=0.1) as other:
            assert other


def test_without_a_server_there_is_no_turn_and_no_error(proxy: PostgresProxy) -> None:
    with connected(proxy.dsn, Limits(patience_seconds=0.2)) as catalog:
        made = make_project(catalog)
        proxy.__exit__()
        with catalog.commit_lease(TENANT, made.id, timeout_seconds=0.3) as had:
            assert not had


def test_many_waiting_for_turns_do_not_take_the_connections_of_the_one_who_works(postgres_dsn: str) -> None:
    with connected(postgres_dsn, Limits(connections=1)) as catalog:
        made = [make_project(catalog, f"p{n}") for n in range(4)]

        def work(number: int) -> bool:
            with catalog.commit_lease(TENANT, made[number % 4].id, timeout_seconds=20) as had:
                return had and catalog.head(TENANT, made[number % 4].id).generation == 0

        with ThreadPoolExecutor(16) as threads:
            assert all(threads.map(work, range(32)))


# --- what the database itself refuses -----------------------------------------------------------------------------


def test_the_schema_refuses_nonsense_that_no_method_would_write(postgres_dsn: str) -> None:
    with connected(postgres_dsn) as catalog:
        made = make_project(catalog)
        made.publish(3)
        catalog.open_session(session(made), ttl=TTL)
    nonsense = [
        ("UPDATE projects SET generation = -1", pg.CheckViolation),
        ("UPDATE projects SET generation = 0", pg.CheckViolation),
        ("UPDATE projects SET skills_generation = 4", pg.CheckViolation),
        ("UPDATE projects SET head_commit_id = 'x'", pg.ForeignKeyViolation),
        ("UPDATE projects SET head_commit_id = NULL", pg.CheckViolation),
        ("UPDATE projects SET purged_at = now(), head_commit_id = NULL", pg.CheckViolation),
        ("UPDATE projects SET purged_at = now(), deleted_at = now()", pg.CheckViolation),
        ("UPDATE projects SET owner_id = 'nobody'", pg.ForeignKeyViolation),
        ("UPDATE commits SET generation = 2 WHERE generation = 3", pg.UniqueViolation),
        ("UPDATE commits SET parent_id = NULL", pg.CheckViolation),
        ("UPDATE commits SET dek_id = repeat('x', 26)", pg.ForeignKeyViolation),
        ("DELETE FROM commits WHERE generation = 3", pg.ForeignKeyViolation),
        ("DELETE FROM project_keys", pg.ForeignKeyViolation),
        ("DELETE FROM projects", pg.ForeignKeyViolation),
        ("UPDATE sessions SET base_generation = 0", pg.CheckViolation),
        ("UPDATE sessions SET draft_generation = 1", pg.CheckViolation),
        ("UPDATE sessions SET project_id = 'x'", pg.ForeignKeyViolation),
        ("UPDATE sessions SET base_commit_id = repeat('x', 26)", pg.ForeignKeyViolation),
    ]
    with psycopg.connect(postgres_dsn, autocommit=True) as connection:
        for statement, error in nonsense:
            with pytest.raises(error):
                connection.execute(statement)


def test_a_history_that_is_too_long_for_one_statement_is_purged_bit_by_bit(
    postgres_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deleted_projects, "_CLEARED_AT_ONCE", 2)
    with connected(postgres_dsn) as catalog, psycopg.connect(postgres_dsn, autocommit=True) as connection:
        made = make_project(catalog)
        made.publish(7)
        deleted = catalog.delete_project(TENANT, made.id, EVENT)
        assert catalog.purge_projects(timedelta(0)) == [(TENANT, made.id)]
        undone = DeletedProject(made.row, deleted)
        how: Any = {"grace": timedelta(days=1), "ttl": TTL, "others": {}}
        assert catalog.undelete_project(undone, "paper", EVENT, **how) is None, "although some of it is left"
        left = "SELECT (SELECT count(*) FROM commits), (SELECT count(*) FROM project_keys)"
        counts = [connection.execute(left).fetchone()]
        for _ in range(3):
            assert catalog.purge_projects(timedelta(0)) == []
            counts.append(connection.execute(left).fetchone())
        assert counts == [(3, 1), (1, 1), (0, 0), (0, 0)]


@pytest.mark.alone("measures time-outs")
@pytest.mark.parametrize("name", ["query_wait_timeout", "Timed-out waiting to acquire database connection"])
def test_a_name_is_not_taken_for_what_a_pooler_says(postgres_dsn: str, name: str) -> None:
    with connected(postgres_dsn, Limits(patience_seconds=3.0)) as catalog:
        make_project(catalog, name)
        begun = time.monotonic()
        with pytest.raises(AlreadyExists):
            make_project(catalog, name)
        assert time.monotonic() - begun < 1


@pytest.mark.parametrize("name", ["with \0 inside", "half a surrogate \ud800"])
def test_text_that_postgresql_cannot_hold_is_invalid_input(postgres_dsn: str, name: str) -> None:
    with connected(postgres_dsn) as catalog:
        with pytest.raises(InvalidInput):
            make_project(catalog, name)
        made = make_project(catalog)
        with pytest.raises(InvalidInput):
            made.publish(event=OutboxEvent("x", {"path": name}))
        made.publish()


# --- secrets ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://ann:{secret}@127.0.0.1:1/manifold",
        "postgresql://ann:{secret}@[broken/manifold",
        "postgresql://ann:{secret}@127.0.0.1:notaport/manifold",
        "host=127.0.0.1 port=1 user=ann password={secret} nonsense={secret}",
        "host=127.0.0.1 port=1 dbname={secret} password={secret}",
        "password='{secret}",
    ],
)
def test_no_error_shows_the_password_of_the_connection_string(dsn: str) -> None:
    secret = "hunter2-%21-canary"
    written = dsn.format(secret=secret)
    with (
        pytest.raises((ConfigError, CatalogUnavailable)) as caught,
        connected(written, Limits(patience_seconds=0.1)) as catalog,
    ):
        catalog.head(TENANT, NO_PROJECT)
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + repr(caught.value.details)
    assert "hunter2" not in shown
    assert caught.value.hint


def test_a_refused_login_is_reported_at_once_and_says_why(postgres_dsn: str) -> None:
    started = time.monotonic()
    wrong = direct_dsn(postgres_dsn).replace("manifold@", "somebody@")
    with connected(wrong, Limits(patience_seconds=20)) as catalog, pytest.raises(CatalogUnavailable, match="somebody"):
        catalog.all_projects()
    assert time.monotonic() - started < 5


def test_a_change_is_flushed_to_disk_even_where_the_server_says_otherwise(postgres_dsn: str) -> None:
    """Whoever makes it, in whatever table, and without leaving anything in the session."""
    postgres_dsn = direct_dsn(postgres_dsn)
    name = database_of(postgres_dsn)
    with psycopg.connect(postgres_dsn, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
    with psycopg.connect(postgres_dsn) as connection:
        tables = ["schema_migrations", *tables_of([migration.sql for migration in known_migrations()])]
        assert len(tables) > 12
        for table in tables:
            connection.execute(f"DELETE FROM {table} WHERE false")
            assert connection.execute("SHOW synchronous_commit").fetchall() == [("on",)], table
            connection.rollback()
            assert connection.execute("SHOW synchronous_commit").fetchall() == [("off",)]
    with connected(postgres_dsn) as catalog:
        made = make_project(catalog)
        flushed = []
        for _ in range(20):
            made.publish()
            flushed += catalog._db.read("SELECT pg_current_wal_flush_lsn() = pg_current_wal_insert_lsn()", ())
        assert flushed.count((True,)) > 10  # what else the server does may come in between


def test_rows_keep_their_place_in_time_when_clocks_disagree(postgres_dsn: str) -> None:
    with connected(postgres_dsn) as catalog:
        made = make_project(catalog)
        made.publish(commit=made.next_commit(created_at=LATER))
        made.publish(commit=made.next_commit(created_at=NOW))
        row = catalog.get_project(TENANT, made.id)
        assert row == replace(row, updated_at=LATER)
        assert row.updated_at == LATER


# --- what the server is short of ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "kind", "says"),
    [
        (pg.DiskFull("x"), NoSpace, "disk of the database server is full"),
        (pg.OutOfMemory("out of memory"), CatalogUnavailable, "run out of memory"),
        (pg.TooManyConnections("x"), CatalogUnavailable, "no connection left"),
        (psycopg.OperationalError("FATAL:  sorry, too many clients already"), CatalogUnavailable, "no connection left"),
        (pg.AdminShutdown("x"), CatalogUnavailable, "did not answer as it should"),
    ],
    ids=lambda value: getattr(type(value), "__name__", ""),
)
def test_what_the_server_lacks_is_told_apart(error: psycopg.Error, kind: type[ManifoldError], says: str) -> None:
    found = translate(error)
    assert type(found) is kind
    assert says in found.message
    assert found.hint
