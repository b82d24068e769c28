"""How long a project's history is kept, and what is said of that."""

from __future__ import annotations

from typing import Any

import pytest
from manifold_common.adapters.memory.catalog import MemoryCatalog
from manifold_common.adapters.memory.clock import ManualClock
from manifold_common.adapters.memory.object_store import MemoryObjectStore
from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import LOCAL_PRINCIPAL, Principal
from manifold_common.errors import InvalidInput, NotFound, PreconditionFailed
from manifold_common.ids import Generation, ProjectId, TagName, UserId
from manifold_common.shapes.garbage import PinnedGeneration, ProjectRetention

from tests.support.manifold import MakeManifold
from tests.support.work import S1, check_out, new_project, put

DAY = 24 * 3600.0
TENANT = LOCAL_PRINCIPAL.tenant
pytestmark = pytest.mark.in_memory("moves the clock by days")


class Place:
    """A project with a generation for each of ten days."""

    def __init__(self, make_manifold: MakeManifold, **variables: str) -> None:
        self.clock = clock = ManualClock()
        store, catalog = MemoryObjectStore(clock), MemoryCatalog(clock=clock)
        self.manifold: Manifold = make_manifold(clock=clock, store=store, catalog=catalog, **variables)
        self.project: ProjectId = new_project(self.manifold)
        for number in range(10):
            put(self.manifold, self.project, b"a", b"%d" % number)
            clock.advance(DAY)

    def get(self) -> ProjectRetention:
        return self.manifold.retention_settings.get(LOCAL_PRINCIPAL, self.project)

    def set(self, *rules: Any, **more: Any) -> ProjectRetention:
        return self.manifold.retention_settings.set(LOCAL_PRINCIPAL, self.project, *rules, **more)

    def collect(self) -> list[int]:
        """Return the generations that there are afterwards."""
        self.manifold.collector.collect(TENANT, self.project)
        return [row.generation for row in self.manifold.context.catalog.holdings(TENANT, self.project).commits]


def test_everything_is_kept_unless_somebody_says_otherwise(make_manifold: MakeManifold) -> None:
    place = Place(make_manifold)
    found = place.get()
    assert (found.generations, found.days, found.kept, found.oldest, found.due) == (None, None, 10, 1, 0)
    assert (found.in_force.generations, found.in_force.days, found.in_force.grace_seconds) == (0, 0, DAY)
    assert place.collect() == list(range(1, 11))


def test_a_generation_stays_while_any_rule_keeps_it(make_manifold: MakeManifold) -> None:
    place = Place(make_manifold)
    by_number = place.set(3)
    assert (by_number.due, by_number.first_due, by_number.last_due) == (7, 1, 7)
    by_age = place.set(None, 5)
    assert (by_age.due, by_age.first_due, by_age.last_due) == (5, 1, 5)
    both = place.set(3, 5)
    assert (both.due, both.generations, both.days) == (5, 3, 5)
    assert place.collect() == [6, 7, 8, 9, 10]
    after = place.get()
    assert (after.kept, after.oldest, after.due, after.first_due, after.last_due) == (5, 6, 0, None, None)


def test_the_deployment_decides_where_the_project_says_nothing(make_manifold: MakeManifold) -> None:
    place = Place(make_manifold, PROJECTS_RETENTION_GENERATIONS="4", PROJECTS_RETENTION_DAYS="0")
    assert (place.get().in_force.generations, place.get().due) == (4, 6)
    assert place.set(0, 0).due == 0, "a project may keep everything"
    assert place.set(None, 7).in_force.generations == 4
    assert place.set().due == 6
    assert place.collect() == [7, 8, 9, 10]


