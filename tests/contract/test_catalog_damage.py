"""What every catalog promises of damaged objects: kept until they are found whole, and no more than so many."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from manifold_common.ids import Generation
from manifold_common.ports.catalog import MAX_DAMAGED, Catalog, FoundDamage

from tests.contract.catalog_fixtures import EVENT, NO_PROJECT, OTHER_TENANT, TENANT, Made, make_project

A, B = FoundDamage("t/a", "it is missing", Generation(3)), FoundDamage("t/b", "it is short", None)


@pytest.fixture
def made(catalog: Catalog) -> Made:
    return make_project(catalog)


def told(catalog: Catalog, made: Made) -> list[FoundDamage]:
    rows = catalog.damaged_objects(TENANT, made.id)
    return [FoundDamage(row.object, row.reason, row.first_generation) for row in rows]


def test_what_is_found_is_kept_by_name(catalog: Catalog, made: Made) -> None:
    assert catalog.damaged_objects(TENANT, made.id) == []
    catalog.note_damage(TENANT, made.id, [B, A])
    assert told(catalog, made) == [A, B]
    assert all(row.found_at == row.seen_at for row in catalog.damaged_objects(TENANT, made.id))
    assert [row.object for row in catalog.damaged_objects(TENANT, made.id, limit=1)] == ["t/a"]
    assert [row.object for row in catalog.damaged_objects(TENANT, made.id, after="t/a")] == ["t/b"]
    assert catalog.damaged_objects(OTHER_TENANT, made.id) == []
    assert catalog.damaged_objects(TENANT, make_project(catalog, name="another").id) == []


def test_the_head_says_so(catalog: Catalog, made: Made) -> None:
    def said() -> set[bool]:
        plan = catalog.read_plan(TENANT, made.id)
        return {catalog.head(TENANT, made.id).is_damaged, plan.head.is_damaged}

    other = make_project(catalog, name="another").id
    assert said() == {False}
    catalog.note_damage(TENANT, made.id, [A, B])
    assert said() == {True}
    assert not catalog.head(TENANT, other).is_damaged
    assert catalog.get_project(TENANT, made.id).head.is_damaged
    catalog.note_damage(TENANT, made.id, [B], catalog.damaged_objects(TENANT, made.id)[:1])
    assert said() == {True}
    catalog.note_damage(TENANT, made.id, [], catalog.damaged_objects(TENANT, made.id))
    assert said() == {False}


def test_what_is_found_again_keeps_its_beginning(catalog: Catalog, made: Made) -> None:
    catalog.note_damage(TENANT, made.id, [A, B])
    before = catalog.damaged_objects(TENANT, made.id)[0]
    catalog.note_damage(TENANT, made.id, [A._replace(reason="it is short", first_generation=Generation(5))])
    after = catalog.damaged_objects(TENANT, made.id)[0]
    assert after.seen_at > before.seen_at
    assert after == replace(before, reason="it is short", seen_at=after.seen_at)
    catalog.note_damage(
        TENANT, made.id, [A._replace(first_generation=Generation(2)), B._replace(first_generation=A[2])]
    )
    assert [row.first_generation for row in catalog.damaged_objects(TENANT, made.id)] == [2, 3]


def test_what_is_whole_is_forgotten_unless_it_was_seen_since(catalog: Catalog, made: Made) -> None:
    catalog.note_damage(TENANT, made.id, [A, B])
    seen = catalog.damaged_objects(TENANT, made.id)
    catalog.note_damage(TENANT, made.id, [B])
    catalog.note_damage(TENANT, made.id, [], seen)
    assert told(catalog, made) == [B]
    catalog.note_damage(TENANT, made.id, [A], catalog.damaged_objects(TENANT, made.id))
    assert told(catalog, made) == [A]


def test_so_many_are_kept_and_those_that_are_known_stay(catalog: Catalog, made: Made) -> None:
    many = [FoundDamage(f"t/{number:05}", "gone", None) for number in range(MAX_DAMAGED + 10)]
    catalog.note_damage(TENANT, made.id, many[5:])
    kept = catalog.damaged_objects(TENANT, made.id, limit=2 * MAX_DAMAGED)
    assert [row.object for row in kept] == [one.object for one in many[5 : MAX_DAMAGED + 5]]
    catalog.note_damage(TENANT, made.id, many)
    again = catalog.damaged_objects(TENANT, made.id, limit=2 * MAX_DAMAGED)
    assert [row.object for row in again] == [row.object for row in kept]
    assert all(now.seen_at > then.seen_at for now, then in zip(again, kept, strict=True))
    catalog.note_damage(TENANT, made.id, many[:7], again[-5:])
    told_now = catalog.damaged_objects(TENANT, made.id, limit=2 * MAX_DAMAGED)
    assert [row.object for row in told_now] == [one.object for one in many[:MAX_DAMAGED]]


def test_they_are_counted_where_projects_live(catalog: Catalog, made: Made) -> None:
    other = make_project(catalog, name="other")
    catalog.note_damage(TENANT, made.id, [A, B])
    catalog.note_damage(TENANT, other.id, [A])
    assert catalog.count_damaged() == 3
    catalog.delete_project(TENANT, other.id, EVENT)
    assert catalog.count_damaged() == 2
    catalog.note_damage(TENANT, other.id, [B])
    catalog.note_damage(TENANT, NO_PROJECT, [B])
    catalog.note_damage(OTHER_TENANT, made.id, [B])
    assert catalog.count_damaged() == 2


def test_several_write_down_the_same_at_once(catalog: Catalog, made: Made) -> None:
    many = [FoundDamage(f"t/{number:03}", "gone", None) for number in range(100)]
    running = []
    with ThreadPoolExecutor(8) as threads:
        for number in range(40):
            some = many[number:] if number % 2 else many[:number:-1]
            whole = [row for row in catalog.damaged_objects(TENANT, made.id) if row.object < f"t/{number:03}"]
            running.append(threads.submit(catalog.note_damage, TENANT, made.id, some, whole))
    for one in running:
        one.result()
    catalog.note_damage(TENANT, made.id, many)
    assert told(catalog, made) == many
