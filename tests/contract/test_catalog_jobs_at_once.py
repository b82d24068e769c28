"""Jobs stay whole whatever is done to them at the same time."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event

import psycopg
import pytest
from manifold_common.adapters.postgres import database
from manifold_common.adapters.postgres.pool import Limits
from manifold_common.adapters.postgres.roles import JOBS
from manifold_common.domain.job import (
    ItemState,
)
from manifold_common.ids import JobId, TenantId
from manifold_common.ports.catalog import (
    Catalog,
    JobRow,
)
from psycopg import errors as pg

from tests.contract.catalog_fixtures import (
    OTHER_TENANT,
    TENANT,
)
from tests.contract.job_fixtures import (
    FAILED,
    HOUR,
    KIND,
    LEASE_SECONDS,
    PAUSED,
    PENDING,
    RUNNING,
    claim,
    counts,
    events_of,
    in_state,
    items_of,
    move,
    now_of,
    numbers,
    planned,
    report,
    retry,
    told,
)
from tests.contract.job_fixtures import (
    clock as clock,
)
from tests.contract.job_fixtures import (
    pass_time as pass_time,
)
from tests.contract.postgres_fixtures import connected
from tests.support.postgres import as_role, direct_dsn
from tests.support.waiting import wait_until


@pytest.fixture
def deadlocks(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    """The errors by which the server ended a circle of statements that waited for each other. Such a statement is sent
    again, so nobody else notices."""
    found: list[BaseException] = []
    is_undone = database.is_undone

    def watched(error: psycopg.Error) -> bool:
        if isinstance(error, pg.DeadlockDetected):
            found.append(error)
        return is_undone(error)

    monkeypatch.setattr(database, "is_undone", watched)
    return found


PATIENCE_SECONDS = 60.0
LEADS_TO = {
    "": {"running"},
    "running": {"paused", "done", "failed"},
    "paused": {"running", "done", "failed"},
    "failed": {"running"},
}


def assert_whole(catalog: Catalog, job: JobRow) -> None:
    """The counters are the items', and the events tell of each state once."""
    row = now_of(catalog, job)
    found = Counter(one.state for one in items_of(catalog, job, limit=10_000))
    assert counts(row) == (
        found[PENDING],
        found[ItemState.DONE],
        found[ItemState.SKIPPED],
        found[ItemState.FAILED],
    )
    told_of = told(catalog, job)
    for before, after in zip(["", *told_of], told_of, strict=False):
        assert after in LEADS_TO[before], told_of
    assert told_of[-1] == row.state.value
    assert [events_of(catalog, job)[-1].data[name] for name in ("pending", "done", "skipped", "failed")] == [
        *counts(row)
    ]


def are_over(catalog: Catalog, jobs: Collection[JobRow]) -> bool:
    return all(now_of(catalog, job).state.is_over for job in jobs)


def test_workers_at_once_finish_every_item_once(catalog: Catalog, deadlocks: list[BaseException]) -> None:
    jobs = [
        planned(catalog, 80),
        planned(catalog, 40, "2", rate=100.0),
        planned(catalog, 60, tenant=OTHER_TENANT),
    ]
    begun: list[tuple[TenantId, JobId, int]] = []
    deadline = time.monotonic() + PATIENCE_SECONDS

    def work(name: int) -> None:
        turn = 0
        while not are_over(catalog, jobs):
            assert time.monotonic() < deadline
            for job in catalog.jobs_at_work([KIND]):
                turn += 1
                lease = f"{name}.{turn}"
                mine = numbers(claim(catalog, job, lease, limit=5))
                begun.extend((job.tenant, job.job, number) for number in mine)
                catalog.extend_items(job.tenant, job.job, lease, seconds=LEASE_SECONDS)
                for part in (mine[:2], mine[2:]):
                    report(catalog, job, dict.fromkeys(part, ItemState.DONE), lease)

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(work, range(6)))
    assert deadlocks == []
    assert sorted(begun) == sorted(
        (job.tenant, job.job, number) for job in jobs for number in range(1, job.pending + 1)
    )
    for job in jobs:
        assert_whole(catalog, job)
        assert told(catalog, job) == ["running", "done"]


