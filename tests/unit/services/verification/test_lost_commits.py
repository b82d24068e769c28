"""A commit object that is lost is made anew where the tree after it is known: with the record that was published, or
not at all."""

from __future__ import annotations

import os
from collections.abc import Sequence

import pytest
from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.errors import CorruptObject
from manifold_common.ids import Generation, ProjectId
from manifold_common.services.projects.edits import PutFile, reading
from manifold_common.shapes.intent import Intent
from manifold_common.shapes.verification import RepairReport

from tests.support.damage import PACKED_BYTES, empty_cache, objects_of, write_checkpoint
from tests.support.manifold import MakeManifold
from tests.support.work import cat, check_out, committed, new_project, put, remove

TENANT = LOCAL_PRINCIPAL.tenant
WORDS = Intent("why it was done", {"z": {"model": "some", "cost": [1, 2.5, None]}, "a": "é"})


@pytest.fixture(params=["true", "false"], ids=["encrypted", "plain"])
def make(make_on_either: MakeManifold, request: pytest.FixtureRequest) -> MakeManifold:
    return lambda **more: make_on_either(PROJECTS_ENCRYPT=request.param, **more)


@pytest.fixture
def manifold(make: MakeManifold) -> Manifold:
    return make()


def commit_of(manifold: Manifold, project: ProjectId, generation: int) -> str:
    (found,) = (key for key in objects_of(manifold, project, "commits") if f"/{generation:012d}-" in key)
    return found


def repair(manifold: Manifold, project: ProjectId, *lost: str) -> RepairReport:
    manifold.context.store.delete(list(lost))
    empty_cache(manifold)
    manifold.context.log.forget(TENANT, project)
    return manifold.repair.run(LOCAL_PRINCIPAL, project, read_data=True)


def by(report: RepairReport) -> dict[str, str]:
    return {one.object: one.by.value for one in report.repaired}


def seen(manifold: Manifold, project: ProjectId, last: int) -> Sequence[object]:
    """Return all that there is to be read of a history."""
    known: dict[bytes, bytes] = {}
    log = [
        (one.generation, one.id, one.message, one.provenance) for one in manifold.history.log(LOCAL_PRINCIPAL, project)
    ]
    return [log, *(committed(manifold, project, generation, known) for generation in range(1, last + 1))]


def three(manifold: Manifold) -> ProjectId:
    """Return a project whose second generation has content in a pack, and words."""
    project = new_project(manifold, a=b"1")
    edits = [PutFile(b"sub/x", reading(os.urandom(PACKED_BYTES))), PutFile(b"empty", reading(b""))]
    manifold.edits.apply(LOCAL_PRINCIPAL, project, edits, intent=WORDS)
    put(manifold, project, b"sub/y", b"3")
    return project


def test_from_a_checkpoint_of_its_generation(manifold: Manifold, make: MakeManifold) -> None:
    project = three(manifold)
    write_checkpoint(manifold, project, Generation(2))
    lost, before = commit_of(manifold, project, 2), seen(manifold, project, 3)
    report = repair(manifold, project, lost)
    assert (report.ok, by(report)) == (True, {lost: "rebuilt"})
    new = make(node="new")
    assert seen(new, project, 3) == before
    assert new.verify.run(LOCAL_PRINCIPAL, project, read_data=True).ok


def test_from_a_fork_of_its_generation(manifold: Manifold, make: MakeManifold) -> None:
    project = three(manifold)
    manifold.forks.fork(LOCAL_PRINCIPAL, project, "fork", Generation(2))
    lost, before = commit_of(manifold, project, 2), seen(manifold, project, 3)
    report = repair(manifold, project, lost)
    assert (report.ok, by(report)) == (True, {lost: "rebuilt"})
    assert seen(make(node="new"), project, 3) == before


def test_content_that_can_be_read_of_it_is_not_given_up_with_it(manifold: Manifold, make: MakeManifold) -> None:
    project = new_project(manifold, a=b"1")
    whole, spoilt = os.urandom(200_000), os.urandom(200_000)  # each is a block of its own
    edits = [PutFile(b"whole", reading(whole)), PutFile(b"spoilt", reading(spoilt))]
    manifold.edits.apply(LOCAL_PRINCIPAL, project, edits)
    write_checkpoint(manifold, project, Generation(2))
    put(manifold, project, b"copy", whole)  # which refers to that very object
    put(manifold, project, b"copy", b"other")
    lost = commit_of(manifold, project, 2)
    data = bytearray(manifold.context.store.get(lost, max_bytes=1 << 20))
    assert len(data) > 400_000
    data[60] ^= 1  # of its record
    data[300_000] ^= 1
    manifold.context.store.put(lost, data)
    report = repair(manifold, project)
    assert (report.ok, by(report)) == (False, {})
    (left,) = report.left
    assert (left.object, left.paths) == (lost, ("spoilt",))
    new = make(node="new")
    assert cat(new, project, b"whole") == whole == cat(new, project, b"whole", 2) == cat(new, project, b"copy", 3)
    with pytest.raises(CorruptObject):
        cat(new, project, b"spoilt")


