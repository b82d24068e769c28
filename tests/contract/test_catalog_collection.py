"""Generations leave the history only where nothing stands on them, and objects only in the order that is safe."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from manifold_common.domain.garbage import Cause, Garbage
from manifold_common.domain.history import Point
from manifold_common.domain.keys import Encryption
from manifold_common.domain.listing import CommitFilter
from manifold_common.errors import ContentCollected, NotFound
from manifold_common.ids import CommitId, DekId, Generation, ObjectId, ProjectId, SessionId, TagName
from manifold_common.ports.catalog import Catalog, CheckpointRow, Condemned, GarbageTotal, Moment, ProjectRow, Standing

from tests.contract.catalog_fixtures import (
    EMPTY_HEAD,
    EVENT,
    NO_PROJECT,
    NOW,
    OTHER_TENANT,
    SESSION,
    TENANT,
    TTL,
    USER,
    Made,
    draft,
    key,
    make_plain,
    make_project,
    new_id,
    session,
)

PACK = "packs/" + "x" * 26


def generations(*numbers: int) -> list[Generation]:
    return [Generation(number) for number in numbers]


def checkpoint(made: Made, generation: int, dek: DekId | None = None, gc_epoch: int = 0) -> CheckpointRow:
    commit = made.commits[generation - 1]
    row = CheckpointRow(commit.generation, commit.commit, dek or commit.dek, 10, ObjectId(new_id()))
    made.catalog.add_checkpoint(made.tenant, made.id, row, gc_epoch=gc_epoch)
    return row


def remove(made: Made, *numbers: int) -> bool:
    return made.catalog.remove_generations(made.tenant, made.id, generations(*numbers), EVENT)


def kept(made: Made) -> list[int]:
    return [row.generation for row in made.catalog.list_commits(made.tenant, made.id)][::-1]


def epoch(made: Made) -> int:
    return made.catalog.head(made.tenant, made.id).gc_epoch


def suspect(made: Made, *objects: str, family: list[ProjectId] | None = None) -> dict[ProjectId, int]:
    found = [(made.id, Garbage(one, 7, Cause.ORPHAN)) for one in objects]
    return made.catalog.suspect(made.tenant, family or [made.id], found)


def moment(made: Made) -> Moment:
    return Moment(epoch(made), made.catalog.holdings(made.tenant, made.id).removals)


def settle(made: Made, cleared: list[str], condemned: list[str], *others: Made) -> bool:
    family = {one.id: moment(one) for one in (made, *others)}
    return settle_at(made, family, cleared, condemned)


def settle_at(made: Made, family: dict[ProjectId, Moment], cleared: list[str], condemned: list[str]) -> bool:
    named = [[(made.id, one) for one in some] for some in (cleared, condemned)]
    return made.catalog.settle(made.tenant, family, *named)


@pytest.fixture
def made(catalog: Catalog) -> Made:
    made = make_project(catalog)
    made.publish(6)
    return made


# --- generations --------------------------------------------------------------------------------------------------


def test_removed_generations_are_gone_and_the_next_is_read_from_its_checkpoint(made: Made) -> None:
    row = checkpoint(made, 4)
    assert remove(made, 1, 2, 3)
    assert kept(made) == [4, 5, 6]
    plan = made.catalog.read_plan(made.tenant, made.id)
    assert plan.checkpoint == row and [one.generation for one in plan.commits] == [5, 6]
    for generation in generations(1, 2, 3):
        with pytest.raises(NotFound, match="removed by retention"):
            made.catalog.read_plan(made.tenant, made.id, generation)
        with pytest.raises(NotFound, match="removed by retention"):
            made.catalog.commit_at(made.tenant, made.id, generation)
    with pytest.raises(NotFound, match="no commit of generation 7"):
        made.catalog.commit_at(made.tenant, made.id, Generation(7))


def test_a_generation_is_not_left_without_its_predecessor_and_a_checkpoint(made: Made) -> None:
    assert not remove(made, 1, 2, 3)
    checkpoint(made, 3)
    assert not remove(made, 1, 2, 3) and not remove(made, 4, 5)
    checkpoint(made, 6)
    assert remove(made, 4, 5) and kept(made) == [1, 2, 3, 6]
    assert remove(made, 1, 2) and kept(made) == [3, 6]
    assert remove(made, 3) and kept(made) == [6]


def test_the_head_is_never_removed(made: Made) -> None:
    assert not remove(made, 6) and not remove(made, 1, 2, 3, 4, 5, 6)
    assert kept(made) == [1, 2, 3, 4, 5, 6]


def test_what_a_tag_a_session_or_a_draft_stands_on_is_not_removed(made: Made) -> None:
    for generation in (2, 3, 4, 5, 6):
        checkpoint(made, generation)
    tagged, based, drafted = (made.commits[number - 1] for number in (1, 3, 5))
    made.catalog.set_tag(
        TENANT, made.id, TagName("v1"), Point(tagged.generation, tagged.commit), USER, EVENT, expected=None
    )
    made.catalog.open_session(session(made, base_generation=based.generation, base_commit=based.commit), ttl=TTL)
    other = session(made, session=SessionId("s2"))
    made.catalog.open_session(other, ttl=TTL)
    made.catalog.save_draft(
        TENANT, USER, SessionId("s2"),
        draft(made, generation=Generation(6), parent=drafted.commit), ttl=TTL,
    )  # fmt: skip
    assert not remove(made, 1) and not remove(made, 3) and not remove(made, 5) and not remove(made, 1, 2)
    assert made.catalog.holdings(TENANT, made.id).pinned >= {1, 3, 5}
    assert remove(made, 2) and remove(made, 4)
    made.catalog.close_session(TENANT, USER, SESSION)
    assert remove(made, 3)


def test_nobody_comes_to_stand_on_what_was_removed(made: Made) -> None:
    gone = made.commits[0]
    checkpoint(made, 2)
    assert remove(made, 1)
    with pytest.raises(NotFound):
        made.catalog.open_session(session(made, base_generation=gone.generation, base_commit=gone.commit), ttl=TTL)
    with pytest.raises(NotFound):
        made.catalog.set_tag(
            TENANT, made.id, TagName("v1"), Point(gone.generation, gone.commit), USER, EVENT, expected=None
        )
    with pytest.raises(NotFound):
        made.catalog.add_checkpoint(
            TENANT, made.id, CheckpointRow(gone.generation, gone.commit, gone.dek, 1, ObjectId(new_id()))
        )


def test_whoever_has_seen_a_removed_generation_is_not_told_that_history_was_replaced(made: Made) -> None:
    checkpoint(made, 3)
    seen = made.commits[1].point
    forged = Point(seen.generation, CommitId(new_id()))
    assert remove(made, 1, 2)
    plan = made.catalog.read_plan(made.tenant, made.id, known=[seen, forged])
    assert list(plan.known) == [seen]
    assert plan.checkpoint is not None and plan.checkpoint.generation == 3


def test_hashes_of_removed_generations_stay(made: Made) -> None:
    before = made.catalog.record_hashes(made.tenant, made.id, Generation(6))
    assert before == [row.record_hash for row in made.commits]
    checkpoint(made, 3)
    remove(made, 1, 2)
    assert made.catalog.record_hashes(made.tenant, made.id, Generation(6)) == before
    assert made.catalog.record_hashes(made.tenant, made.id, Generation(2)) == before[:2]


def test_where_history_begins_is_told_with_how_often_it_changed(made: Made) -> None:
    assert made.catalog.history_starts(made.tenant, made.id) == (0, [])
    checkpoint(made, 3), checkpoint(made, 6)
    remove(made, 1, 2)
    remove(made, 4, 5)
    assert made.catalog.history_starts(made.tenant, made.id) == (2, [3, 6])
    with pytest.raises(NotFound):
        made.catalog.history_starts(OTHER_TENANT, made.id)


def test_commits_of_a_time_are_found_over_gaps(made: Made) -> None:
    late = made.publication()
    late = replace(late, commit=replace(late.commit, created_at=late.commit.created_at + timedelta(days=1)))
    head = made.catalog.publish_commit(late)
    assert head is not None
    checkpoint(made, 6)
    remove(made, 1, 2, 3, 4, 5)
    since = CommitFilter(since=late.commit.created_at)
    until = CommitFilter(until=late.commit.created_at)
    assert [row.generation for row in made.catalog.list_commits(TENANT, made.id, wanted=since)] == [7]
    assert [row.generation for row in made.catalog.list_commits(TENANT, made.id, wanted=until)] == [6]


def test_a_removal_is_an_event(made: Made) -> None:
    checkpoint(made, 2)
    before = len(made.catalog.list_events(project=(TENANT, made.id)))
    assert remove(made, 1)
    assert not remove(made, 6)
    assert len(made.catalog.list_events(project=(TENANT, made.id))) == before + 1


def test_that_something_recent_was_removed_is_known(made: Made) -> None:
    recorded = made.catalog.commit_at(TENANT, made.id, Generation(1)).recorded_at
    assert recorded is not None
    assert not made.catalog.was_removed(TENANT, made.id, recorded)
    checkpoint(made, 2)
    remove(made, 1)
    assert made.catalog.was_removed(TENANT, made.id, recorded)
    assert not made.catalog.was_removed(TENANT, made.id, recorded + timedelta(days=1))


# --- families -----------------------------------------------------------------------------------------------------


def test_a_family_is_a_project_with_all_its_forks_alive_or_not(catalog: Catalog, made: Made) -> None:
    fork = make_project(catalog, "fork", fork_of=(made.id, Generation(2)))
    second = make_project(catalog, "fork of it", fork_of=(fork.id, Generation(0)))
    alone = make_project(catalog, "alone")
    catalog.delete_project(TENANT, fork.id, EVENT)
    assert catalog.family_of(TENANT, second.id) == catalog.family_of(TENANT, made.id) == made.id
    members = catalog.fork_family(TENANT, made.id)
    assert [(one.project, one.standing) for one in members] == sorted(
        [(made.id, Standing.ALIVE), (fork.id, Standing.DELETED), (second.id, Standing.ALIVE)]
    )
    mine = [family for family in catalog.fork_families() if family[1] in (made.id, fork.id, second.id, alone.id)]
    assert mine == sorted([(TENANT, made.id), (TENANT, alone.id)])
    assert catalog.fork_families(after=mine[0], limit=1) == [mine[1]]
    for tenant, project in ((OTHER_TENANT, made.id), (TENANT, NO_PROJECT)):
        with pytest.raises(NotFound):
            catalog.family_of(tenant, project)
        with pytest.raises(NotFound):
            catalog.holdings(tenant, project)


def test_holdings_are_all_that_there_is_of_a_project_also_when_it_was_deleted(catalog: Catalog, made: Made) -> None:
    row = checkpoint(made, 3)
    found = catalog.holdings(TENANT, made.id)
    assert [one.generation for one in found.commits] == [1, 2, 3, 4, 5, 6]
    assert list(found.checkpoints) == [row] and found.standing is Standing.ALIVE
    assert [key.dek for key in found.keys] == [key.dek for key in made.keys]
    assert found.head.point == made.head.point
    catalog.delete_project(TENANT, made.id, EVENT)
    gone = catalog.holdings(TENANT, made.id)
    assert gone.standing is Standing.DELETED and len(gone.commits) == 6 and list(gone.checkpoints) == [row]


# --- objects ------------------------------------------------------------------------------------------------------


def test_to_suspect_moves_the_epoch_of_the_whole_family(catalog: Catalog, made: Made) -> None:
    fork = make_project(catalog, "fork", fork_of=(made.id, Generation(2)))
    alone = make_project(catalog, "alone")
    assert suspect(made, PACK, family=[made.id, fork.id]) == {made.id: 1, fork.id: 1}
    assert (epoch(made), epoch(fork), epoch(alone)) == (1, 1, 0)


def test_what_was_read_before_the_epoch_moved_is_not_published(made: Made) -> None:
    publication = made.publication()
    suspect(made, PACK)
    assert made.catalog.publish_commit(publication) is None
    assert made.catalog.head(TENANT, made.id).generation == 6
    base = made.catalog.head(TENANT, made.id)
    head = made.catalog.publish_commit(made.publication(base=base))
    assert head is not None and (head.generation, head.gc_epoch) == (7, 1)


def test_nor_is_it_saved_as_a_draft_or_a_checkpoint(made: Made) -> None:
    made.catalog.open_session(session(made), ttl=TTL)
    suspect(made, PACK)
    saved = draft(made)
    with pytest.raises(ContentCollected):
        made.catalog.save_draft(TENANT, USER, SESSION, saved, ttl=TTL)
    with pytest.raises(ContentCollected):
        checkpoint(made, 3)
    with pytest.raises(ContentCollected):
        made.catalog.open_session(session(made, session=SessionId("s2"), draft=saved), ttl=TTL)
    made.catalog.open_session(session(made, session=SessionId("s3")), ttl=TTL)
    made.catalog.save_draft(TENANT, USER, SESSION, saved, ttl=TTL, gc_epoch=1)
    view = made.catalog.view_session(TENANT, USER, SESSION)
    assert view is not None and view.session.draft is not None and view.head.gc_epoch == 1


def test_nor_is_it_forked(catalog: Catalog, made: Made) -> None:
    stale = make_project(catalog, "stale", keys=None)
    first = stale.publication(base=stale.head._replace(gc_epoch=0))
    suspect(made, PACK)
    fork = ProjectId(new_id())
    keys = [key(fork)]
    first = replace(first, project=fork, commit=replace(first.commit, dek=keys[0].dek))
    row = ProjectRow(TENANT, fork, USER, "fork", EMPTY_HEAD, 0, 0, NOW, NOW, Encryption.of(keys))
    with pytest.raises(ContentCollected):
        catalog.create_project(row, keys, EVENT, fork_of=(made.id, Generation(6)), first=first)
    fresh = replace(first, base=first.base._replace(gc_epoch=1))
    catalog.create_project(row, keys, EVENT, fork_of=(made.id, Generation(6)), first=fresh)
    assert catalog.head(TENANT, fork).gc_epoch == 1


def test_suspects_are_cleared_or_condemned_and_only_the_condemned_go(made: Made) -> None:
    other = "packs/" + "y" * 26
    suspect(made, PACK, other)
    asked = [(made.id, PACK), (made.id, other), (NO_PROJECT, PACK)]
    assert made.catalog.condemned_among(TENANT, made.id, asked) == (1, {(made.id, PACK), (made.id, other)})
    assert made.catalog.condemned_objects(-60) == []
    found = made.catalog.holdings(TENANT, made.id)
    assert [one.object for one in sorted(found.suspected)] == [PACK, other] and not found.listed
    assert settle(made, [PACK], [other])
    assert made.catalog.condemned_among(TENANT, made.id, asked) == (1, {(made.id, other)})
    assert made.catalog.condemned_among(TENANT, made.id, []) == (1, set())
    assert made.catalog.condemned_objects(60) == []
    assert made.catalog.condemned_objects(-60) == [Condemned(TENANT, made.id, other, 7)]
    assert made.catalog.garbage_of(TENANT, [made.id]) == [GarbageTotal(made.id, Cause.ORPHAN, 1, 7)]
    assert made.catalog.garbage_of(OTHER_TENANT, [made.id]) == []
    settle(made, [other], [])  # what is condemned is not cleared any more
    assert made.catalog.holdings(TENANT, made.id).listed == {other}
    made.catalog.forget_condemned(made.catalog.condemned_objects(-60))
    assert made.catalog.condemned_among(TENANT, made.id, asked) == (1, set())
    made.catalog.forget_condemned([Condemned(TENANT, made.id, other, 7)])


def test_nothing_is_condemned_once_others_have_suspected_something_of_the_family(catalog: Catalog, made: Made) -> None:
    fork = make_project(catalog, "fork", fork_of=(made.id, Generation(2)))
    suspect(made, PACK, family=[made.id, fork.id])
    family = {made.id: moment(made), fork.id: moment(fork)}
    suspect(fork, family=[fork.id])
    assert not settle_at(made, family, [PACK], []) and not settle_at(made, family, [], [PACK])
    assert [one.object for one in catalog.holdings(TENANT, made.id).suspected] == [PACK]
    assert settle(made, [], [PACK], fork) and catalog.holdings(TENANT, made.id).listed == {PACK}


def test_nothing_is_condemned_once_generations_are_removed_or_checkpoints_replaced(made: Made) -> None:
    suspect(made, PACK)
    before = moment(made)
    checkpoint(made, 3, gc_epoch=1)
    assert settle_at(made, {made.id: before}, [], [])
    checkpoint(made, 3, gc_epoch=1)
    replaced = moment(made)
    assert not settle_at(made, {made.id: before}, [], [PACK]) and replaced.removals == before.removals + 1
    assert remove(made, 1, 2)
    assert not settle_at(made, {made.id: replaced}, [], [PACK])
    assert settle(made, [], [PACK])


def test_nothing_is_condemned_once_encryption_has_begun_and_other_checkpoints_count(catalog: Catalog) -> None:
    made = make_plain(catalog)
    suspect(made, PACK)
    before = moment(made)
    assert catalog.begin_epoch(key(made.id, epoch=1), made.catalog.head(TENANT, made.id))
    assert not settle_at(made, {made.id: before}, [], [PACK])


def test_nothing_is_condemned_where_a_project_of_the_family_never_was(made: Made) -> None:
    suspect(made, PACK)
    assert not settle_at(made, {made.id: moment(made), NO_PROJECT: Moment(0, 0)}, [], [PACK])


def test_a_suspected_object_is_not_forgotten(made: Made) -> None:
    suspect(made, PACK)
    made.catalog.forget_condemned([Condemned(TENANT, made.id, PACK, 7)])
    assert made.catalog.condemned_among(TENANT, made.id, [(made.id, PACK)])[1] == {(made.id, PACK)}


def test_what_is_condemned_is_not_suspected_again(made: Made) -> None:
    suspect(made, PACK)
    settle(made, [], [PACK])
    suspect(made, PACK)
    found = made.catalog.holdings(TENANT, made.id)
    assert found.listed == {PACK} and not found.suspected and epoch(made) == 2


def test_what_a_collection_saw_is_noted_with_the_leader(made: Made) -> None:
    assert made.catalog.holdings(TENANT, made.id).collected is None
    made.catalog.note_collected(TENANT, made.id, b"state")
    assert made.catalog.holdings(TENANT, made.id).collected == b"state"
