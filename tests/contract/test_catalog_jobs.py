"""Every promise of the Jobs port about jobs as a whole, kept by each catalog."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from manifold_common.domain.correlation import Correlation, correlated
from manifold_common.domain.event import ORIGIN, job_event
from manifold_common.domain.job import (
    COMES_FROM,
    RETRIED_IN,
    ItemState,
    JobFilter,
    JobPlace,
    JobState,
)
from manifold_common.errors import AlreadyExists
from manifold_common.ids import ProjectId
from manifold_common.ports.catalog import (
    Catalog,
    ClaimedItem,
    ItemReport,
    JobRow,
)

from tests.contract.catalog_fixtures import (
    NO_PROJECT,
    OTHER_TENANT,
    OTHER_USER,
    TENANT,
    USER,
    all_events,
    new_id,
)
from tests.contract.job_fixtures import (
    CANCELLED,
    DONE,
    FAILED,
    HOUR,
    KIND,
    LEASE_SECONDS,
    NO_JOB,
    OTHER_KIND,
    PAUSED,
    PENDING,
    RUNNING,
    PassTime,
    add,
    all_of,
    at_work,
    claim,
    counts,
    finish,
    in_state,
    items_of,
    move,
    new,
    now_of,
    numbers,
    pause_and_resume,
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


@pytest.mark.parametrize("state", [RUNNING, PAUSED, DONE, FAILED, CANCELLED])
def test_a_job_of_that_id_is_found_as_it_is_whatever_it_is_for(catalog: Catalog, state: JobState) -> None:
    job = in_state(catalog, state)
    equal = add(catalog, '{"a": 1}')
    before = all_of(catalog, job)
    for params in ("{}", '{"a": 1}', '{"a": 2}'):
        assert catalog.add_job(new(params, job=job.job)) == (job, False)
    assert all_of(catalog, job) == before and now_of(catalog, equal) == equal
    assert catalog.add_job(new('{"a": 2}', tenant=OTHER_TENANT, job=job.job))[1]


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
