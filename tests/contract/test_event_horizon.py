"""Events of all projects, while transactions end in another order than they began in."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from manifold_common.adapters.postgres.catalog import PostgresCatalog
from manifold_common.adapters.system.clock import SystemClock
from manifold_common.domain.event_place import Followed

from tests.contract.catalog_fixtures import TENANT, Made, make_project
from tests.support.postgres import direct_dsn

ALL = Followed(TENANT, None)
_WRITE = """
INSERT INTO outbox (tenant_id, project_id, type, generation, data, created_at)
VALUES (%s, %s, 'late', 0, '{}', now()) RETURNING sequence
"""


@pytest.fixture
def catalog(postgres_dsn: str) -> Iterator[PostgresCatalog]:
    made = PostgresCatalog(postgres_dsn, clock=SystemClock())
    yield made
    made.close()


@pytest.fixture
def by_hand(postgres_dsn: str) -> Iterator[psycopg.Connection[Any]]:
    """A transaction that somebody has open."""
    with psycopg.connect(direct_dsn(postgres_dsn)) as connection:
        yield connection
        connection.rollback()


def types(catalog: PostgresCatalog) -> list[str]:
    return [row.type for row in catalog.events_page(ALL, None, limit=100).rows]


def write(connection: psycopg.Connection[Any], made: Made) -> None:
    connection.execute(_WRITE, (made.tenant, made.id))


def test_nothing_is_shown_before_what_may_still_turn_up_and_all_of_it_in_order_then(
    catalog: PostgresCatalog, by_hand: psycopg.Connection[Any]
) -> None:
    slow, fast = make_project(catalog), make_project(catalog, "fast")
    before = catalog.events_page(ALL, None, limit=100)
    write(by_hand, slow)
    fast.publish()
    assert len(catalog.events_page(Followed(TENANT, fast.id), None, limit=100).rows) == 2  # its own waits for nobody
    waiting = catalog.events_page(ALL, before.place, limit=100)
    assert (list(waiting.rows), waiting.place) == ([], before.place)
    assert catalog.events_end(ALL) == before.place
    assert len(catalog.events_page(ALL, None, limit=100).rows) == 2  # what was complete stays shown
    by_hand.commit()
    after = catalog.events_page(ALL, before.place, limit=100)
    assert [row.type for row in after.rows] == ["late", "manifold.test"]


def test_readers_do_not_wait_one_after_the_other_for_a_writer_that_is_stuck(
    catalog: PostgresCatalog, by_hand: psycopg.Connection[Any]
) -> None:
    made = make_project(catalog)
    place = catalog.events_end(ALL)
    write(by_hand, made)
    made.publish()
    assert catalog.events_end(ALL) == place
    started = time.monotonic()
    for _ in range(20):
        assert catalog.events_end(ALL) == place
    assert time.monotonic() - started < 5  # of 10, if each waited
    by_hand.commit()
    assert len(catalog.events_page(ALL, place, limit=5).rows) == 2


def test_a_writer_that_gives_up_holds_nothing_back_afterwards(
    catalog: PostgresCatalog, by_hand: psycopg.Connection[Any]
) -> None:
    made = make_project(catalog)
    write(by_hand, made)
    by_hand.rollback()
    made.publish()
    assert types(catalog) == ["manifold.test", "manifold.test"]


def test_a_reader_waits_a_moment_for_writers_that_are_about_to_end(
    catalog: PostgresCatalog, by_hand: psycopg.Connection[Any]
) -> None:
    made = make_project(catalog)
    write(by_hand, made)
    made.publish()
    ending = threading.Timer(0.05, by_hand.commit)
    ending.start()
    assert types(catalog) == ["manifold.test", "late", "manifold.test"]
    ending.join()


def test_transactions_that_write_no_events_hold_nothing_back(
    catalog: PostgresCatalog, by_hand: psycopg.Connection[Any], postgres_dsn: str
) -> None:
    by_hand.execute("SELECT pg_current_xact_id(), (SELECT count(*) FROM outbox)")
    by_hand.execute("CREATE TEMPORARY TABLE anything (x int)")
    make_project(catalog).publish()
    assert types(catalog) == ["manifold.test", "manifold.test"]


def test_readers_miss_nothing_while_many_write(catalog: PostgresCatalog) -> None:
    projects = [make_project(catalog, f"p{number}") for number in range(4)]
    before = catalog.events_end(ALL)
    writers = [threading.Thread(target=made.publish, args=(25,)) for made in projects]
    found, place = [], before
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        page = catalog.events_page(ALL, place, limit=7)
        found += [row.sequence for row in page.rows]
        place = page.place
    while rows := (page := catalog.events_page(ALL, place, limit=7)).rows:
        found += [row.sequence for row in rows]
        place = page.place
    assert found == sorted(found)
    assert found == [row.sequence for row in catalog.list_events(after=before.sequence, limit=1000)]
    assert len(found) == 100
