"""Every promise of the Jobs port about claims, and what is reported of them, kept by each catalog."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC

from manifold_common.domain.job import (
    MAX_RATE,
    MIN_RATE,
    SUSPECT_AFTER,
    ItemState,
)
from manifold_common.ports.catalog import (
    Catalog,
    ClaimedItem,
    ItemReport,
)

from tests.contract.catalog_fixtures import (
    OTHER_TENANT,
    TENANT,
)
from tests.contract.job_fixtures import (
    CANCELLED,
    DONE,
    FAILED,
    HOUR,
    LEASE_SECONDS,
    PAUSED,
    PENDING,
    RUNNING,
    PassTime,
    add,
    all_of,
    at_work,
    claim,
    counts,
    items_of,
    move,
    now_of,
    numbers,
    planned,
    report,
    told,
)
from tests.contract.job_fixtures import (
    clock as clock,
)
from tests.contract.job_fixtures import (
    pass_time as pass_time,
)


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
