"""Every promise of the Jobs port about how the items of a job come to be, kept by each catalog."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from manifold_common.domain.job import (
    ItemState,
    JobState,
)
from manifold_common.ports.catalog import (
    Catalog,
    ClaimedItem,
    JobItem,
)

from tests.contract.catalog_fixtures import (
    TENANT,
)
from tests.contract.job_fixtures import (
    CANCELLED,
    DONE,
    FAILED,
    HOUR,
    PAUSED,
    PENDING,
    RUNNING,
    add,
    all_of,
    at_work,
    claim,
    counts,
    finish,
    in_state,
    items_of,
    move,
    now_of,
    report,
    told,
)
from tests.contract.job_fixtures import (
    clock as clock,
)
from tests.contract.job_fixtures import (
    pass_time as pass_time,
)


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
