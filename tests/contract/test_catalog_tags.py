"""What every catalog promises of tags: a name for a generation, moved only from where it was seen."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from manifold_common.domain.history import Point
from manifold_common.domain.tag import MAX_TAGS
from manifold_common.errors import NotFound, QuotaExceeded
from manifold_common.ids import CommitId, Generation, TagName
from manifold_common.ports.catalog import Catalog, OutboxEvent, TagRow, TagSet

from tests.contract.catalog_fixtures import (
    LATER,
    NO_PROJECT,
    NOW,
    OTHER_TENANT,
    OTHER_USER,
    TENANT,
    USER,
    Made,
    SettableClock,
    all_events,
    everything,
    make_project,
    new_id,
)

NAME, OTHER = TagName("release-1"), TagName("Release-1")
TAGGED, UNTAGGED = OutboxEvent("manifold.test.tagged", {"n": 1}), OutboxEvent("manifold.test.untagged", {"n": 2})
NOWHERE = Point(Generation(1), CommitId("a" * 26))


@pytest.fixture
def made(catalog: Catalog) -> Made:
    made = make_project(catalog)
    made.publish(3)
    return made


def at(made: Made, generation: int) -> Point:
    return made.commits[generation - 1].point


def put(
    catalog: Catalog, made: Made, point: Point, expected: Point | None = None, name: TagName = NAME
) -> TagSet | None:
    return catalog.set_tag(made.tenant, made.id, name, point, USER, TAGGED, expected=expected)


def row(made: Made, point: Point, name: TagName = NAME) -> TagRow:
    assert point.commit is not None
    return TagRow(made.tenant, made.id, name, point.generation, point.commit, USER, NOW, NOW)


def test_a_tag_is_made_found_and_listed(catalog: Catalog, made: Made) -> None:
    assert catalog.find_tag(TENANT, made.id, NAME) is None
    assert catalog.list_tags(TENANT, made.id) == []
    assert put(catalog, made, at(made, 2)) == TagSet(row(made, at(made, 2)), is_changed=True)
    assert catalog.find_tag(TENANT, made.id, NAME) == row(made, at(made, 2))
    assert catalog.list_tags(TENANT, made.id) == [row(made, at(made, 2))]
    event = all_events(catalog)[-1]
    assert (event.type, event.project, event.generation, event.data) == (TAGGED.type, made.id, 3, {"n": 1})


def test_names_are_told_apart_by_case_and_listed_byte_by_byte(catalog: Catalog, made: Made) -> None:
    names = [TagName(name) for name in ("a", "B", "a-1", "a.1", "a_1", "ab", NAME, OTHER)]
    for name in names:
        put(catalog, made, at(made, 1), name=name)
    assert [one.name for one in catalog.list_tags(TENANT, made.id)] == sorted(names)
    pages, last = [], ""
    while page := catalog.list_tags(TENANT, made.id, after_name=last, limit=3):
        pages.append([one.name for one in page])
        last = page[-1].name
    assert [name for page in pages for name in page] == sorted(names)
    assert [len(page) for page in pages] == [3, 3, 2]


def test_a_tag_is_moved_from_where_it_was_seen(catalog: Catalog, made: Made, clock: SettableClock) -> None:
    put(catalog, made, at(made, 1))
    clock.time = LATER
    moved = catalog.set_tag(TENANT, made.id, NAME, at(made, 3), OTHER_USER, TAGGED, expected=at(made, 1))
    wanted = replace(row(made, at(made, 3)), user=OTHER_USER, moved_at=LATER)
    assert moved == TagSet(wanted, is_changed=True)
    assert catalog.find_tag(TENANT, made.id, NAME) == wanted
    assert [event.type for event in all_events(catalog)][-2:] == [TAGGED.type] * 2


def test_each_move_is_later_than_the_one_before_and_tells_states_apart(
    catalog: Catalog, made: Made, clock: SettableClock
) -> None:
    """Also within one microsecond, or when the clock is put back."""

    def move(to: int, at_: int, since: datetime | None) -> TagSet | None:
        return catalog.set_tag(
            TENANT, made.id, NAME, at(made, to), USER, TAGGED, expected=at(made, at_), moved_at=since
        )

    times = [NOW]
    put(catalog, made, at(made, 1))
    for to, seen, time in ((2, 1, NOW), (1, 2, NOW), (2, 1, NOW - timedelta(days=1)), (1, 2, LATER)):
        clock.time = time
        done = move(to, seen, times[-1])
        assert done is not None and done.is_changed
        times.append(done.row.moved_at)
    assert times == sorted(set(times)) and times[-1] == LATER
    before = everything(catalog, made)
    for since in times[:-1]:
        assert move(3, 1, since) is None
        assert not catalog.remove_tag(TENANT, made.id, NAME, UNTAGGED, expected=at(made, 1), moved_at=since)
    assert not catalog.remove_tag(TENANT, made.id, NAME, UNTAGGED, expected=at(made, 2), moved_at=LATER)
    assert everything(catalog, made) == before
    assert catalog.remove_tag(TENANT, made.id, NAME, UNTAGGED, expected=at(made, 1), moved_at=LATER)


@pytest.mark.parametrize("expected", [None, 2, "nowhere"])
def test_a_tag_that_is_elsewhere_stays_there(catalog: Catalog, made: Made, expected: int | str | None) -> None:
    put(catalog, made, at(made, 1))
    before = everything(catalog, made)
    seen = {None: None, 2: at(made, 2), "nowhere": NOWHERE}[expected]
    assert put(catalog, made, at(made, 3), seen) is None
    assert catalog.list_tags(TENANT, made.id) == [row(made, at(made, 1))]
    assert everything(catalog, made) == before


def test_what_is_not_there_is_not_moved(catalog: Catalog, made: Made) -> None:
    before = everything(catalog, made)
    assert put(catalog, made, at(made, 3), at(made, 1)) is None
    assert catalog.list_tags(TENANT, made.id) == []
    assert everything(catalog, made) == before


@pytest.mark.parametrize("expected", [None, 1, 2])
def test_a_tag_that_is_there_already_is_left_as_it_is(
    catalog: Catalog, made: Made, clock: SettableClock, expected: int | None
) -> None:
    put(catalog, made, at(made, 2))
    before = everything(catalog, made)
    clock.time = LATER
    seen = None if expected is None else at(made, expected)
    assert put(catalog, made, at(made, 2), seen) == TagSet(row(made, at(made, 2)), is_changed=False)
    assert everything(catalog, made) == before


def test_only_what_the_project_has_can_be_tagged(catalog: Catalog, made: Made) -> None:
    other = make_project(catalog, "other")
    other.publish()
    before = everything(catalog, made)
    for point in (
        NOWHERE,
        Point(Generation(4), made.commits[-1].commit),
        Point(Generation(2), made.commits[0].commit),
        Point(Generation(0)),
        Point(Generation(1)),
        at(other, 1),
    ):
        with pytest.raises(NotFound):
            put(catalog, made, point)
    for tenant, project in ((OTHER_TENANT, made.id), (TENANT, NO_PROJECT)):
        with pytest.raises(NotFound):
            catalog.set_tag(tenant, project, NAME, at(made, 1), USER, TAGGED, expected=None)
        with pytest.raises(NotFound):
            catalog.list_tags(tenant, project)
        with pytest.raises(NotFound):
            catalog.remove_tag(tenant, project, NAME, UNTAGGED, expected=at(made, 1))
        assert catalog.find_tag(tenant, project, NAME) is None
    assert everything(catalog, made) == before
    assert catalog.list_tags(TENANT, made.id) == []


def test_a_tag_is_removed_from_where_it_was_seen(catalog: Catalog, made: Made) -> None:
    put(catalog, made, at(made, 2))
    before = everything(catalog, made)
    for expected in (at(made, 1), NOWHERE):
        assert not catalog.remove_tag(TENANT, made.id, NAME, UNTAGGED, expected=expected)
    assert not catalog.remove_tag(TENANT, made.id, OTHER, UNTAGGED, expected=at(made, 2))
    assert everything(catalog, made) == before
    assert catalog.remove_tag(TENANT, made.id, NAME, UNTAGGED, expected=at(made, 2))
    assert catalog.find_tag(TENANT, made.id, NAME) is None
    event = all_events(catalog)[-1]
    assert (event.type, event.generation, event.data) == (UNTAGGED.type, 3, {"n": 2})
    assert not catalog.remove_tag(TENANT, made.id, NAME, UNTAGGED, expected=at(made, 2))


def test_tags_of_a_deleted_project_are_not_seen(catalog: Catalog, made: Made) -> None:
    put(catalog, made, at(made, 1))
    catalog.delete_project(TENANT, made.id, OutboxEvent("manifold.test", {}))
    count = len(all_events(catalog))
    assert catalog.find_tag(TENANT, made.id, NAME) is None
    with pytest.raises(NotFound):
        catalog.list_tags(TENANT, made.id)
    with pytest.raises(NotFound):
        put(catalog, made, at(made, 2), at(made, 1))
    with pytest.raises(NotFound):
        catalog.remove_tag(TENANT, made.id, NAME, UNTAGGED, expected=at(made, 1))
    assert len(all_events(catalog)) == count


def test_a_fork_begins_without_tags(catalog: Catalog, made: Made) -> None:
    put(catalog, made, at(made, 1))
    fork = make_project(catalog, "fork", fork_of=(made.id, Generation(1)))
    assert catalog.list_tags(TENANT, fork.id) == []


def test_a_project_has_so_many_tags_and_no_more(catalog: Catalog, made: Made) -> None:
    for number in range(MAX_TAGS):
        put(catalog, made, at(made, 1), name=TagName(f"t{number}"))
    count = len(all_events(catalog))
    with pytest.raises(QuotaExceeded):
        put(catalog, made, at(made, 1))
    assert catalog.find_tag(TENANT, made.id, NAME) is None
    assert len(all_events(catalog)) == count
    assert len(catalog.list_tags(TENANT, made.id)) == MAX_TAGS
    first = TagName("t0")
    moved = put(catalog, made, at(made, 2), at(made, 1), first)
    assert moved is not None and moved.is_changed
    assert put(catalog, made, at(made, 3), name=first) is None
    catalog.remove_tag(TENANT, made.id, first, UNTAGGED, expected=at(made, 2))
    assert put(catalog, made, at(made, 1)) is not None
    other = make_project(catalog, "other")
    other.publish()
    assert put(catalog, other, at(other, 1)) is not None


@pytest.mark.parametrize("begins", [None, 1])
def test_of_those_that_set_it_at_the_same_moment_one_does(catalog: Catalog, begins: int | None) -> None:
    made = make_project(catalog)
    made.publish(9)
    if begins is not None:
        put(catalog, made, at(made, begins))
    before = len(all_events(catalog))
    barrier = threading.Barrier(8)

    def work(number: int) -> TagSet | None:
        barrier.wait()
        return put(catalog, made, at(made, number + 2), None if begins is None else at(made, begins))

    with ThreadPoolExecutor(8) as threads:
        done = [one for one in threads.map(work, range(8)) if one is not None]
    assert [one.is_changed for one in done] == [True]
    assert catalog.list_tags(TENANT, made.id) == [done[0].row]
    assert len(all_events(catalog)) == before + 1


def test_of_those_that_remove_it_at_the_same_moment_one_does(catalog: Catalog, made: Made) -> None:
    put(catalog, made, at(made, 1))
    barrier = threading.Barrier(8)

    def work(_: int) -> bool:
        barrier.wait()
        return catalog.remove_tag(TENANT, made.id, NAME, UNTAGGED, expected=at(made, 1))

    with ThreadPoolExecutor(8) as threads:
        assert sorted(threads.map(work, range(8))) == [False] * 7 + [True]
    assert [event.type for event in all_events(catalog)].count(UNTAGGED.type) == 1


def test_nothing_is_tagged_in_a_project_that_is_deleted_at_the_same_moment(catalog: Catalog) -> None:
    """Whichever comes first: no event of a tag comes after that of the deletion."""
    for number in range(20):
        made = make_project(catalog, f"project {number}")
        made.publish()
        barrier = threading.Barrier(2)

        def tag(made: Made = made, barrier: threading.Barrier = barrier) -> bool:
            barrier.wait()
            try:
                return put(catalog, made, at(made, 1), name=TagName(f"t-{new_id()}")) is not None
            except NotFound:
                return False

        def delete(made: Made = made, barrier: threading.Barrier = barrier) -> None:
            barrier.wait()
            catalog.delete_project(TENANT, made.id, OutboxEvent("manifold.test.deleted", {}))

        with ThreadPoolExecutor(2) as threads:
            tagged, deleted = threads.submit(tag), threads.submit(delete)
            deleted.result()
            types = [event.type for event in all_events(catalog) if event.project == made.id][2:]
            assert types == [TAGGED.type] * tagged.result() + ["manifold.test.deleted"]