def test_jobs_stay_whole_whatever_is_done_to_them_while_workers_fail_and_die(
    catalog: Catalog, deadlocks: list[BaseException]
) -> None:
    jobs = [planned(catalog, 50), planned(catalog, 30, "2", rate=200.0), planned(catalog, 1, "3")]
    held: dict[int, str] = {}
    calm = Event()
    deadline = time.monotonic() + PATIENCE_SECONDS

    def work(name: int) -> None:
        dice, turn = random.Random(name), 0
        while not (calm.is_set() and are_over(catalog, jobs)):
            assert time.monotonic() < deadline
            for job in catalog.jobs_at_work([KIND]):
                turn += 1
                lease = held[name] = f"{name}.{turn}"
                dies = dice.random() < 0.2
                mine = numbers(claim(catalog, job, lease, seconds=0 if dies else LEASE_SECONDS, limit=4))
                dice.shuffle(mine)
                if not dies:
                    ends = ItemState.FAILED if dice.random() < 0.2 and not calm.is_set() else ItemState.DONE
                    report(catalog, job, dict.fromkeys(mine[:1], PENDING), lease, code="x", rest_seconds=0)
                    report(catalog, job, dict.fromkeys(mine[1:] or mine, ends), lease, code="y")
                elif dice.random() < 0.5:
                    report(catalog, job, dict.fromkeys(mine, ItemState.SKIPPED), lease)

    def disturb(name: int) -> None:
        dice = random.Random(f"disturber {name}")
        for _ in range(100):
            job, lease = dice.choice(jobs), dice.choice([*held.values(), "none"])
            what = dice.randrange(8)
            if what < 2:
                move(catalog, job, (PAUSED, RUNNING)[what])
            elif what < 4:
                retry(catalog, job)
            elif what < 6:
                catalog.extend_items(TENANT, job.job, lease, seconds=(0.1, 0)[what - 4])
            elif what == 6:
                catalog.rest_job(TENANT, job.job, seconds=0, code="z", text=None)
            else:
                assert catalog.forget_jobs(HOUR) == 0

    with ThreadPoolExecutor(8) as threads:
        workers = [threads.submit(work, name) for name in range(1, 5)]
        for disturber in [threads.submit(disturb, name) for name in range(1, 4)]:
            disturber.result()
        for job in jobs:
            move(catalog, job, RUNNING)
        calm.set()
        for worker in workers:
            worker.result()
    assert deadlocks == []
    for job in jobs:
        assert_whole(catalog, job)


_WAITING = """
SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
"""


@contextmanager
def row_held(dsn: str, job: JobRow) -> Iterator[Callable[[int], None]]:
    """Hold the row of a job as another transaction would, and yield what waits until so many wait for it."""
    with psycopg.connect(direct_dsn(dsn)) as holder, psycopg.connect(direct_dsn(dsn), autocommit=True) as other:
        holder.execute("SELECT FROM jobs WHERE job_id = %s FOR UPDATE", (job.job,))

        def wait_for(waiting: int) -> None:
            wait_until(lambda: other.execute(_WAITING).fetchall() == [(waiting,)])

        yield wait_for
        holder.commit()


@pytest.fixture
def on_server(postgres_dsn: str) -> Iterator[Catalog]:
    with connected(as_role(postgres_dsn, JOBS), Limits()) as catalog:
        yield catalog


def test_a_job_that_fails_while_it_is_being_retried_is_not_left_running_with_nothing_to_do(
    on_server: Catalog, postgres_dsn: str, deadlocks: list[BaseException]
) -> None:
    job = planned(on_server, 2)
    claim(on_server, job)
    report(on_server, job, {1: ItemState.FAILED})
    with ThreadPoolExecutor(2) as threads:
        with row_held(postgres_dsn, job) as wait_for:
            reported = threads.submit(report, on_server, job, {2: ItemState.FAILED})
            wait_for(1)
            retried = threads.submit(retry, on_server, job)
            wait_for(2)
        assert reported.result().state is FAILED
        assert (retried.result().state, counts(retried.result())) == (RUNNING, (2, 0, 0, 0))
    assert numbers(claim(on_server, job, "b")) == [1, 2]
    assert told(on_server, job) == ["running", "failed", "running"]
    assert_whole(on_server, job)
    assert deadlocks == []


def test_a_claim_is_prolonged_while_its_items_are_reported(
    on_server: Catalog, postgres_dsn: str, deadlocks: list[BaseException]
) -> None:
    job = planned(on_server, 50)
    claim(on_server, job)
    with ThreadPoolExecutor(2) as threads:
        with row_held(postgres_dsn, job) as wait_for:
            reported = threads.submit(report, on_server, job, dict.fromkeys(range(50, 1, -1), ItemState.DONE))
            wait_for(1)
            extended = threads.submit(on_server.extend_items, TENANT, job.job, "a", seconds=LEASE_SECONDS)
            wait_for(2)
        assert counts(reported.result()) == (1, 49, 0, 0)
        assert extended.result() == 1
    assert deadlocks == []


def test_a_job_that_is_retried_while_it_is_being_forgotten_stays(on_server: Catalog, postgres_dsn: str) -> None:
    job = in_state(on_server, FAILED)
    with ThreadPoolExecutor(2) as threads:
        with row_held(postgres_dsn, job) as wait_for:
            retried = threads.submit(retry, on_server, job)
            wait_for(1)
            forgotten = threads.submit(on_server.forget_jobs, 0)
            time.sleep(0.2)
        assert retried.result().state is RUNNING
        assert forgotten.result() == 0
    assert_whole(on_server, job)
