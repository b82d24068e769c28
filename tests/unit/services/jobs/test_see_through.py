"""One job worked on until it is over, beside others that hold some of it, and as slowly as it asks for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import pytest
from manifold_common.adapters.memory.clock import ManualClock
from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.domain.job import ItemState, JobState
from manifold_common.errors import KeyUnavailable
from manifold_common.ids import JobId, TenantId
from manifold_common.ports.catalog import ItemReport, JobRow, NewJob
from manifold_common.services.jobs.kind import Plan
from manifold_common.services.jobs.worker import REST_SECONDS, JobWorker, Step

from tests.support.manifold import MakeManifold

TENANT = LOCAL_PRINCIPAL.tenant
pytestmark = pytest.mark.in_memory("time moves only when somebody waits")


class Counted:
    """Implements JobKind: ten items, of which two are worked on at once."""

    at_once = 2
    is_open = False

    def __init__(self, work: Callable[[str], ItemState]) -> None:
        self._work = work

    def plan(self, cursor: str | None) -> Plan:
        assert cursor is None
        return Plan([str(number) for number in range(10)], None)

    def begin(self, items: Sequence[str]) -> Callable[[str], ItemState]:
        assert 0 < len(items) <= self.at_once
        return self._work


def done(_: str) -> ItemState:
    return ItemState.DONE


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def manifold(make_manifold: MakeManifold, clock: ManualClock) -> Manifold:
    return make_manifold(clock=clock)


def start(manifold: Manifold, rate: float | None = None) -> JobRow:
    job = JobId(manifold.context.new_id())
    row, _ = manifold.context.catalog.add_job(NewJob(TENANT, job, "k", "{}", LOCAL_PRINCIPAL.user, None, rate))
    return row


def worker(manifold: Manifold, work: Callable[[str], ItemState] = done) -> JobWorker:
    return JobWorker(manifold.context, {"k": lambda _: Counted(work)})


def state(step: Step) -> tuple[JobState, int, int]:
    assert step.job is not None
    return step.job.state, step.job.done, step.job.pending


def test_a_job_is_planned_and_worked_on_to_its_end_and_told_of_after_each_step(
    manifold: Manifold, clock: ManualClock
) -> None:
    seen: list[int] = []
    reported: list[int] = []
    step = worker(manifold).see_through(
        start(manifold), report=lambda: reported.append(1), changed=lambda row: seen.append(row.done)
    )
    assert (state(step), step.finished, len(reported)) == ((JobState.DONE, 10, 0), 10, 10)
    assert seen == [0, 2, 4, 6, 8, 10]
    assert clock.slept == [], "nothing is waited for"


def test_what_another_worker_holds_is_waited_for(manifold: Manifold, clock: ManualClock) -> None:
    row, catalog = start(manifold), manifold.context.catalog
    used = worker(manifold)
    used.step(row)
    held = catalog.claim_items(TENANT, row.job, "theirs", seconds=60, limit=3)

    def theirs_end(_: JobRow) -> None:
        if len(clock.slept) == 2:
            reports = [ItemReport(one.number, ItemState.DONE) for one in held]
            catalog.report_items(TENANT, row.job, "theirs", reports)

    step = used.see_through(row, changed=theirs_end)
    assert (state(step), step.finished) == ((JobState.DONE, 10, 0), 7)
    assert len(clock.slept) == 2


def test_what_a_lost_worker_held_is_taken_over_when_its_time_is_over(manifold: Manifold, clock: ManualClock) -> None:
    row = start(manifold)
    used = worker(manifold)
    used.step(row)
    assert len(manifold.context.catalog.claim_items(TENANT, row.job, "lost", seconds=60, limit=3)) == 3
    step = used.see_through(row)
    assert (state(step), step.finished) == ((JobState.DONE, 10, 0), 10)
    assert 59.9 < sum(clock.slept) < 61


def test_what_becomes_free_just_before_it_is_looked_for_is_taken_over(
    manifold: Manifold, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    row, catalog = start(manifold), manifold.context.catalog
    used, is_under_way = worker(manifold), catalog.is_under_way
    used.step(row)
    assert len(catalog.claim_items(TENANT, row.job, "lost", seconds=60, limit=10)) == 10

    def too_late(tenant: TenantId, job: JobId) -> bool:
        clock.advance(61)
        return is_under_way(tenant, job)

    monkeypatch.setattr(catalog, "is_under_way", too_late)
    assert state(used.see_through(row)) == (JobState.DONE, 10, 0)


@pytest.mark.parametrize(("rate", "seconds"), [(2.0, 4), (0.1, 90)])
def test_a_rate_is_waited_for(manifold: Manifold, clock: ManualClock, rate: float, seconds: float) -> None:
    step = worker(manifold).see_through(start(manifold, rate))
    assert state(step) == (JobState.DONE, 10, 0)
    assert seconds <= sum(clock.slept) < seconds * 1.3


@pytest.mark.parametrize("rate", [None, 2.0])
def test_what_is_away_is_not_waited_for(manifold: Manifold, clock: ManualClock, rate: float | None) -> None:
    def away(item: str) -> ItemState:
        if item == "3":
            raise KeyUnavailable("it is away")
        return ItemState.DONE

    row = start(manifold, rate)
    used = worker(manifold, away)
    step = used.see_through(row)
    assert state(step) == (JobState.RUNNING, 9, 1)
    if rate is None:
        assert clock.slept == []
    clock.advance(REST_SECONDS)
    assert state(worker(manifold).see_through(row)) == (JobState.DONE, 10, 0)


def test_one_that_is_held_up_or_told_to_stop_begins_nothing_more(manifold: Manifold) -> None:
    row = start(manifold)
    asked = iter([False, False, True])
    assert state(worker(manifold).see_through(row, stop=lambda: next(asked, True)))[0] is JobState.RUNNING

    def pause(_: str) -> ItemState:
        manifold.context.catalog.move_job(TENANT, row.job, JobState.PAUSED)
        return ItemState.DONE

    step = worker(manifold, pause).see_through(manifold.jobs.row(TENANT, row.job))
    assert step.job is not None and step.job.state is JobState.PAUSED
    assert step.finished == 2, "what was claimed comes to its end"


def test_a_kind_that_this_release_does_not_have_leaves_the_job_at_rest(manifold: Manifold) -> None:
    row = start(manifold)
    step = JobWorker(manifold.context, {}).see_through(row)
    assert (step.finished, step.job and step.job.trouble_code) == (0, "config_error")


def test_two_threads_bring_each_item_to_one_end(make_manifold: MakeManifold) -> None:
    manifold = make_manifold()
    row, met = start(manifold), []

    def work(item: str) -> ItemState:
        met.append(item)
        return ItemState.DONE

    steps: list[Step] = []
    threads = [threading.Thread(target=lambda: steps.append(worker(manifold, work).see_through(row))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(met) == [str(number) for number in range(10)]
    assert [state(step)[0] for step in steps] == [JobState.DONE] * 2
    assert sum(step.finished for step in steps) == 10