def test_what_stands_on_a_generation_is_named(make_manifold: MakeManifold) -> None:
    place = Place(make_manifold)
    for name, generation in (("b", 2), ("a", 2), ("new", 10)):
        place.manifold.tags.set(LOCAL_PRINCIPAL, place.project, TagName(name), Generation(generation))
    work = check_out(place.manifold, place.project)
    (work / "mine").write_bytes(b"saved")
    place.manifold.commits.save(LOCAL_PRINCIPAL, S1)
    put(place.manifold, place.project, b"b", b"11")
    place.clock.advance(2 * DAY)
    found = place.set(1)
    assert found.pinned == [
        PinnedGeneration(generation=Generation(2), tags=[TagName("a"), TagName("b")], sessions=[]),
        PinnedGeneration(generation=Generation(10), tags=[TagName("new")], sessions=[S1]),
    ]
    assert found.due == 8
    assert place.collect() == [2, 10, 11]


def test_what_is_younger_than_the_grace_stays_whatever_the_rules_say(make_manifold: MakeManifold) -> None:
    place = Place(make_manifold)
    place.clock.advance(1)
    put(place.manifold, place.project, b"a", b"now")
    put(place.manifold, place.project, b"a", b"again")
    assert place.set(1).due == 10
    assert place.collect() == [11, 12]
    place.clock.advance(2 * DAY)
    assert place.collect() == [12]


def test_each_change_is_an_event_and_a_revision_and_no_change_is_neither(make_manifold: MakeManifold) -> None:
    place = Place(make_manifold)
    before = place.manifold.projects.get(LOCAL_PRINCIPAL, place.project).revision
    place.set(5)
    place.set(5)
    place.set(None, 0)
    assert place.manifold.projects.get(LOCAL_PRINCIPAL, place.project).revision == before + 2
    said = [row for row in place.manifold.context.catalog.list_events() if row.type == "manifold.project.retention"]
    assert [(row.data["keep_generations"], row.data["keep_days"]) for row in said] == [(5, None), (None, 0)]


def test_what_was_removed_is_an_event_with_its_first_and_last(make_manifold: MakeManifold) -> None:
    place = Place(make_manifold)
    place.manifold.tags.set(LOCAL_PRINCIPAL, place.project, TagName("v"), Generation(4))
    place.set(3)
    place.collect()
    said = [row for row in place.manifold.context.catalog.list_events() if row.type == "manifold.project.trimmed"]
    assert [(row.data["first"], row.data["last"], row.data["generations"]) for row in said] == [(5, 7, 3), (1, 3, 3)]


@pytest.mark.parametrize(
    "rules", [(-1,), (None, -1), (True,), (1.5,), ("5",), (1_000_000_001,), (None, 36_501), (None, 2**60)]
)
def test_rules_that_make_no_sense_are_refused_and_change_nothing(
    make_manifold: MakeManifold, rules: tuple[Any, ...]
) -> None:
    place = Place(make_manifold)
    place.set(5, 6)
    with pytest.raises(InvalidInput):
        place.set(*rules)
    assert (place.get().generations, place.get().days) == (5, 6)


def test_the_largest_rules_can_be_lived_with(make_manifold: MakeManifold) -> None:
    place = Place(make_manifold)
    assert place.set(1_000_000_000, 36_500).due == 0
    assert len(place.collect()) == 10


def test_nobody_else_reads_or_sets_it(make_manifold: MakeManifold) -> None:
    place = Place(make_manifold)
    other = Principal(TENANT, UserId("mallory"))
    settings = place.manifold.retention_settings
    with pytest.raises(NotFound):
        settings.get(other, place.project)
    with pytest.raises(NotFound):
        settings.set(other, place.project, 1)
    assert place.get().generations is None


def test_it_is_set_on_the_state_that_was_seen(make_manifold: MakeManifold) -> None:
    place = Place(make_manifold)
    seen = place.manifold.projects.get(LOCAL_PRINCIPAL, place.project).version
    place.set(5, expected=seen)
    with pytest.raises(PreconditionFailed):
        place.set(6, expected=seen)
    assert place.get().generations == 5


def test_an_empty_project_has_nothing_to_be_removed(make_manifold: MakeManifold) -> None:
    place = Place(make_manifold)
    place.project = new_project(place.manifold, "empty")
    found = place.set(1)
    assert (found.kept, found.oldest, found.due, found.pinned) == (0, None, 0, [])
