"""Jobs of a catalog, made, worked on and looked at, so that each test says only what it is about."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from manifold_common.adapters.memory.catalog import MemoryCatalog
from manifold_common.domain.event import JOB_EVENTS
from manifold_common.domain.job import (
    ItemState,
    JobState,
)
from manifold_common.ids import JobId
from manifold_common.ports.catalog import (
    Catalog,
    ClaimedItem,
    ItemReport,
    JobItem,
    JobRow,
    NewJob,
    OutboxRow,
)

from tests.contract.catalog_fixtures import (
    TENANT,
    USER,
    SettableClock,
    all_events,
    new_id,
)
from tests.support.postgres import direct_dsn

KIND, OTHER_KIND = "rewrap", "verify"
LEASE_SECONDS = 60.0
HOUR = 3600.0
NO_JOB = JobId("q" * 25 + "a")
RUNNING, PAUSED, DONE, FAILED, CANCELLED = JobState
PENDING = ItemState.PENDING
PassTime = Callable[[float], None]

_PASS = """
UPDATE jobs SET measured_at = measured_at - %(by)s, rests_until = rests_until - %(by)s,
    paced_until = paced_until - %(by)s, ended_at = ended_at - %(by)s;
UPDATE job_items SET leased_until = leased_until - %(by)s, rests_until = rests_until - %(by)s;
"""


@dataclass
class RunningClock(SettableClock):
    """The time of a server goes on by itself. So does this, and is put forward."""

    ahead: timedelta = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@pytest.fixture
def clock() -> RunningClock:
    return RunningClock()


@pytest.fixture
def pass_time(catalog: Catalog, clock: RunningClock, request: pytest.FixtureRequest) -> PassTime:
    """Let some seconds pass: where times are the server's own, whatever was written down becomes that much older."""

    def in_memory(seconds: float) -> None:
        clock.ahead += timedelta(seconds=seconds)

    def on_server(seconds: float) -> None:
        with psycopg.ClientCursor(psycopg.connect(direct_dsn(request.getfixturevalue("postgres_dsn")))) as cursor:
            cursor.execute(_PASS, {"by": timedelta(seconds=seconds)})
            cursor.connection.commit()
            cursor.connection.close()

    return in_memory if isinstance(catalog, MemoryCatalog) else on_server


def new(params: str = "{}", **changes: Any) -> NewJob:
    return replace(NewJob(TENANT, JobId(new_id()), KIND, params, USER, None, None), **changes)


def add(catalog: Catalog, params: str = "{}", **changes: Any) -> JobRow:
    row, is_new = catalog.add_job(new(params, **changes))
    assert is_new
    return row


def planned(catalog: Catalog, count: int = 3, params: str = "{}", **changes: Any) -> JobRow:
    """Add a job with all its items."""
    job = add(catalog, params, **changes)
    row = catalog.plan_items(job.tenant, job.job, None, [f"item {number}" for number in range(1, count + 1)], None)
    assert row is not None
    return row


def claim(
    catalog: Catalog, job: JobRow, lease: str = "a", *, seconds: float = LEASE_SECONDS, limit: int = 100
) -> list[ClaimedItem]:
    return catalog.claim_items(job.tenant, job.job, lease, seconds=seconds, limit=limit)


def numbers(claimed: Collection[ClaimedItem | JobItem]) -> list[int]:
    return [one.number for one in claimed]


def report(catalog: Catalog, job: JobRow, states: dict[int, ItemState], lease: str = "a", **more: Any) -> JobRow:
    row = catalog.report_items(job.tenant, job.job, lease, [ItemReport(n, s, **more) for n, s in states.items()])
    assert row is not None
    return row


def finish(catalog: Catalog, job: JobRow, state: ItemState = ItemState.DONE) -> JobRow:
    """Claim and report whatever can be claimed."""
    lease = new_id()
    return report(catalog, job, dict.fromkeys(numbers(claim(catalog, job, lease)), state), lease)


def move(catalog: Catalog, job: JobRow, to: JobState) -> JobRow:
    row = catalog.move_job(job.tenant, job.job, to)
    assert row is not None
    return row


def pause_and_resume(catalog: Catalog, job: JobRow) -> JobRow:
    move(catalog, job, PAUSED)
    return move(catalog, job, RUNNING)


def retry(catalog: Catalog, job: JobRow) -> JobRow:
    row = catalog.retry_job(job.tenant, job.job)
    assert row is not None
    return row


def now_of(catalog: Catalog, job: JobRow) -> JobRow:
    row = catalog.find_job(job.tenant, job.job)
    assert row is not None
    return row


def items_of(catalog: Catalog, job: JobRow, **only: Any) -> list[JobItem]:
    return catalog.job_items(job.tenant, job.job, **only)


def counts(row: JobRow) -> tuple[int, int, int, int]:
    return row.pending, row.done, row.skipped, row.failed


def events_of(catalog: Catalog, job: JobRow) -> list[OutboxRow]:
    return [event for event in all_events(catalog) if event.project == job.job]


def told(catalog: Catalog, job: JobRow) -> list[str]:
    """Return the states that the events of a job tell of."""
    return [event.type.removeprefix(JOB_EVENTS) for event in events_of(catalog, job)]


def all_of(catalog: Catalog, job: JobRow) -> tuple[object, ...]:
    return catalog.find_job(job.tenant, job.job), items_of(catalog, job), all_events(catalog)


def at_work(catalog: Catalog, *kinds: str, within_seconds: float = 0, limit: int = 100) -> list[JobId]:
    found = catalog.jobs_at_work(kinds or (KIND, OTHER_KIND), within_seconds=within_seconds, limit=limit)
    return [row.job for row in found]


def in_state(catalog: Catalog, state: JobState, params: str = "{}") -> JobRow:
    job = planned(catalog, params=params)
    if state in (DONE, FAILED):
        return finish(catalog, job, ItemState.DONE if state is DONE else ItemState.FAILED)
    return job if state is RUNNING else move(catalog, job, state)
