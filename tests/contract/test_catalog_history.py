"""What every catalog promises of commits that were made, checkpoints, and what is needed to read a generation."""

from __future__ import annotations

from datetime import timedelta

import pytest
from manifold_common.domain.history import Point
from manifold_common.errors import AlreadyExists, NotFound
from manifold_common.ids import CommitId, Generation, RequestId
from manifold_common.ports.catalog import (
    Catalog,
    CheckpointRow,
    CommitRow,
)

from tests.contract.catalog_fixtures import (
    EMPTY_HEAD,
    EVENT,
    NOW,
    TENANT,
    everything,
    key,
    make_project,
    new_id,
)


def test_commits_are_listed_newest_first_beyond_a_thousand(catalog: Catalog) -> None:
    made = make_project(catalog)
    made.publish(1050)
    assert [row.generation for row in catalog.list_commits(TENANT, made.id)] == list(range(1050, 950, -1))
    assert catalog.list_commits(TENANT, made.id, limit=2000) == made.commits[::-1]
    paged: list[CommitRow] = []
    while page := catalog.list_commits(TENANT, made.id, before=paged[-1].generation if paged else None, limit=333):
        paged += page
    assert paged == made.commits[::-1]
    assert catalog.read_plan(TENANT, made.id).commits == made.commits


def test_list_commits_outside_of_the_history_is_empty(catalog: Catalog) -> None:
    made = make_project(catalog)
    made.publish(2)
    assert catalog.list_commits(TENANT, made.id, before=Generation(1)) == []
    assert catalog.list_commits(TENANT, made.id, before=Generation(0)) == []
    assert len(catalog.list_commits(TENANT, made.id, before=Generation(99))) == 2


def test_a_generation_without_a_commit_is_not_found(catalog: Catalog) -> None:
    made = make_project(catalog)
    made.publish()
    for generation in (-1, 0, 2, 2**40):
        with pytest.raises(NotFound):
            catalog.commit_at(TENANT, made.id, Generation(generation))
    assert catalog.find_commit(TENANT, made.id, CommitId(new_id())) is None


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


def test_the_catalog_itself_says_when_a_commit_was_recorded(catalog: Catalog) -> None:
    """Whatever the clock of whoever made the commit says, and whatever the row says that is handed in."""
    made = make_project(catalog)
    long_ago, far_ahead = NOW - timedelta(days=9000), NOW + timedelta(days=9000)
    for said in (long_ago, far_ahead):
        made.publish(commit=made.next_commit(created_at=said, recorded_at=said))
    rows = catalog.list_commits(TENANT, made.id)
    assert {row.created_at for row in rows} == {long_ago, far_ahead}
    for row in rows:
        assert row.recorded_at is not None
        assert NOW <= row.recorded_at < far_ahead
    assert rows[0].recorded_at >= rows[1].recorded_at  # type: ignore[operator]


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


# --- requests ---------------------------------------------------------------------------------------------------------

REQUEST = RequestId("r-1")


def test_the_commit_of_a_request_is_found_by_the_requests_name(catalog: Catalog) -> None:
    made = make_project(catalog)
    made.publish()
    named = made.next_commit(request=REQUEST)
    made.publish(commit=named)
    made.publish()
    assert catalog.find_request(TENANT, made.id, REQUEST) == named
    assert catalog.find_request(TENANT, made.id, RequestId("r-2")) is None
    assert catalog.commit_at(TENANT, made.id, Generation(2)) == named
    assert catalog.read_plan(TENANT, made.id).commits[1] == named


def test_a_request_makes_one_commit_at_most(catalog: Catalog) -> None:
    made = make_project(catalog)
    made.publish(commit=made.next_commit(request=REQUEST))
    before = everything(catalog, made)
    with pytest.raises(AlreadyExists):
        catalog.publish_commit(made.publication(made.next_commit(request=REQUEST)))
    assert everything(catalog, made) == before


def test_requests_of_two_projects_may_have_one_name(catalog: Catalog) -> None:
    for name in ("one", "two"):
        made = make_project(catalog, name)
        made.publish(commit=made.next_commit(request=REQUEST))
        found = catalog.find_request(TENANT, made.id, REQUEST)
        assert found is not None and found.commit == made.head.commit


def test_requests_of_a_deleted_project_are_not_found(catalog: Catalog) -> None:
    made = make_project(catalog)
    made.publish(commit=made.next_commit(request=REQUEST))
    catalog.delete_project(TENANT, made.id, EVENT)
    assert catalog.find_request(TENANT, made.id, REQUEST) is None
