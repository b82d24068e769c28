"""Content of damaged objects that stands elsewhere is read from there, in every generation that is kept."""

from __future__ import annotations

import os

import pytest
from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.errors import CorruptObject
from manifold_common.format.sealed import HEADER_BYTES
from manifold_common.ids import Generation, ProjectId
from manifold_common.services.projects.edits import PutFile, reading
from manifold_common.services.verification import mending
from manifold_common.shapes.verification import RepairReport

from tests.support.damage import PACKED_BYTES, empty_cache, flip, objects_of, write_checkpoint
from tests.support.garbage import collect
from tests.support.manifold import MakeManifold
from tests.support.work import cat, committed, new_project, put, remove

TENANT = LOCAL_PRINCIPAL.tenant


@pytest.fixture
def manifold(make_on_either: MakeManifold) -> Manifold:
    return make_on_either()


def get(manifold: Manifold, key: str) -> bytes:
    return bytes(manifold.context.store.get(key, max_bytes=1 << 30))


def repair(manifold: Manifold, project: ProjectId) -> RepairReport:
    """Repair without what this machine's cache has."""
    empty_cache(manifold)
    return manifold.repair.run(LOCAL_PRINCIPAL, project, read_data=True)


def repaired(report: RepairReport) -> dict[str, str]:
    return {one.object: one.by.value for one in report.repaired}


def forget(manifold: Manifold, project: ProjectId, generation: int) -> None:
    """Have whoever commits next know nothing of content that this generation does not have."""
    write_checkpoint(manifold, project, Generation(generation))
    manifold.context.log.forget(TENANT, project)


def new_pack(manifold: Manifold, project: ProjectId, path: bytes, data: bytes) -> str:
    before = objects_of(manifold, project, "packs")
    put(manifold, project, path, data)
    (new,) = objects_of(manifold, project, "packs") - before
    return new


def histories(manifold: Manifold, project: ProjectId, last: int) -> list[dict[bytes, tuple[int, bytes]]]:
    known: dict[bytes, bytes] = {}
    return [committed(manifold, project, generation, known) for generation in range(1, last + 1)]


def test_a_checkpoint_is_written_anew_from_those_before_it(manifold: Manifold, make_on_either: MakeManifold) -> None:
    project = new_project(manifold, a=b"1")
    keys = []
    for number in range(2, 8):
        put(manifold, project, b"f%d" % number, b"x")
        if number in (2, 4, 6):
            keys.append(write_checkpoint(manifold, project, Generation(number)))
    before = histories(manifold, project, 7)
    flip(manifold, keys[1])
    manifold.context.store.delete([keys[2]])
    bad = get(manifold, keys[1])
    report = repair(manifold, project)
    assert (report.ok, repaired(report)) == (True, {keys[1]: "log", keys[2]: "log"})
    assert [get(manifold, one) for one in report.quarantined] == [bad]
    assert histories(make_on_either(node="new"), project, 7) == before
    assert manifold.verify.damage(LOCAL_PRINCIPAL, project) == []
    assert collect(manifold, project) and keys[1] not in objects_of(manifold, project, "checkpoints")
    assert [get(manifold, one) for one in report.quarantined] == [bad], "no collection takes what was put aside"


def test_what_is_whole_of_a_pack_is_saved_from_it_and_the_rest_is_named(manifold: Manifold) -> None:
    project = new_project(manifold)
    files = {f"f{number}".encode(): os.urandom(600_000) for number in range(6)}
    manifold.edits.apply(LOCAL_PRINCIPAL, project, [PutFile(path, reading(data)) for path, data in files.items()])
    put(manifold, project, b"more", b"x")
    (pack,) = objects_of(manifold, project, "packs")
    flip(manifold, pack, HEADER_BYTES + 100)
    told = manifold.verify.run(LOCAL_PRINCIPAL, project, read_data=True)
    assert len(told.problems[0].paths) == 6
    report = repair(manifold, project)
    (left,) = report.left
    assert (report.ok, left.object, len(left.paths), report.rescued_bytes) == (False, pack, 1, 5 * 600_000)
    assert (left.first_generation, left.last_generation) == (1, 2)
    (lost,) = (path.encode() for path in left.paths)
    for path, data in files.items():
        if path == lost:
            with pytest.raises(CorruptObject):
                cat(manifold, project, path)
        else:
            assert cat(manifold, project, path) == data == cat(manifold, project, path, 1)
    flip(manifold, pack, HEADER_BYTES + 200)
    manifold.context.store.delete([pack])
    packs = objects_of(manifold, project, "packs")
    again = repair(manifold, project)
    assert [one.object for one in again.left] == [pack] and again.left[0].paths == left.paths
    assert again.rescued_bytes == 0
    assert objects_of(manifold, project, "packs") == packs, "what was saved is not saved twice"
    assert all(cat(manifold, project, path) == data for path, data in files.items() if path != lost)


def test_content_that_was_stored_again_later_is_read_from_there(
    manifold: Manifold, make_on_either: MakeManifold
) -> None:
    other, data = make_on_either(node="other"), os.urandom(PACKED_BYTES)
    project = new_project(manifold, a=b"1")
    first = new_pack(manifold, project, b"x", data)
    put(manifold, project, b"a", b"2")
    put(manifold, project, b"y", data)
    remove(manifold, project, b"x")
    remove(manifold, project, b"y")
    forget(manifold, project, 6)
    second = new_pack(manifold, project, b"z", data)
    before = histories(manifold, project, 7)
    assert histories(other, project, 7) == before
    flip(manifold, first)
    packs = objects_of(manifold, project, "packs")
    report = repair(manifold, project)
    assert (report.ok, repaired(report)) == (True, {first: "moved"})
    assert objects_of(manifold, project, "packs") == packs
    for node in (manifold, other, make_on_either(node="new")):
        assert histories(node, project, 7) == before
    assert manifold.verify.run(LOCAL_PRINCIPAL, project, read_data=True).ok
    assert not repair(manifold, project).found
    flip(manifold, second)
    assert {one.object for one in repair(manifold, project).left} == {second}