def test_of_a_fork_from_its_source(manifold: Manifold, make: MakeManifold) -> None:
    project = three(manifold)
    fork = manifold.forks.fork(LOCAL_PRINCIPAL, project, "fork", Generation(2)).id
    put(manifold, fork, b"more", b"x")
    lost, before = commit_of(manifold, fork, 1), seen(manifold, fork, 2)
    report = repair(manifold, fork, lost)
    assert (report.ok, by(report)) == (True, {lost: "rebuilt"})
    assert seen(make(node="new"), fork, 2) == before


def test_several_in_a_row_follow_from_each_other(manifold: Manifold) -> None:
    project = three(manifold)
    remove(manifold, project, b"sub/y")
    remove(manifold, project, b"empty")
    for generation in (4, 5):
        manifold.forks.fork(LOCAL_PRINCIPAL, project, f"fork {generation}", Generation(generation))
    lost, before = [commit_of(manifold, project, generation) for generation in (4, 5)], seen(manifold, project, 5)
    report = repair(manifold, project, *lost)
    assert (report.ok, by(report)) == (True, dict.fromkeys(lost, "rebuilt"))
    assert seen(manifold, project, 5) == before


def test_another_tree_is_not_taken_whoever_says_that_it_is_the_one(manifold: Manifold) -> None:
    project = three(manifold)
    fork = manifold.forks.fork(LOCAL_PRINCIPAL, project, "fork", Generation(2)).id
    put(manifold, fork, b"evil", b"x")
    manifold.forks.fork(LOCAL_PRINCIPAL, fork, "fork of it")
    manifold.projects.delete(LOCAL_PRINCIPAL, fork)
    lost = commit_of(manifold, project, 2)
    assert [one for _, one in manifold.context.catalog.forks_of(TENANT, project)] == [2]
    report = repair(manifold, project, lost)
    assert (report.ok, report.repaired, [one.object for one in report.left]) == (False, [], [lost])
    assert lost not in objects_of(manifold, project, "commits")


@pytest.mark.parametrize(
    "said",
    [{"project": "SELF", "generation": 10**18}, {"project": "SELF", "generation": -1}, {"project": "../x"}, "x", [1]],
    ids=str,
)
def test_what_a_commit_says_that_it_was_forked_from_is_not_believed(manifold: Manifold, said: object) -> None:
    project = new_project(manifold)
    if isinstance(said, dict) and said["project"] == "SELF":
        said["project"] = project
    edits = [PutFile(b"a", reading(os.urandom(PACKED_BYTES)))]
    manifold.edits.apply(LOCAL_PRINCIPAL, project, edits, intent=Intent("", {"forked_from": said}))
    put(manifold, project, b"b", b"2")
    lost = commit_of(manifold, project, 1)
    assert [one.object for one in repair(manifold, project, lost).left] == [lost]


def test_without_any_such_tree_it_stays_lost(manifold: Manifold) -> None:
    project = three(manifold)
    manifold.forks.fork(LOCAL_PRINCIPAL, project, "later", Generation(3))
    lost = commit_of(manifold, project, 2)
    assert not repair(manifold, project, lost).ok
    with pytest.raises(CorruptObject):
        committed(manifold, project, 3, {})


def test_content_that_was_within_it_is_lost_with_it_and_named_but_the_rest_can_be_read(manifold: Manifold) -> None:
    project, inside = new_project(manifold, a=b"1"), os.urandom(5000)
    put(manifold, project, b"inside", inside)
    put(manifold, project, b"b", b"2")
    manifold.forks.fork(LOCAL_PRINCIPAL, project, "fork", Generation(2))
    lost = commit_of(manifold, project, 2)
    report = repair(manifold, project, lost)
    assert (report.ok, [one.object for one in report.left]) == (False, [lost])
    assert report.left[0].paths == ("inside",)
    assert cat(manifold, project, b"b", 3) == b"2"
    again = manifold.repair.run(LOCAL_PRINCIPAL, project, read_data=True)
    assert (again.found, again.repaired, again.quarantined) == (1, [], []), "it is made once"


def test_content_that_was_within_it_comes_back_from_a_working_set(manifold: Manifold, make: MakeManifold) -> None:
    project = new_project(manifold, a=b"1")
    put(manifold, project, b"inside", os.urandom(5000))
    put(manifold, project, b"b", b"2")
    manifold.forks.fork(LOCAL_PRINCIPAL, project, "fork", Generation(2))
    check_out(manifold, project)
    lost, before = commit_of(manifold, project, 2), seen(manifold, project, 3)
    assert repair(manifold, project, lost).ok
    assert seen(make(node="new"), project, 3) == before
