"""What every catalog promises of checkpoints, and of what is to be read for a generation."""

from __future__ import annotations

from datetime import timedelta

import pytest
from manifold_common.domain.history import Point
from manifold_common.errors import NotFound
from manifold_common.ids import CommitId, Generation
from manifold_common.ports.catalog import (
    Catalog,
    CheckpointRow,
)

from tests.contract.catalog_fixtures import (
    EMPTY_HEAD,
    NOW,
    TENANT,
    key,
    make_project,
    new_id,
)


def test_a_read_plan_without_checkpoints_is_the_whole_log_up_to_the_generation(catalog: Catalog) -> None:
    made = make_project(catalog)
    assert catalog.read_plan(TENANT, made.id) == (EMPTY_HEAD, 0, None, [], None, [])
    made.publish(4)
    assert catalog.read_plan(TENANT, made.id) == (made.head, 4, None, made.commits, NOW, [])
    assert catalog.read_plan(TENANT, made.id, Generation(2)) == (made.head, 2, None, made.commits[:2], NOW, [])
    assert catalog.read_plan(TENANT, made.id, Generation(0)) == (made.head, 0, None, [], None, [])


def test_a_read_plan_starts_at_the_newest_usable_checkpoint(catalog: Catalog) -> None:
    made = make_project(catalog)
    made.publish(6)
    two, four = (CheckpointRow(row.generation, row.commit, row.dek, 50) for row in (made.commits[1], made.commits[3]))
    catalog.add_checkpoint(TENANT, made.id, four)
    catalog.add_checkpoint(TENANT, made.id, two)
    assert catalog.list_checkpoints(TENANT, made.id) == [four, two]
    plan = catalog.read_plan
    assert plan(TENANT, made.id) == (made.head, 6, four, made.commits[4:], NOW, [])
    assert plan(TENANT, made.id, Generation(4)) == (made.head, 4, four, [], NOW, [])
    assert plan(TENANT, made.id, Generation(3)) == (made.head, 3, two, made.commits[2:3], NOW, [])
    assert plan(TENANT, made.id, Generation(1)) == (made.head, 1, None, made.commits[:1], NOW, [])


def test_a_read_plan_from_a_known_tree_has_only_what_came_after_it(catalog: Catalog) -> None:
    made = make_project(catalog)
    made.publish(6)
    four = CheckpointRow(Generation(4), made.commits[3].commit, made.keys[0].dek, 50)
    catalog.add_checkpoint(TENANT, made.id, four)

    def plan(generation: int, *known: int) -> object:
        points = [made.commits[number - 1].point for number in known]
        found = catalog.read_plan(TENANT, made.id, Generation(generation), known=points)
        assert found.known == points
        return found.checkpoint, [row.generation for row in found.commits]

    assert plan(6, 5) == (None, [6])
    assert plan(6, 4) == (None, [5, 6])
    assert plan(6, 3) == (four, [5, 6])
    assert plan(6) == (four, [5, 6])
    assert plan(3) == (None, [1, 2, 3])
    assert plan(6, 6) == (None, [])
    assert plan(3, 6) == (None, [1, 2, 3])  # the known tree is newer and of no use
    assert plan(5, 6) == (four, [5])
    assert plan(6, 3, 5) == (None, [6])  # of two the newer
    assert plan(4, 2, 5) == (four, [])
    assert plan(3, 2, 5) == (None, [3])


def test_what_is_known_is_compared_by_commit_and_not_by_number(catalog: Catalog) -> None:
    """After a restore from a backup, a node knows the same numbers of another history."""
    made, other = make_project(catalog), make_project(catalog, "other")
    made.publish(6)
    other.publish(8)
    mine = [row.point for row in made.commits]
    theirs = [row.point for row in other.commits]
    swapped = Point(mine[2].generation, mine[4].commit)
    for strange in (*theirs, swapped, Point(Generation(6), CommitId(new_id()))):
        found = catalog.read_plan(TENANT, made.id, known=[strange])
        assert (found.known, found.commits) == ([], made.commits)
        found = catalog.read_plan(TENANT, made.id, known=[strange, mine[3]])
        assert (found.known, found.commits) == ([mine[3]], made.commits[4:])
        found = catalog.read_plan(TENANT, made.id, Generation(2), known=[strange, mine[3]])
        assert (found.known, found.commits) == ([mine[3]], made.commits[:2])


def test_a_plan_says_when_its_generation_was_made(catalog: Catalog) -> None:
    made = make_project(catalog)
    for hours in range(1, 4):
        made.publish(commit=made.next_commit(created_at=NOW + timedelta(hours=hours)))
    assert made.head.committed_at == NOW + timedelta(hours=3)
    assert catalog.head(TENANT, made.id) == made.head
    assert catalog.get_project(TENANT, made.id).head == made.head
    for generation in range(1, 4):
        known = [row.point for row in made.commits[:generation]]
        for points in ([], known):
            plan = catalog.read_plan(TENANT, made.id, Generation(generation), known=points)
            assert plan.committed_at == NOW + timedelta(hours=generation)


def test_a_read_plan_beyond_the_head_is_not_found(catalog: Catalog) -> None:
    made = make_project(catalog)
    made.publish()
    for generation in (-1, 2, 2**60):
        with pytest.raises(NotFound):
            catalog.read_plan(TENANT, made.id, Generation(generation))


def test_a_second_checkpoint_of_a_generation_replaces_the_first(catalog: Catalog) -> None:
    made = make_project(catalog)
    made.publish()
    new_key = key(made.id, epoch=1)
    assert catalog.begin_epoch(new_key, made.head)
    for dek, size in ((made.keys[0].dek, 50), (new_key.dek, 60)):
        catalog.add_checkpoint(TENANT, made.id, CheckpointRow(Generation(1), made.commits[0].commit, dek, size))
    assert catalog.list_checkpoints(TENANT, made.id) == [
        CheckpointRow(Generation(1), made.commits[0].commit, new_key.dek, 60)
    ]


def test_a_checkpoint_of_a_commit_that_is_not_there_is_refused(catalog: Catalog) -> None:
    made = make_project(catalog)
    made.publish(2)
    for generation, commit in [(3, CommitId(new_id())), (1, made.commits[1].commit)]:
        with pytest.raises(NotFound):
            catalog.add_checkpoint(TENANT, made.id, CheckpointRow(Generation(generation), commit, made.keys[0].dek, 1))
    assert catalog.list_checkpoints(TENANT, made.id) == []
