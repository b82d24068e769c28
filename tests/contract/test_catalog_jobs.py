"""Every promise of the Jobs port, kept by each catalog."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from threading import Event
from typing import Any

import psycopg
import pytest
from manifold_common.adapters.memory.catalog import MemoryCatalog
from manifold_common.adapters.postgres import database
from manifold_common.adapters.postgres.pool import Limits
from manifold_common.adapters.postgres.roles import JOBS
from manifold_common.domain.correlation import Correlation, correlated
from manifold_common.domain.event import JOB_EVENTS, ORIGIN, job_event
from manifold_common.domain.job import (
    COMES_FROM,
    MAX_RATE,
    MIN_RATE,
    RETRIED_IN,
    SUSPECT_AFTER,
    ItemState,
    JobFilter,
    JobPlace,
    JobState,
)
from manifold_common.errors import AlreadyExists
from manifold_common.ids import JobId, ProjectId, TenantId
from manifold_common.ports.catalog import (
    Catalog,
    ClaimedItem,
    ItemReport,
    JobItem,
    JobRow,
    NewJob,
    OutboxRow,
)
from psycopg import errors as pg

from tests.contract.catalog_fixtures import (
    NO_PROJECT,
    OTHER_TENANT,
    OTHER_USER,
    TENANT,
    USER,
    SettableClock,
    all_events,
    new_id,
)
from tests.contract.postgres_fixtures import connected
from tests.support.postgres import as_role, direct_dsn
from tests.support.waiting import wait_until

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


def test_a_new_job_is_what_was_asked_for_and_nothing_of_it_is_done(catalog: Catalog) -> None:
    wanted = new('{"a": 1}', project=NO_PROJECT, rate=2.5)
    row, is_new = catalog.add_job(wanted)
    assert is_new
    assert row == JobRow(
        tenant=TENANT,
        job=wanted.job,
        kind=KIND,
        params='{"a": 1}',
        user=USER,
        project=NO_PROJECT,
        rate=2.5,
        state=RUNNING,
        is_planned=False,
        cursor=None,
        pending=0,
        done=0,
        skipped=0,
        failed=0,
        speed=None,
        rests_until=None,
        trouble_code=None,
        trouble_text=None,
        created_at=row.created_at,
        running_since=row.created_at,
        ended_at=None,
        revision=1,
    )
    assert row.created_at.tzinfo is UTC
    assert row.finished == 0
    assert now_of(catalog, row) == row
    assert told(catalog, row) == ["running"]


@pytest.mark.parametrize("state", [RUNNING, PAUSED])
def test_an_equal_job_that_is_unfinished_is_joined(catalog: Catalog, state: JobState) -> None:
    job = in_state(catalog, state)
    before = all_of(catalog, job)
    assert catalog.add_job(new(user=OTHER_USER, rate=1.0)) == (job, False)
    assert all_of(catalog, job) == before


def test_a_job_that_differs_in_anything_or_is_another_tenants_is_a_new_one(catalog: Catalog) -> None:
    jobs = [
        add(catalog),
        add(catalog, '{"a": 1}'),
        add(catalog, kind=OTHER_KIND),
        add(catalog, tenant=OTHER_TENANT),
    ]
    assert len({job.job for job in jobs}) == 4
    assert catalog.add_job(new(tenant=OTHER_TENANT)) == (jobs[3], False)


@pytest.mark.parametrize("state", [DONE, FAILED, CANCELLED])
def test_the_same_work_can_be_started_anew_once_it_is_over(catalog: Catalog, state: JobState) -> None:
    old = in_state(catalog, state)
    again = add(catalog)
    assert again.job != old.job
    assert now_of(catalog, old) == old
    assert catalog.add_job(new()) == (again, False)


def test_of_many_who_start_the_same_work_at_once_one_does(catalog: Catalog) -> None:
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: catalog.add_job(new()), range(24)))
    assert sum(is_new for _, is_new in found) == 1
    assert len({row.job for row, _ in found}) == 1
    assert [event.type for event in all_events(catalog)] == ["manifold.job.running"]


def test_a_tenant_sees_and_changes_no_job_of_another(catalog: Catalog) -> None:
    job = planned(catalog)
    claim(catalog, job)
    before = all_of(catalog, job)
    theirs = replace(job, tenant=OTHER_TENANT)
    assert catalog.find_job(OTHER_TENANT, job.job) is None
    assert catalog.list_jobs(OTHER_TENANT, JobFilter()) == []
    assert items_of(catalog, theirs) == claim(catalog, theirs) == []
    assert catalog.report_items(OTHER_TENANT, job.job, "a", [ItemReport(1, ItemState.DONE)]) is None
    assert catalog.extend_items(OTHER_TENANT, job.job, "a", seconds=HOUR) == 0
    assert catalog.plan_items(OTHER_TENANT, job.job, None, ["x"], None) is None
    assert catalog.move_job(OTHER_TENANT, job.job, CANCELLED) is None
    assert catalog.retry_job(OTHER_TENANT, job.job) is None
    catalog.rest_job(OTHER_TENANT, job.job, seconds=HOUR, code="x", text=None)
    assert not catalog.is_under_way(OTHER_TENANT, job.job)
    assert all_of(catalog, job) == before


def test_of_a_job_that_is_not_there_nothing_is_found_and_nothing_changed(catalog: Catalog) -> None:
    gone = replace(add(catalog), job=NO_JOB)
    assert catalog.find_job(TENANT, NO_JOB) is None
    assert items_of(catalog, gone) == claim(catalog, gone) == []
    assert catalog.report_items(TENANT, NO_JOB, "a", [ItemReport(1, ItemState.DONE)]) is None
    assert catalog.extend_items(TENANT, NO_JOB, "a", seconds=1) == 0
    assert catalog.plan_items(TENANT, NO_JOB, None, [], None) is None
    assert catalog.move_job(TENANT, NO_JOB, PAUSED) is None
    assert catalog.retry_job(TENANT, NO_JOB) is None
    catalog.rest_job(TENANT, NO_JOB, seconds=1, code="x", text=None)
    assert not catalog.is_under_way(TENANT, NO_JOB)


def test_jobs_are_listed_newest_first_in_pages(catalog: Catalog) -> None:
    jobs = [add(catalog, str(number)) for number in range(5)]
    add(catalog, tenant=OTHER_TENANT)
    listed = catalog.list_jobs(TENANT, JobFilter())
    assert listed == jobs[::-1]
    pages: list[list[JobRow]] = []
    after = None
    while page := catalog.list_jobs(TENANT, JobFilter(), after=after, limit=2):
        pages.append(page)
        after = JobPlace(page[-1].created_at, page[-1].job)
    assert [row for page in pages for row in page] == listed
    assert [len(page) for page in pages] == [2, 2, 1]


def test_each_filter_leaves_out_what_it_does_not_name(catalog: Catalog) -> None:
    other_project = ProjectId(new_id())
    plain = add(catalog, "1")
    paused = move(catalog, add(catalog, "2", project=NO_PROJECT), PAUSED)
    over = move(catalog, add(catalog, "3", kind=OTHER_KIND, project=other_project), CANCELLED)

    def found(**only: Any) -> list[JobRow]:
        return catalog.list_jobs(TENANT, JobFilter(**only))

    assert found() == [over, paused, plain]
    assert found(states=[PAUSED, CANCELLED]) == [over, paused]
    assert found(states=[]) == found(states=[DONE]) == []
    assert found(kind=KIND) == [paused, plain]
    assert found(project=NO_PROJECT) == [paused]
    assert found(states=[RUNNING], kind=KIND) == [plain]
    assert found(kind=OTHER_KIND, project=NO_PROJECT) == []
    after = JobPlace(over.created_at, over.job)
    assert catalog.list_jobs(TENANT, JobFilter(kind=KIND), after=after, limit=1) == [paused]


def test_jobs_at_work_are_every_tenants_oldest_first(catalog: Catalog, pass_time: PassTime) -> None:
    unplanned = add(catalog, "1")
    pass_time(1)
    full = planned(catalog, params="2", tenant=OTHER_TENANT, kind=OTHER_KIND)
    assert at_work(catalog) == [unplanned.job, full.job]
    assert catalog.jobs_at_work([KIND, OTHER_KIND]) == [unplanned, full]
    assert at_work(catalog, limit=1) == [unplanned.job]
    assert at_work(catalog, OTHER_KIND) == [full.job]
    assert at_work(catalog, "another") == catalog.jobs_at_work([]) == []


@pytest.mark.parametrize("state", [PAUSED, DONE, FAILED, CANCELLED])
def test_a_job_that_does_not_run_is_not_at_work(catalog: Catalog, state: JobState) -> None:
    job = in_state(catalog, state)
    assert at_work(catalog) == claim(catalog, job) == []


def test_a_job_of_which_nothing_can_be_claimed_is_at_work_again_when_something_can(
    catalog: Catalog, pass_time: PassTime
) -> None:
    job = planned(catalog, 2)
    claim(catalog, job)
    assert at_work(catalog) == []
    report(catalog, job, {1: PENDING}, code="x", rest_seconds=LEASE_SECONDS + 10)
    report(catalog, job, {2: ItemState.DONE})
    assert at_work(catalog) == []
    pass_time(LEASE_SECONDS + 11)
    assert at_work(catalog) == [job.job]
    claim(catalog, job)
    assert at_work(catalog) == []
    pass_time(LEASE_SECONDS)
    assert at_work(catalog) == [job.job], "whoever held it is lost"


def held(catalog: Catalog, seconds: float) -> JobRow:
    job = planned(catalog, 1)
    catalog.claim_items(TENANT, job.job, "other", seconds=seconds, limit=1)
    return job


def item_at_rest(catalog: Catalog, seconds: float) -> JobRow:
    job = planned(catalog, 1)
    claim(catalog, job)
    return report(catalog, job, {1: PENDING}, code="x", rest_seconds=seconds)


def at_rest(catalog: Catalog, seconds: float) -> JobRow:
    job = add(catalog)
    catalog.rest_job(TENANT, job.job, seconds=seconds, code="x", text=None)
    return job


def put_off_by_its_rate(catalog: Catalog, seconds: float) -> JobRow:
    job = planned(catalog, 2, rate=1 / seconds)
    assert len(claim(catalog, job)) == 1
    return job


@pytest.mark.parametrize("make", [held, item_at_rest, at_rest, put_off_by_its_rate])
def test_what_can_be_done_later_is_at_work_within_that_time(
    catalog: Catalog, make: Callable[[Catalog, float], JobRow]
) -> None:
    job = make(catalog, 500)
    assert at_work(catalog) == at_work(catalog, within_seconds=400) == []
    assert at_work(catalog, within_seconds=500) == at_work(catalog, within_seconds=86_400) == [job.job]
    assert at_work(catalog, "another", within_seconds=500) == []
    move(catalog, job, PAUSED)
    assert at_work(catalog, within_seconds=500) == []


def test_a_job_whose_planning_goes_on_is_at_work_with_nothing_to_claim(catalog: Catalog) -> None:
    job = add(catalog)
    catalog.plan_items(TENANT, job.job, None, ["a"], "p2")
    claim(catalog, job)
    assert at_work(catalog) == [job.job]


def test_a_job_at_rest_says_why_and_is_left_alone_until_its_time(catalog: Catalog, pass_time: PassTime) -> None:
    job = planned(catalog)
    catalog.rest_job(TENANT, job.job, seconds=30, code="key_unavailable", text="Vault is sealed")
    row = now_of(catalog, job)
    assert (row.trouble_code, row.trouble_text, row.revision) == ("key_unavailable", "Vault is sealed", 3)
    assert row.rests_until is not None and row.rests_until > row.created_at
    assert at_work(catalog) == claim(catalog, job) == []
    pass_time(31)
    assert at_work(catalog) == [job.job]
    finish(catalog, job, PENDING)
    assert now_of(catalog, job).trouble_code == "key_unavailable", "nothing was finished"
    row = report(catalog, job, dict.fromkeys(numbers(claim(catalog, job, limit=1)), ItemState.DONE))
    assert (row.trouble_code, row.trouble_text) == (None, None)


@pytest.mark.parametrize("move_on", [pause_and_resume, retry])
def test_whoever_moves_a_job_ends_its_rest(catalog: Catalog, move_on: Callable[..., JobRow]) -> None:
    job = planned(catalog)
    catalog.rest_job(TENANT, job.job, seconds=HOUR, code="x", text=None)
    row = move_on(catalog, job)
    assert (row.rests_until, row.trouble_code, row.trouble_text) == (None, None, None)
    assert at_work(catalog) == [job.job]


def test_a_job_that_is_over_does_not_rest(catalog: Catalog) -> None:
    job = in_state(catalog, DONE)
    catalog.rest_job(TENANT, job.job, seconds=HOUR, code="x", text=None)
    assert now_of(catalog, job) == job


def test_a_job_is_planned_page_by_page(catalog: Catalog) -> None:
    job = add(catalog)
    first = catalog.plan_items(TENANT, job.job, None, ["a", "b"], "p2")
    assert first == replace(job, cursor="p2", pending=2, revision=2)
    claimed = claim(catalog, job, limit=1)
    report(catalog, job, {1: ItemState.DONE})
    catalog.plan_items(TENANT, job.job, "p2", [], "p3")
    last = catalog.plan_items(TENANT, job.job, "p3", ["c", "a"], None)
    assert last == replace(job, is_planned=True, pending=3, done=1, revision=5)
    items = items_of(catalog, job)
    assert [(one.number, one.item) for one in items] == [(1, "a"), (2, "b"), (3, "c"), (4, "a")]
    assert claimed == [ClaimedItem(1, "a", 0)]
    assert replace(items[3], changed_at=job.created_at) == JobItem(4, "a", PENDING, 0, None, None, None, job.created_at)


def test_a_page_is_added_once_however_often_it_is_planned(catalog: Catalog) -> None:
    job = add(catalog)
    for cursor, page, then in ((None, ["a"], "p2"), ("p2", ["b"], None)):
        catalog.plan_items(TENANT, job.job, cursor, page, then)
        before = all_of(catalog, job)
        for seen in (cursor, "elsewhere", None):
            assert catalog.plan_items(TENANT, job.job, seen, page, then) == before[0]
        assert all_of(catalog, job) == before
    assert [one.item for one in items_of(catalog, job)] == ["a", "b"]


def test_planners_that_work_at_once_add_each_page_once(catalog: Catalog) -> None:
    job = add(catalog)

    def plan(_: int) -> None:
        while not (row := now_of(catalog, job)).is_planned:
            page = int(row.cursor or 0)
            items = [f"{page}.{number}" for number in range(3)]
            catalog.plan_items(TENANT, job.job, row.cursor, items, str(page + 1) if page < 9 else None)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(plan, range(4)))
    assert [one.item for one in items_of(catalog, job)] == [f"{page}.{n}" for page in range(10) for n in range(3)]
    assert counts(now_of(catalog, job)) == (30, 0, 0, 0)


def test_a_job_with_nothing_to_do_is_done_at_once(catalog: Catalog) -> None:
    job = add(catalog)
    row = catalog.plan_items(TENANT, job.job, None, [], None)
    assert row is not None and row.ended_at is not None
    assert (row.state, row.is_planned, counts(row)) == (DONE, True, (0, 0, 0, 0))
    assert told(catalog, job) == ["running", "done"]
    assert at_work(catalog) == []


@pytest.mark.parametrize(("result", "end"), [(ItemState.SKIPPED, DONE), (ItemState.FAILED, FAILED)])
def test_a_job_whose_items_are_finished_before_its_planning_ends_with_that(
    catalog: Catalog, result: ItemState, end: JobState
) -> None:
    job = add(catalog)
    catalog.plan_items(TENANT, job.job, None, ["a"], "p2")
    assert finish(catalog, job, result).state is RUNNING
    assert told(catalog, job) == ["running"]
    row = catalog.plan_items(TENANT, job.job, "p2", [], None)
    assert row is not None and row.state is end
    assert told(catalog, job) == ["running", end.value]


def test_planning_ends_the_rest_of_a_job(catalog: Catalog) -> None:
    job = add(catalog)
    catalog.rest_job(TENANT, job.job, seconds=HOUR, code="x", text="y")
    row = catalog.plan_items(TENANT, job.job, None, ["a"], None)
    assert row is not None
    assert (row.rests_until, row.trouble_code, row.trouble_text) == (None, None, None)


def test_a_planner_that_finds_its_job_paused_adds_its_page_and_the_job_ends_when_it_goes_on(catalog: Catalog) -> None:
    job = add(catalog)
    move(catalog, job, PAUSED)
    row = catalog.plan_items(TENANT, job.job, None, [], None)
    assert row is not None and (row.state, row.is_planned, row.ended_at) == (PAUSED, True, None)
    ended = move(catalog, job, RUNNING)
    assert ended.state is DONE and ended.ended_at is not None
    assert told(catalog, job) == ["running", "paused", "done"]


@pytest.mark.parametrize("state", [DONE, CANCELLED])
def test_nothing_is_added_to_a_job_that_is_over(catalog: Catalog, state: JobState) -> None:
    job = move(catalog, add(catalog), CANCELLED) if state is CANCELLED else in_state(catalog, DONE)
    before = all_of(catalog, job)
    assert catalog.plan_items(TENANT, job.job, None, ["a"], None) == before[0]
    assert all_of(catalog, job) == before


def test_items_are_claimed_in_order_and_no_more_than_were_asked_for(catalog: Catalog) -> None:
    job = planned(catalog, 12)
    assert claim(catalog, job, "a", limit=2) == [ClaimedItem(1, "item 1", 0), ClaimedItem(2, "item 2", 0)]
    assert numbers(claim(catalog, job, "b", limit=9)) == list(range(3, 12))
    assert numbers(claim(catalog, job, "c")) == [12]
    assert claim(catalog, job, "d") == []
    assert [one.begun for one in items_of(catalog, job)] == [1] * 12
    assert catalog.is_under_way(TENANT, job.job)
    assert now_of(catalog, job) == job, "a claim is no change that anybody sees"


def test_items_of_one_job_are_not_those_of_another(catalog: Catalog) -> None:
    one, two, other = planned(catalog, 1), planned(catalog, 2, "2"), planned(catalog, 3, tenant=OTHER_TENANT)
    assert numbers(claim(catalog, two)) == [1, 2]
    assert report(catalog, one, {1: ItemState.DONE}).done == 0
    assert numbers(claim(catalog, one)) == [1]
    assert numbers(claim(catalog, other)) == [1, 2, 3]
    assert counts(report(catalog, two, {1: ItemState.DONE, 2: PENDING})) == (1, 1, 0, 0)
    assert [counts(now_of(catalog, job)) for job in (one, other)] == [(1, 0, 0, 0), (3, 0, 0, 0)]


def test_a_claim_that_ran_out_is_others_and_counts_as_a_lost_worker(catalog: Catalog) -> None:
    job = planned(catalog, 2)
    claim(catalog, job, "dead", seconds=0)
    assert not catalog.is_under_way(TENANT, job.job)
    assert claim(catalog, job, "b", seconds=-5, limit=1) == [ClaimedItem(1, "item 1", 1)]
    assert claim(catalog, job, "c") == [ClaimedItem(1, "item 1", 2), ClaimedItem(2, "item 2", 1)]
    assert claim(catalog, job, "d") == []
    assert [one.begun for one in items_of(catalog, job)] == [3, 2]


def test_a_report_ends_the_count_of_lost_workers(catalog: Catalog) -> None:
    job = planned(catalog, 1)
    claim(catalog, job, "dead", seconds=0)
    claim(catalog, job, "dead too", seconds=0)
    report(catalog, job, {1: PENDING}, "dead too", code="x")
    assert claim(catalog, job) == [ClaimedItem(1, "item 1", 0)]


def test_what_workers_may_die_of_is_claimed_alone_when_there_is_nothing_else(catalog: Catalog) -> None:
    job = planned(catalog, 4)
    for lost in range(SUSPECT_AFTER):
        assert {one.lost for one in claim(catalog, job, f"dead {lost}", seconds=0, limit=2)} == {lost}
    assert numbers(claim(catalog, job, "a", limit=1)) == [3]
    assert numbers(claim(catalog, job, "b")) == [4]
    assert claim(catalog, job, "c") == [ClaimedItem(1, "item 1", SUSPECT_AFTER)]
    assert claim(catalog, job, "d") == [ClaimedItem(2, "item 2", SUSPECT_AFTER)]
    assert claim(catalog, job, "e") == []


def test_an_item_at_rest_is_claimed_after_all_others_and_not_before_its_time(
    catalog: Catalog, pass_time: PassTime
) -> None:
    job = planned(catalog, 5)
    claim(catalog, job, limit=3)
    report(catalog, job, {1: PENDING}, rest_seconds=0, code="x")
    report(catalog, job, {2: PENDING}, rest_seconds=-9, code="x")
    report(catalog, job, {3: PENDING}, rest_seconds=30, code="x")
    rests = items_of(catalog, job)[2].rests_until
    assert rests is not None and rests.tzinfo is UTC
    assert [numbers(claim(catalog, job, lease, limit=1)) for lease in "bcdef"] == [[4], [5], [2], [1], []]
    pass_time(31)
    assert numbers(claim(catalog, job, "g", limit=1)) == [3]


def test_at_a_rate_no_more_than_a_seconds_worth_is_claimed_at_once(catalog: Catalog, pass_time: PassTime) -> None:
    job = planned(catalog, 60, rate=19.5)
    assert len(claim(catalog, job, "a", limit=4)) == 4
    pass_time(1)
    assert len(claim(catalog, job, "b")) == 20


def test_a_rate_is_kept_by_all_workers_together(catalog: Catalog, pass_time: PassTime) -> None:
    job = planned(catalog, 3, rate=0.01)
    assert numbers(claim(catalog, job, "a")) == [1]
    report(catalog, job, {1: ItemState.DONE})
    pass_time(50)
    assert claim(catalog, job, "b") == []
    assert at_work(catalog) == []
    pass_time(50)
    assert at_work(catalog) == [job.job]
    assert numbers(claim(catalog, job, "b")) == [2]
    assert claim(catalog, job, "a") == []


def test_the_highest_rate_holds_nobody_up(catalog: Catalog) -> None:
    job = planned(catalog, 3, rate=MAX_RATE)
    assert numbers(claim(catalog, job)) == [1, 2, 3]


def test_with_a_retry_a_job_may_get_another_rate_at_once(catalog: Catalog) -> None:
    job = planned(catalog, 30, rate=MIN_RATE)
    assert len(claim(catalog, job, "a")) == 1
    assert (same := catalog.retry_job(TENANT, job.job)) is not None and same.rate == MIN_RATE
    assert claim(catalog, job, "b") == []
    assert (other := catalog.retry_job(TENANT, job.job, rate=20.0)) is not None and other.rate == 20
    assert len(claim(catalog, job, "b")) == 20


def test_a_claim_that_finds_nothing_uses_up_no_rate(catalog: Catalog) -> None:
    job = add(catalog, rate=0.001)
    assert claim(catalog, job) == []
    catalog.plan_items(TENANT, job.job, None, ["a"], None)
    assert numbers(claim(catalog, job)) == [1]


def test_workers_that_claim_at_once_get_no_more_than_the_rate(catalog: Catalog) -> None:
    job = planned(catalog, 30, rate=0.01)
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda n: claim(catalog, job, f"w{n}"), range(24)))
    assert [numbers(claimed) for claimed in found if claimed] == [[1]]


def test_a_claim_is_prolonged_while_it_is_the_callers(catalog: Catalog) -> None:
    job = planned(catalog, 3)
    claim(catalog, job, "a", seconds=0, limit=2)
    assert catalog.extend_items(TENANT, job.job, "b", seconds=LEASE_SECONDS) == 0
    assert catalog.extend_items(TENANT, job.job, "a", seconds=LEASE_SECONDS) == 2
    assert numbers(claim(catalog, job, "b")) == [3]
    report(catalog, job, {1: ItemState.DONE})
    assert catalog.extend_items(TENANT, job.job, "a", seconds=0) == 1
    assert numbers(claim(catalog, job, "c")) == [2]
    assert catalog.extend_items(TENANT, job.job, "a", seconds=LEASE_SECONDS) == 0
    assert now_of(catalog, job).pending == 2


def test_reports_are_counted_and_the_last_one_ends_the_job(catalog: Catalog) -> None:
    job = planned(catalog, 4)
    claim(catalog, job)
    row = report(catalog, job, {1: ItemState.DONE, 2: ItemState.SKIPPED})
    assert row == replace(job, pending=2, done=1, skipped=1, revision=job.revision + 1)
    assert row.finished == 2
    assert told(catalog, job) == ["running"]
    row = report(catalog, job, {4: ItemState.DONE, 3: ItemState.DONE})
    assert (row.state, counts(row)) == (DONE, (0, 3, 1, 0))
    assert row.ended_at is not None and row.ended_at.tzinfo is UTC
    assert now_of(catalog, job) == row
    assert told(catalog, job) == ["running", "done"]
    assert not catalog.is_under_way(TENANT, job.job)


def test_a_job_of_which_an_item_failed_has_failed_and_says_at_which(catalog: Catalog) -> None:
    job = planned(catalog, 2)
    claim(catalog, job)
    assert report(catalog, job, {1: ItemState.FAILED}, code="not_found", text="gone").state is RUNNING
    row = report(catalog, job, {2: ItemState.DONE})
    assert (row.state, counts(row)) == (FAILED, (0, 1, 0, 1))
    assert told(catalog, job) == ["running", "failed"]
    item = items_of(catalog, job)[0]
    assert (item.state, item.code, item.text, item.begun) == (ItemState.FAILED, "not_found", "gone", 1)
    assert item.changed_at >= job.created_at


def test_an_item_that_is_tried_again_keeps_its_error_until_it_is_reported_anew(catalog: Catalog) -> None:
    job = planned(catalog, 1)
    claim(catalog, job)
    row = report(catalog, job, {1: PENDING}, code="x", text="y", rest_seconds=0)
    assert (row.state, counts(row), row.revision) == (RUNNING, (1, 0, 0, 0), job.revision + 1)
    (item,) = items_of(catalog, job)
    assert (item.state, item.begun, item.code, item.text) == (PENDING, 1, "x", "y")
    assert item.rests_until is not None
    claim(catalog, job, "b")
    assert items_of(catalog, job)[0].code == "x"
    report(catalog, job, {1: ItemState.DONE}, "b")
    (item,) = items_of(catalog, job)
    assert (item.state, item.begun, item.code, item.text, item.rests_until) == (ItemState.DONE, 2, None, None, None)


def test_a_report_under_a_lost_claim_changes_nothing(catalog: Catalog) -> None:
    job = planned(catalog, 2)
    claim(catalog, job, "dead", seconds=0)
    claim(catalog, job, "b")
    before = all_of(catalog, job)
    assert report(catalog, job, {1: ItemState.DONE, 2: ItemState.FAILED}, "dead") == before[0]
    assert report(catalog, job, {}, "b") == before[0]
    assert report(catalog, job, {0: ItemState.DONE, 3: ItemState.DONE, -1: ItemState.DONE}, "b") == before[0]
    assert all_of(catalog, job) == before
    assert numbers(claim(catalog, job, "c")) == []


def test_a_claim_that_ran_out_but_was_not_taken_over_still_counts(catalog: Catalog) -> None:
    job = planned(catalog, 1)
    claim(catalog, job, seconds=-HOUR)
    assert report(catalog, job, {1: ItemState.DONE}).state is DONE


def test_of_a_report_part_of_which_is_lost_the_rest_counts(catalog: Catalog) -> None:
    job = planned(catalog, 2)
    claim(catalog, job, "a", seconds=0)
    claim(catalog, job, "b", limit=1)
    assert counts(report(catalog, job, {1: ItemState.DONE, 2: ItemState.DONE}, "a")) == (1, 1, 0, 0)
    assert [one.state for one in items_of(catalog, job)] == [PENDING, ItemState.DONE]


def test_a_report_that_is_sent_again_changes_nothing(catalog: Catalog) -> None:
    job = planned(catalog, 2)
    claim(catalog, job)
    for states in ({1: ItemState.DONE}, {2: ItemState.FAILED}):
        report(catalog, job, states)
        before = all_of(catalog, job)
        assert report(catalog, job, states) == before[0]
        assert all_of(catalog, job) == before
    assert told(catalog, job) == ["running", "failed"]


def test_a_report_that_names_an_item_twice_counts_it_once(catalog: Catalog) -> None:
    job = planned(catalog, 2)
    claim(catalog, job)
    row = catalog.report_items(TENANT, job.job, "a", [ItemReport(1, ItemState.DONE)] * 2)
    assert row is not None and counts(row) == (1, 1, 0, 0)


def test_a_job_whose_last_item_is_reported_while_it_is_paused_ends_when_it_goes_on(catalog: Catalog) -> None:
    job = planned(catalog, 1)
    claim(catalog, job)
    move(catalog, job, PAUSED)
    row = report(catalog, job, {1: ItemState.FAILED})
    assert (row.state, row.ended_at, counts(row)) == (PAUSED, None, (0, 0, 0, 1))
    ended = move(catalog, job, RUNNING)
    assert ended.state is FAILED and ended.ended_at is not None
    assert told(catalog, job) == ["running", "paused", "failed"]


def test_a_late_report_of_a_cancelled_job_counts_and_tells_nobody(catalog: Catalog) -> None:
    job = planned(catalog, 2)
    claim(catalog, job)
    over = move(catalog, job, CANCELLED)
    assert catalog.is_under_way(TENANT, job.job)
    row = report(catalog, job, {1: ItemState.DONE, 2: ItemState.FAILED})
    assert row == replace(over, pending=0, done=1, failed=1, revision=over.revision + 1)
    assert not catalog.is_under_way(TENANT, job.job)
    assert told(catalog, job) == ["running", "cancelled"]


@pytest.mark.parametrize("to", COMES_FROM)
@pytest.mark.parametrize("state", JobState)
def test_a_job_comes_into_a_state_from_those_that_lead_there_alone(
    catalog: Catalog, state: JobState, to: JobState
) -> None:
    job = in_state(catalog, state)
    before = all_of(catalog, job)
    row = move(catalog, job, to)
    if state not in COMES_FROM[to]:
        assert row == job
        assert all_of(catalog, job) == before
        return
    assert (row.state, row.revision) == (to, job.revision + 1)
    assert (row.ended_at is not None) == to.is_over
    assert now_of(catalog, job) == row
    assert told(catalog, job)[-1] == to.value
    assert len(all_events(catalog)) == len(before[2]) + 1  # type: ignore[arg-type]


def test_a_job_runs_since_it_was_last_resumed(catalog: Catalog) -> None:
    job = planned(catalog)
    assert move(catalog, job, PAUSED).running_since == job.running_since
    resumed = move(catalog, job, RUNNING)
    assert resumed.running_since > job.running_since
    assert resumed.created_at == job.created_at


def test_what_is_held_when_a_job_is_paused_can_be_reported_and_nothing_more_is_claimed(catalog: Catalog) -> None:
    job = planned(catalog, 2)
    claim(catalog, job, limit=1)
    move(catalog, job, PAUSED)
    assert claim(catalog, job, "b") == []
    assert catalog.extend_items(TENANT, job.job, "a", seconds=LEASE_SECONDS) == 1
    assert counts(report(catalog, job, {1: ItemState.DONE})) == (1, 1, 0, 0)
    move(catalog, job, RUNNING)
    assert numbers(claim(catalog, job, "b")) == [2]


def test_what_failed_of_a_job_that_is_over_is_tried_again_by_the_same_job(catalog: Catalog) -> None:
    job = planned(catalog, 3)
    claim(catalog, job)
    report(catalog, job, {1: ItemState.DONE})
    failed = report(catalog, job, {2: ItemState.FAILED, 3: ItemState.FAILED}, code="x", text="y")
    row = retry(catalog, job)
    assert row.running_since > job.running_since
    assert row == replace(
        failed,
        state=RUNNING,
        pending=2,
        failed=0,
        ended_at=None,
        running_since=row.running_since,
        revision=failed.revision + 1,
    )
    assert told(catalog, job) == ["running", "failed", "running"]
    assert [(one.state, one.code, one.text, one.begun) for one in items_of(catalog, job)] == [
        (ItemState.DONE, None, None, 1),
        (PENDING, None, None, 1),
        (PENDING, None, None, 1),
    ]
    assert claim(catalog, job, "b") == [ClaimedItem(2, "item 2", 0), ClaimedItem(3, "item 3", 0)]
    assert report(catalog, job, {2: ItemState.DONE, 3: ItemState.SKIPPED}, "b").state is DONE
    assert told(catalog, job) == ["running", "failed", "running", "done"]


@pytest.mark.parametrize("state", [RUNNING, PAUSED])
def test_what_failed_or_rests_of_an_unfinished_job_is_tried_again_at_once(catalog: Catalog, state: JobState) -> None:
    job = planned(catalog, 4)
    claim(catalog, job, limit=3)
    report(catalog, job, {1: ItemState.FAILED}, code="x")
    report(catalog, job, {2: PENDING, 3: PENDING}, code="x", rest_seconds=0)
    held = claim(catalog, job, "b")
    assert numbers(held) == [2, 3, 4]
    report(catalog, job, {2: PENDING}, "b", code="x", rest_seconds=HOUR)
    if state is PAUSED:
        move(catalog, job, PAUSED)
    before = now_of(catalog, job)
    row = retry(catalog, job)
    assert row == replace(before, pending=4, failed=0, revision=before.revision + 1)
    assert [(one.state, one.code, one.rests_until is None) for one in items_of(catalog, job)] == [
        (PENDING, None, True),
        (PENDING, None, True),
        (PENDING, "x", False),
        (PENDING, None, True),
    ]
    assert told(catalog, job) == ["running"] + ["paused"] * (state is PAUSED)
    if state is PAUSED:
        move(catalog, job, RUNNING)
    assert numbers(claim(catalog, job, "c")) == [1, 2], "the others are held"


@pytest.mark.parametrize("state", sorted(set(JobState) - set(RETRIED_IN), key=lambda state: state.value))
def test_nothing_of_a_job_that_was_done_or_cancelled_is_tried_again(catalog: Catalog, state: JobState) -> None:
    job = planned(catalog, 2)
    claim(catalog, job)
    report(catalog, job, {1: ItemState.FAILED if state is CANCELLED else ItemState.DONE}, code="x")
    if state is CANCELLED:
        move(catalog, job, CANCELLED)
    report(catalog, job, {2: ItemState.DONE})
    before = all_of(catalog, job)
    assert retry(catalog, job) == before[0]
    assert all_of(catalog, job) == before


def test_a_job_is_not_retried_beside_an_equal_one(catalog: Catalog) -> None:
    failed = in_state(catalog, FAILED)
    add(catalog)
    before = all_of(catalog, failed)
    with pytest.raises(AlreadyExists, match="another job does the same work"):
        catalog.retry_job(TENANT, failed.job)
    assert all_of(catalog, failed) == before


def test_items_are_listed_by_number_in_pages(catalog: Catalog) -> None:
    job = planned(catalog, 12)
    listed = items_of(catalog, job)
    assert numbers(listed) == list(range(1, 13))
    assert items_of(catalog, job, after=2, limit=3) == listed[2:5]
    assert items_of(catalog, job, after=11) == listed[11:]
    assert items_of(catalog, job, after=12) == []


def test_items_are_listed_by_state_and_by_trouble(catalog: Catalog) -> None:
    job = planned(catalog, 5)
    claim(catalog, job, limit=4)
    report(catalog, job, {1: ItemState.DONE, 2: ItemState.SKIPPED})
    report(catalog, job, {3: ItemState.FAILED, 4: PENDING}, code="x", rest_seconds=HOUR)
    assert numbers(items_of(catalog, job, states=[PENDING])) == [4, 5]
    assert numbers(items_of(catalog, job, states=[ItemState.DONE, ItemState.SKIPPED])) == [1, 2]
    assert items_of(catalog, job, states=[]) == []
    assert numbers(items_of(catalog, job, only_troubled=True)) == [3, 4]
    assert numbers(items_of(catalog, job, only_troubled=True, states=[PENDING])) == [4]
    assert numbers(items_of(catalog, job, only_troubled=True, after=3, limit=1)) == [4]
    assert numbers(items_of(catalog, job, states=[PENDING], limit=1)) == [4]


def test_jobs_that_ended_long_ago_are_forgotten_with_their_items_oldest_first(
    catalog: Catalog, pass_time: PassTime
) -> None:
    ended = []
    for state in (CANCELLED, DONE, FAILED):
        ended.append(in_state(catalog, state, state.value))
        pass_time(1)
    unfinished = [in_state(catalog, state, state.value) for state in (RUNNING, PAUSED)]
    assert catalog.forget_jobs(HOUR) == 0
    pass_time(HOUR)
    recent = in_state(catalog, DONE, "recent")
    assert catalog.forget_jobs(HOUR, limit=1) == 1
    assert [catalog.find_job(TENANT, job.job) is None for job in ended] == [True, False, False]
    assert catalog.forget_jobs(HOUR) == 2
    for job in ended:
        assert catalog.find_job(TENANT, job.job) is None
        assert items_of(catalog, job) == []
    assert [row.job for row in catalog.list_jobs(TENANT, JobFilter())] == [
        job.job for job in (recent, *unfinished[::-1])
    ]
    assert [len(items_of(catalog, job)) for job in (*unfinished, recent)] == [3, 3, 3]
    assert catalog.forget_jobs(0) == 1


def test_the_speed_of_a_job_is_that_of_late(catalog: Catalog, pass_time: PassTime) -> None:
    job = planned(catalog, 40)
    claim(catalog, job, seconds=HOUR)
    assert report(catalog, job, {1: ItemState.DONE}).speed is None, "too early to tell"
    pass_time(10)
    row = report(catalog, job, dict.fromkeys(range(2, 21), ItemState.DONE))
    assert row.speed == pytest.approx(2.0, rel=0.3)
    assert report(catalog, job, {21: ItemState.FAILED}).speed == row.speed, "measured not long ago"
    pass_time(20)
    assert report(catalog, job, {22: ItemState.SKIPPED}).speed == pytest.approx(0.1, rel=0.3)
    move(catalog, job, PAUSED)
    pass_time(HOUR)
    assert move(catalog, job, RUNNING).speed is None
    pass_time(10)
    row = report(catalog, job, dict.fromkeys(range(23, 33), ItemState.DONE))
    assert row.speed == pytest.approx(1.0, rel=0.3), "without the time in which it was paused"
    assert retry(catalog, job).speed is None


def test_the_revision_goes_up_with_each_change_and_not_without_one(catalog: Catalog) -> None:
    job = add(catalog)
    seen = [job.revision]

    def changed() -> bool:
        seen.append(now_of(catalog, job).revision)
        return seen[-1] == seen[-2] + 1

    for change in (
        lambda: catalog.plan_items(TENANT, job.job, None, ["a", "b"], None),
        lambda: catalog.rest_job(TENANT, job.job, seconds=0, code="x", text=None),
        lambda: move(catalog, job, PAUSED),
        lambda: move(catalog, job, RUNNING),
        lambda: claim(catalog, job) and report(catalog, job, {1: ItemState.FAILED}),
        lambda: retry(catalog, job),
        lambda: move(catalog, job, CANCELLED),
        lambda: report(catalog, job, {2: ItemState.DONE}),
    ):
        change()
        assert changed()
    for nothing in (
        lambda: catalog.add_job(new("another")),
        lambda: catalog.plan_items(TENANT, job.job, None, ["a"], None),
        lambda: catalog.rest_job(TENANT, job.job, seconds=0, code="x", text=None),
        lambda: report(catalog, job, {2: ItemState.DONE}),
        lambda: move(catalog, job, RUNNING),
        lambda: retry(catalog, job),
        lambda: catalog.forget_jobs(HOUR),
    ):
        nothing()
        assert not changed()


TRACE = Correlation("run-17/step-4", "00-" + "a" * 32 + "-" + "b" * 16 + "-01")


@pytest.mark.parametrize("project", [None, NO_PROJECT])
@pytest.mark.parametrize("origin", [None, Correlation("run-17"), TRACE], ids=["none", "id", "trace"])
def test_every_event_of_a_job_has_the_data_that_events_of_jobs_have(
    catalog: Catalog, project: ProjectId | None, origin: Correlation | None
) -> None:
    def work() -> Iterator[JobRow]:
        yield (job := add(catalog, project=project))
        planned_row = catalog.plan_items(TENANT, job.job, None, ["a", "b", "c"], None)
        assert planned_row is not None
        yield move(catalog, job, PAUSED)
        yield move(catalog, job, RUNNING)
        claim(catalog, job)
        report(catalog, job, {1: ItemState.DONE, 2: ItemState.SKIPPED})
        yield report(catalog, job, {3: ItemState.FAILED})
        yield retry(catalog, job)
        yield finish(catalog, job)
        done = add(catalog, project=project)
        row = catalog.plan_items(TENANT, done.job, None, [], None)
        assert row is not None
        yield from (done, row)
        yield move(catalog, add(catalog, "2", project=project), CANCELLED)

    def seen() -> list[JobRow]:
        if origin is None:
            return list(work())
        with correlated(origin):
            return list(work())

    rows = seen()
    events = [
        event for event in all_events(catalog) if (event.project, event.type) != (rows[-1].job, "manifold.job.running")
    ]
    assert [event.type for event in events] == [f"manifold.job.{row.state.value}" for row in rows]
    for event, row in zip(events, rows, strict=True):
        assert (event.tenant, event.project, event.generation) == (TENANT, row.job, 0)
        assert datetime.fromisoformat(event.data["timestamp"]) == event.created_at
        pending, done, skipped, failed = counts(row)
        expected = job_event(
            TENANT,
            project,
            USER,
            row.job,
            KIND,
            row.state.value,
            event.created_at,
            pending=pending,
            done=done,
            skipped=skipped,
            failed=failed,
        )
        if origin is not None:
            expected[ORIGIN] = origin.fields()
        assert event.data == {**expected, "timestamp": event.data["timestamp"]}


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
