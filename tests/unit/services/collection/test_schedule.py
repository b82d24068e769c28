"""A collection of everything is started when its time has come, by one of all nodes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from manifold_common.adapters.memory.catalog import MemoryCatalog
from manifold_common.adapters.memory.clock import ManualClock
from manifold_common.bootstrap import Manifold
from manifold_common.bootstrap.chores import CHORES
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.domain.job import JobFilter, JobState
from manifold_common.shapes.jobs import Job

from tests.support.manifold import MakeManifold

HOUR = 3600.0
pytestmark = pytest.mark.in_memory("moves the clock by days")


class Place:
    def __init__(self, make_manifold: MakeManifold, hours: int = 24, **variables: str) -> None:
        self.clock = ManualClock()
        catalog = MemoryCatalog(clock=self.clock)
        variables["PROJECTS_MAINTENANCE_COLLECTION_HOURS"] = str(hours)
        self.nodes: list[Manifold] = [
            make_manifold(node=node, clock=self.clock, catalog=catalog, **variables) for node in ("a", "b")
        ]
        self.manifold = self.nodes[0]
        self.manifold.projects.create(LOCAL_PRINCIPAL, "demo")

    def tend(self, node: int = 0) -> int:
        return CHORES["collect_garbage"].run(self.nodes[node], lambda: False)

    def lose_the_key_of_a_project(self) -> None:
        """Have the key of another project wrapped by a provider that is gone."""
        project = self.manifold.projects.create(LOCAL_PRINCIPAL, "locked").id
        (record,) = self.manifold.context.catalog.project_keys(LOCAL_PRINCIPAL.tenant, project)
        gone = record.wrapped._replace(provider="vault")
        assert self.manifold.context.catalog.replace_wrapped_key(record, gone) == gone
        for node in self.nodes:
            node.context.keys.forget(LOCAL_PRINCIPAL.tenant, project)

    def work(self) -> None:
        for _ in range(3):
            self.manifold.job_worker.run(["collect"])
            self.clock.advance(15.1)  # what met something away rests

    def jobs(self) -> list[Job]:
        return self.manifold.jobs.page(LOCAL_PRINCIPAL, JobFilter(kind="collect"))


def test_it_is_started_once_in_its_time_by_whichever_node(make_manifold: MakeManifold) -> None:
    place = Place(make_manifold)
    assert (place.tend(), place.tend(1), place.tend()) == (1, 0, 0)
    place.work()
    assert [job.state for job in place.jobs()] == [JobState.DONE]
    place.clock.advance(23.9 * HOUR)
    assert (place.tend(), place.tend(1)) == (0, 0)
    place.clock.advance(0.2 * HOUR)
    assert (place.tend(1), place.tend()) == (1, 0)
    assert len(place.jobs()) == 2


def test_of_nodes_at_once_one_starts_it(make_manifold: MakeManifold) -> None:
    place = Place(make_manifold)
    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(lambda number: place.tend(number % 2), range(32))) == 1
    assert len(place.jobs()) == 1


def test_one_that_goes_on_is_not_doubled_however_long_that_takes(make_manifold: MakeManifold) -> None:
    place = Place(make_manifold)
    place.tend()
    place.clock.advance(100 * HOUR)
    assert place.tend() == 0 and len(place.jobs()) == 1


def test_a_project_whose_key_is_gone_holds_up_no_collection_of_the_others(make_manifold: MakeManifold) -> None:
    place = Place(make_manifold)
    place.lose_the_key_of_a_project()
    place.tend()
    place.work()
    (first,) = place.jobs()
    assert (first.state, first.skipped, first.pending) == (JobState.RUNNING, 1, 1), "the other was looked at"
    place.clock.advance(23.9 * HOUR)
    assert place.tend() == 0 and [job.state for job in place.jobs()] == [first.state], (
        "waited for until the next is due"
    )
    place.clock.advance(0.2 * HOUR)
    assert (place.tend(), place.tend(1)) == (1, 0)
    place.work()
    assert [job.state for job in place.jobs()] == [JobState.RUNNING, JobState.CANCELLED]
    assert [job.skipped for job in place.jobs()] == [1, 1], "the next one has looked at the other, too"
    for _ in range(5):
        place.clock.advance(24.1 * HOUR)
        place.tend()
        place.work()
    states = [job.state for job in place.jobs()]
    assert states == [JobState.RUNNING] + [JobState.CANCELLED] * 6, "they do not pile up"


def test_one_that_is_paused_holds_up_the_next_no_longer_than_until_that_is_due(make_manifold: MakeManifold) -> None:
    place = Place(make_manifold)
    place.tend()
    (job,) = place.jobs()
    place.manifold.jobs.pause(LOCAL_PRINCIPAL, job.id)
    place.clock.advance(23.9 * HOUR)
    assert place.tend() == 0
    place.clock.advance(0.2 * HOUR)
    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(lambda number: place.tend(number % 2), range(32))) == 1
    assert [job.state for job in place.jobs()] == [JobState.RUNNING, JobState.CANCELLED]


def test_a_collection_of_a_single_project_does_not_count(make_manifold: MakeManifold) -> None:
    place = Place(make_manifold)
    for number in range(101):
        project = place.manifold.projects.create(LOCAL_PRINCIPAL, f"project {number}").id
        place.manifold.jobs.start(LOCAL_PRINCIPAL, "collect", {"project": project})
    assert place.tend() == 1
    place.clock.advance(1)
    for number in range(101):
        project = place.manifold.projects.create(LOCAL_PRINCIPAL, f"later {number}").id
        place.manifold.jobs.start(LOCAL_PRINCIPAL, "collect", {"project": project})
    place.manifold.jobs.cancel(LOCAL_PRINCIPAL, next(job.id for job in _every(place) if not job.params))
    assert place.tend() == 0, "it was started, behind a page of others"


def _every(place: Place) -> list[Job]:
    return place.manifold.jobs.page(LOCAL_PRINCIPAL, JobFilter(kind="collect"), limit=1000)


def test_zero_hours_turn_it_off(make_manifold: MakeManifold) -> None:
    place = Place(make_manifold, 0)
    place.clock.advance(1000 * HOUR)
    assert place.tend() == 0 and place.jobs() == []


def test_the_last_one_is_known_for_long_enough_even_where_no_jobs_are_kept(make_manifold: MakeManifold) -> None:
    place = Place(make_manifold, PROJECTS_MAINTENANCE_JOBS_KEPT_DAYS="0")
    place.tend()
    place.work()
    for _ in range(23):
        place.clock.advance(HOUR)
        place.manifold.jobs.forget()
        assert place.tend() == 0
    place.clock.advance(2 * HOUR)
    place.manifold.jobs.forget()
    assert place.tend() == 1


def test_it_is_not_begun_when_no_time_is_left(make_manifold: MakeManifold) -> None:
    place = Place(make_manifold)
    assert CHORES["collect_garbage"].run(place.manifold, lambda: True) == 0
    assert place.jobs() == []
