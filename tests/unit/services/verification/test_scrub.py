"""The nightly scrub: begun once a day, by whoever comes first."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from manifold_common.adapters.memory.catalog import MemoryCatalog
from manifold_common.adapters.memory.clock import ManualClock
from manifold_common.bootstrap import Manifold
from manifold_common.bootstrap.chores import CHORES
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.domain.job import JobFilter
from manifold_common.shapes.jobs import Job

from tests.support.manifold import MakeManifold
from tests.support.work import new_project, put

HOUR = 3600.0
pytestmark = pytest.mark.in_memory("moves the clock by days")


class Place:
    def __init__(self, make_manifold: MakeManifold, percent: str = "1", **variables: str) -> None:
        self.clock = ManualClock()
        self.manifold: Manifold = make_manifold(
            clock=self.clock,
            catalog=MemoryCatalog(clock=self.clock),
            PROJECTS_MAINTENANCE_SCRUB_PERCENT=percent,
            **variables,
        )
        self.project = new_project(self.manifold, "demo", a=b"one")
        put(self.manifold, self.project, b"b", b"two")

    def tend(self) -> int:
        return CHORES["scrub_projects"].run(self.manifold, lambda: False)

    def work(self) -> int:
        return self.manifold.job_worker.run(["verify"])

    def until(self, hour: float) -> None:
        """Let it become that hour of the day, of this one or the next."""
        now = self.clock.now()
        seconds = hour * HOUR - (now.hour * HOUR + now.minute * 60 + now.second)
        self.clock.advance(seconds if seconds > 0 else seconds + 24 * HOUR)

    def jobs(self) -> list[Job]:
        return self.manifold.jobs.page(LOCAL_PRINCIPAL, JobFilter(kind="verify"))


def test_each_day_one_is_begun_and_looks_at_everything(make_manifold: MakeManifold) -> None:
    place = Place(make_manifold, "2.5")
    assert place.tend() == 0, "what is younger than a day is looked at tomorrow"
    place.clock.advance(24 * HOUR)
    place.until(0.1)
    new_project(place.manifold, "young")
    assert (place.tend(), place.tend(), place.work(), place.tend()) == (1, 0, 2, 0)
    (job,) = place.jobs()
    assert (job.params, job.project, job.state.value) == ({"sample": 2.5}, None, "done")
    place.until(23.9)
    assert place.tend() == 0
    place.until(0.1)
    assert (place.tend(), place.work(), place.tend()) == (1, 2, 0)
    assert len(place.jobs()) == 2


def test_a_look_at_a_project_does_not_count(make_manifold: MakeManifold) -> None:
    place = Place(make_manifold)
    place.clock.advance(48 * HOUR)
    for sample in (1, 2, 3):
        place.manifold.jobs.start(LOCAL_PRINCIPAL, "verify", {"project": "demo", "sample": sample})
    place.work()
    assert place.tend() == 1


@pytest.mark.parametrize(
    ("params", "begun"),
    [({}, 1), ({"sample": 1.9}, 1), ({"sample": 2}, 0), ({"sample": 50}, 0), ({"read_data": True}, 0)],
)
@pytest.mark.parametrize("is_over", [True, False])
def test_another_look_at_everything_counts_if_it_reads_as_much(
    make_manifold: MakeManifold, params: dict[str, object], begun: int, *, is_over: bool
) -> None:
    place = Place(make_manifold, "2")
    place.clock.advance(48 * HOUR)
    place.until(1)
    place.manifold.jobs.start(LOCAL_PRINCIPAL, "verify", params)
    if is_over:
        place.work()
    assert place.tend() == begun


def test_another_look_at_everything_that_was_ended_or_is_held_up_does_not_count(make_manifold: MakeManifold) -> None:
    place = Place(make_manifold)
    place.clock.advance(48 * HOUR)
    place.until(1)
    jobs = place.manifold.jobs
    jobs.cancel(LOCAL_PRINCIPAL, jobs.start(LOCAL_PRINCIPAL, "verify", {"read_data": True}).job.id)
    jobs.pause(LOCAL_PRINCIPAL, jobs.start(LOCAL_PRINCIPAL, "verify", {"read_data": True}).job.id)
    assert (place.tend(), place.tend()) == (1, 0)


def test_the_scrub_of_a_day_that_was_ended_is_not_begun_again_on_that_day(make_manifold: MakeManifold) -> None:
    place = Place(make_manifold)
    place.clock.advance(48 * HOUR)
    place.until(1)
    assert place.tend() == 1
    place.manifold.jobs.cancel(LOCAL_PRINCIPAL, place.jobs()[0].id)
    assert place.tend() == 0
    place.until(0.1)
    assert place.tend() == 1


def test_another_look_that_found_damage_counts_and_one_that_failed_otherwise_does_not(
    make_manifold: MakeManifold, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(make_manifold)
    (commit,) = place.manifold.context.catalog.list_commits(LOCAL_PRINCIPAL.tenant, place.project, limit=1)
    key = f"t/{LOCAL_PRINCIPAL.tenant}/p/{place.project}/commits/{commit.generation:012d}-{commit.commit}"
    place.manifold.context.store.delete([key])
    place.clock.advance(48 * HOUR)
    place.until(1)
    place.manifold.jobs.start(LOCAL_PRINCIPAL, "verify", {"read_data": True})
    place.work()
    assert place.jobs()[0].state.value == "failed" and place.tend() == 0
    place.until(1)

    def break_down(*_: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as broken:
        broken.setattr(place.manifold.verify, "look", break_down)
        place.manifold.jobs.start(LOCAL_PRINCIPAL, "verify", {"read_data": True})
        place.work()
    assert place.jobs()[0].state.value == "failed" and place.tend() == 1


def test_none_is_begun_while_one_of_an_earlier_day_goes_on(make_manifold: MakeManifold) -> None:
    place = Place(make_manifold)
    place.clock.advance(48 * HOUR)
    assert place.tend() == 1
    place.clock.advance(48 * HOUR)
    assert (place.tend(), len(place.jobs())) == (0, 1)


def test_one_that_is_paused_does_not_keep_that_of_the_next_day_from_being_begun(make_manifold: MakeManifold) -> None:
    place = Place(make_manifold)
    place.clock.advance(48 * HOUR)
    place.until(0.1)
    assert place.tend() == 1
    (job,) = place.jobs()
    place.manifold.jobs.pause(LOCAL_PRINCIPAL, job.id)
    place.until(23.9)
    assert place.tend() == 0
    place.until(0.1)
    assert (place.tend(), place.tend(), place.work()) == (1, 0, 1)
    assert [job.state.value for job in place.jobs()] == ["done", "cancelled"]


def test_a_project_whose_key_is_gone_does_not_end_the_scrub_of_the_others(make_manifold: MakeManifold) -> None:
    place = Place(make_manifold)
    locked = place.manifold.projects.create(LOCAL_PRINCIPAL, "locked").id
    (record,) = place.manifold.context.catalog.project_keys(LOCAL_PRINCIPAL.tenant, locked)
    gone = record.wrapped._replace(provider="vault")
    assert place.manifold.context.catalog.replace_wrapped_key(record, gone) == gone
    place.manifold.context.keys.forget(LOCAL_PRINCIPAL.tenant, locked)
    place.clock.advance(24 * HOUR)
    for _ in range(3):
        place.until(0.1)
        assert (place.tend(), place.work(), place.tend()) == (1, 1, 0), "the other one is read each day"
    assert [job.state.value for job in place.jobs()] == ["running", "cancelled", "cancelled"]


def test_one_that_has_found_damage_does_not_keep_the_next_from_being_begun(make_manifold: MakeManifold) -> None:
    place = Place(make_manifold)
    (commit,) = place.manifold.context.catalog.list_commits(LOCAL_PRINCIPAL.tenant, place.project, limit=1)
    key = f"t/{LOCAL_PRINCIPAL.tenant}/p/{place.project}/commits/{commit.generation:012d}-{commit.commit}"
    place.manifold.context.store.delete([key])
    for _ in range(3):
        place.clock.advance(24 * HOUR)
        assert (place.tend(), place.work()) == (1, 1)
        assert place.jobs()[0].state.value == "failed"
    assert [row.object for row in place.manifold.verify.damage(LOCAL_PRINCIPAL, place.project)] == [key]


def test_many_nodes_begin_one(make_manifold: MakeManifold) -> None:
    place = Place(make_manifold)
    place.clock.advance(48 * HOUR)
    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(lambda _: place.tend(), range(8))) == 1
    assert len(place.jobs()) == 1


def test_jobs_that_are_forgotten_at_once_are_known_for_that_day(make_manifold: MakeManifold) -> None:
    place = Place(make_manifold, PROJECTS_MAINTENANCE_JOBS_KEPT_DAYS="0")
    place.clock.advance(48 * HOUR)
    place.until(0.1)
    assert (place.tend(), place.work()) == (1, 1)
    place.until(23.9)
    CHORES["forget_jobs"].run(place.manifold, lambda: False)
    assert place.tend() == 0
    place.until(1)
    assert CHORES["forget_jobs"].run(place.manifold, lambda: False) == 1
    assert place.tend() == 1


def test_it_can_be_switched_off(make_manifold: MakeManifold) -> None:
    place = Place(make_manifold, "0")
    place.clock.advance(240 * HOUR)
    assert (place.tend(), place.jobs()) == (0, [])