def test_content_of_small_commits_is_brought_back_too(manifold: Manifold, make_on_either: MakeManifold) -> None:
    project, data = new_project(manifold, a=b"1"), os.urandom(5000)
    put(manifold, project, b"x", data)
    remove(manifold, project, b"x")
    forget(manifold, project, 3)
    put(manifold, project, b"z", data)
    before = histories(manifold, project, 4)
    (commit,) = [key for key in objects_of(manifold, project, "commits") if f"/{2:012d}-" in key]
    flip(manifold, commit, -100)
    report = repair(manifold, project)
    assert (report.ok, repaired(report)) == (True, {commit: "moved"})
    assert histories(make_on_either(node="new"), project, 4) == before


@pytest.mark.parametrize("is_deleted", [False, True])
def test_what_a_fork_has_stored_for_itself_comes_back(
    manifold: Manifold, make_on_either: MakeManifold, is_deleted: bool
) -> None:
    data, also = os.urandom(PACKED_BYTES), os.urandom(PACKED_BYTES)
    project = new_project(manifold, a=b"1")
    fork = manifold.forks.fork(LOCAL_PRINCIPAL, project, "fork").id
    pack = new_pack(manifold, project, b"x", data)
    lost = new_pack(manifold, project, b"y", also)
    remove(manifold, project, b"x")
    new_pack(manifold, fork, b"of the fork", data)
    remove(manifold, fork, b"of the fork")
    if is_deleted:
        manifold.projects.delete(LOCAL_PRINCIPAL, fork)
    manifold.context.store.delete([pack, lost])
    report = repair(manifold, project)
    assert repaired(report) == {pack: "moved"}
    assert [(one.object, one.paths) for one in report.left] == [(lost, ("y",))]
    new = make_on_either(node="new")
    assert cat(new, project, b"x", 2) == cat(new, project, b"x", 3) == data


def test_a_fork_is_mended_by_what_its_source_has(manifold: Manifold, make_on_either: MakeManifold) -> None:
    data = os.urandom(PACKED_BYTES)
    project = new_project(manifold, a=b"1")
    fork = manifold.forks.fork(LOCAL_PRINCIPAL, project, "fork").id
    pack = new_pack(manifold, fork, b"x", data)
    new_pack(manifold, project, b"y", data)
    flip(manifold, pack)
    report = repair(manifold, fork)
    assert (report.ok, repaired(report)) == (True, {pack: "moved"})
    assert cat(make_on_either(node="new"), fork, b"x") == data


def test_a_session_goes_on_from_a_head_that_was_mended(manifold: Manifold, make_on_either: MakeManifold) -> None:
    other, data = make_on_either(node="other"), os.urandom(PACKED_BYTES)
    project = new_project(manifold, a=b"1")
    first = new_pack(manifold, project, b"x", data)
    put(manifold, project, b"y", data)
    remove(manifold, project, b"x")
    remove(manifold, project, b"y")
    forget(manifold, project, 5)
    new_pack(manifold, project, b"z", data)
    assert cat(other, project, b"z") == data
    put(other, project, b"copy", data)
    flip(manifold, first)
    assert repair(manifold, project).ok
    put(other, project, b"another", data)
    assert manifold.verify.run(LOCAL_PRINCIPAL, project, read_data=True).ok
    assert cat(make_on_either(node="new"), project, b"another") == data


def test_collection_keeps_what_a_repair_has_stored(manifold: Manifold, make_on_either: MakeManifold) -> None:
    project = new_project(manifold, a=b"1")
    fork = manifold.forks.fork(LOCAL_PRINCIPAL, project, "fork").id
    data, rest = os.urandom(PACKED_BYTES), {b"rest%d" % number: os.urandom(300_000) for number in range(8)}
    before = objects_of(manifold, project, "packs")
    every = {b"x": data} | rest
    manifold.edits.apply(LOCAL_PRINCIPAL, project, [PutFile(path, reading(one)) for path, one in every.items()])
    (pack,) = objects_of(manifold, project, "packs") - before
    manifold.edits.apply(LOCAL_PRINCIPAL, fork, [PutFile(path, reading(one)) for path, one in every.items()])
    put(manifold, project, b"more", b"x")
    manifold.context.store.delete([pack])
    assert repaired(repair(manifold, project)) == {pack: "moved"}
    for generations in (0, 1):
        collect(manifold, project, generations=generations)
        new = make_on_either(node=f"new{generations}")
        assert all(cat(new, project, path) == one for path, one in every.items())
        assert manifold.verify.run(LOCAL_PRINCIPAL, project, read_data=True).ok


def test_more_generations_than_are_mended_at_once_are_mended_one_after_another(
    manifold: Manifold, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mending, "_MOST_CHECKPOINTS", 2)
    data = os.urandom(PACKED_BYTES)
    project = new_project(manifold, a=b"1")
    pack = new_pack(manifold, project, b"x", data)
    for number in range(4):
        put(manifold, project, b"copy %d" % number, data)
    fork = manifold.forks.fork(LOCAL_PRINCIPAL, project, "fork", Generation(1)).id
    new_pack(manifold, fork, b"x", data)
    before = histories(manifold, project, 6)
    flip(manifold, pack)
    report = repair(manifold, project)
    assert (report.ok, repaired(report)) == (True, {pack: "moved"})
    assert histories(manifold, project, 6) == before
