"""Changes without a working set. What is accepted can be read again by a process that was never told of it."""

from __future__ import annotations

from typing import Any

import pytest
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.domain.tree import MAX_TIME_NS, MIN_TIME_NS
from manifold_common.errors import AlreadyExists, InvalidInput, ManifoldError, NotFound, QuotaExceeded, UnsafePath
from manifold_common.ids import Generation
from manifold_common.services.projects.edits import Copy, Delete, Edit, MakeFolder, Move, PutFile, PutLink
from manifold_common.shapes.intent import Intent
from manifold_common.shapes.path import listed

from tests.support.manifold import MakeManifold
from tests.support.work import S1, cat, check_out, new_project, paths, put, reader

LONG = b"/".join([b"d" * 200] * 19)


@pytest.mark.parametrize("kind", [Move, Copy])
def test_a_folder_cannot_take_the_place_of_one_it_lies_in(
    make_manifold: MakeManifold, kind: type[Move] | type[Copy]
) -> None:
    manifold = make_manifold()
    project = new_project(manifold)
    put(manifold, project, b"a/b/c", b"one")
    for source, destination in ((b"a/b", b"a"), (b"a/b/c", b"a"), (b"a", b"a"), (b"a", b"a/b/d")):
        with pytest.raises(InvalidInput):
            manifold.edits.apply(LOCAL_PRINCIPAL, project, [kind(source, destination, overwrite=True)])
    assert paths(manifold, project) == {b"a", b"a/b", b"a/b/c"}


@pytest.mark.parametrize("kind", [Move, Copy])
def test_no_path_becomes_longer_than_a_reader_takes(make_manifold: MakeManifold, kind: type[Move] | type[Copy]) -> None:
    """Once published, a commit that cannot be decoded would lock everyone out of the project."""
    manifold = make_manifold()
    project = new_project(manifold)
    put(manifold, project, b"a/" + LONG + b"/f", b"one")
    with pytest.raises(UnsafePath):
        manifold.edits.apply(LOCAL_PRINCIPAL, project, [kind(b"a", b"e" * 250 + b"/" + b"e" * 250)])
    assert len(paths(make_manifold(node="b"), project)) == 21


@pytest.mark.parametrize("target", [b"", b"a\0b", b"t" * 4096, b"t" * 100_000])
def test_a_link_that_no_reader_would_take_is_refused(make_manifold: MakeManifold, target: bytes) -> None:
    manifold = make_manifold()
    project = new_project(manifold, a=b"one")
    with pytest.raises(InvalidInput):
        manifold.edits.apply(LOCAL_PRINCIPAL, project, [PutLink(b"link", target)])
    assert paths(make_manifold(node="b"), project) == {b"a"}


def test_the_longest_link_and_the_longest_path_go_all_the_way(make_manifold: MakeManifold) -> None:
    manifold = make_manifold()
    project = new_project(manifold)
    deepest = b"/".join([b"d"] * 2047) + b"/"
    edits: list[Edit] = [
        PutLink(b"link", b"t" * 4095),
        PutFile(deepest + b"f", reader(b"deep")),
        PutFile(b"n" * 255, reader(b"name")),
    ]
    manifold.edits.apply(LOCAL_PRINCIPAL, project, edits)
    other = make_manifold(node="b")
    assert cat(other, project, deepest + b"f") == b"deep"


@pytest.mark.parametrize("time_ns", [1 << 63, 1 << 80, -(1 << 63) - 1, -(1 << 80), MAX_TIME_NS, MIN_TIME_NS, 0, -1])
def test_a_time_beyond_what_the_format_holds_is_kept_as_the_nearest(make_manifold: MakeManifold, time_ns: int) -> None:
    manifold = make_manifold()
    project = new_project(manifold)
    edits: list[Edit] = [
        PutFile(b"f", reader(b"x"), mtime_ns=time_ns),
        PutLink(b"l", b"f", mtime_ns=time_ns),
        MakeFolder(b"d", mtime_ns=time_ns),
    ]
    manifold.edits.apply(LOCAL_PRINCIPAL, project, edits)
    tree = make_manifold(node="b").history.snapshot(LOCAL_PRINCIPAL, project).tree
    assert {tree[path].mtime_ns for path in (b"f", b"l", b"d")} == {max(MIN_TIME_NS, min(time_ns, MAX_TIME_NS))}


BAD: list[tuple[Edit, type[ManifoldError]]] = [
    (PutFile(b"../a", reader(b"x")), UnsafePath),
    (PutFile(b"/a", reader(b"x")), UnsafePath),
    (PutFile(b"a/./b", reader(b"x")), UnsafePath),
    (PutFile(b"a//b", reader(b"x")), UnsafePath),
    (PutFile(b"a\0", reader(b"x")), UnsafePath),
    (PutFile(b"", reader(b"x")), UnsafePath),
    (PutFile(b"n" * 256, reader(b"x")), UnsafePath),
    (PutFile(b"one/below", reader(b"x")), InvalidInput),
    (PutFile(b"folder", reader(b"x")), InvalidInput),
    (PutFile(b"one", reader(b"x"), create_only=True), AlreadyExists),
    (PutLink(b"folder", b"x"), InvalidInput),
    (PutLink(b"../x", b"x"), UnsafePath),
    (MakeFolder(b"one"), InvalidInput),
    (MakeFolder(b"one/below"), InvalidInput),
    (Delete(b"absent"), NotFound),
    (Delete(b"folder"), InvalidInput),
    (Delete(b"one/below"), NotFound),
    (Move(b"absent", b"x"), NotFound),
    (Move(b"one", b"two"), AlreadyExists),
    (Move(b"one", b"../x"), UnsafePath),
    (Move(b"one", b"two/x"), InvalidInput),
    (Copy(b"absent", b"x"), NotFound),
    (Copy(b"one", b"/x"), UnsafePath),
]


@pytest.mark.parametrize("number", range(len(BAD)))
def test_of_edits_that_do_not_all_fit_none_is_made(make_manifold: MakeManifold, number: int) -> None:
    bad, error = BAD[number]
    manifold = make_manifold()
    project = new_project(manifold, one=b"1", two=b"2")
    put(manifold, project, b"folder/f", b"3")
    before = manifold.history.snapshot(LOCAL_PRINCIPAL, project).tree
    with pytest.raises(error):
        manifold.edits.apply(LOCAL_PRINCIPAL, project, [PutFile(b"first", reader(b"x")), bad])
    head = manifold.history.snapshot(LOCAL_PRINCIPAL, project)
    assert head.head.generation == 2
    assert head.tree == before


def test_a_folder_moves_with_all_that_is_in_it_and_nothing_beside_it(make_manifold: MakeManifold) -> None:
    manifold = make_manifold()
    project = new_project(manifold)
    for path in (b"a/x", b"a/b/y", b"ab/z", b"a.b"):
        put(manifold, project, path, path)
    manifold.edits.apply(LOCAL_PRINCIPAL, project, [Move(b"a", b"new/a")])
    assert paths(manifold, project) == {b"new", b"new/a", b"new/a/x", b"new/a/b", b"new/a/b/y", b"ab", b"ab/z", b"a.b"}
    assert cat(manifold, project, b"new/a/b/y") == b"a/b/y"


def test_a_restore_of_a_path_that_is_a_folder_now_brings_the_file_back(make_manifold: MakeManifold) -> None:
    manifold = make_manifold()
    project = new_project(manifold, a=b"file")
    manifold.edits.apply(LOCAL_PRINCIPAL, project, [Delete(b"a"), PutFile(b"a/b", reader(b"below"))])
    manifold.edits.restore(LOCAL_PRINCIPAL, project, Generation(1), [b"a"])
    assert paths(manifold, project) == {b"a"}
    manifold.edits.restore(LOCAL_PRINCIPAL, project, Generation(2), [b"a/b"])
    assert paths(manifold, project) == {b"a", b"a/b"}
    assert cat(make_manifold(node="b"), project, b"a/b") == b"below"


def test_a_restore_never_moves_the_head_back(make_manifold: MakeManifold) -> None:
    manifold = make_manifold()
    project = new_project(manifold, a=b"one")
    put(manifold, project, b"a", b"two")
    done = manifold.edits.restore(LOCAL_PRINCIPAL, project, Generation(1))
    assert done.generation == 3
    assert [cat(manifold, project, b"a", n) for n in (1, 2, 3)] == [b"one", b"two", b"one"]
    done = manifold.edits.restore(LOCAL_PRINCIPAL, project, Generation(0))
    assert (done.generation, done.paths, paths(manifold, project)) == (4, listed([b"a"]), set())


def test_a_restore_of_the_empty_generation_leaves_a_project_that_can_be_read(make_manifold: MakeManifold) -> None:
    manifold = make_manifold()
    project = new_project(manifold, a=b"one")
    manifold.edits.restore(LOCAL_PRINCIPAL, project, Generation(0))
    other = make_manifold(node="b")
    assert paths(other, project) == set()
    put(other, project, b"b", b"two")
    third = make_manifold(node="c")
    assert (paths(third, project), paths(third, project, 2), paths(third, project, 1)) == ({b"b"}, set(), {b"a"})


def test_what_is_committed_with_words_no_record_can_hold_changes_nothing(make_manifold: MakeManifold) -> None:
    manifold = make_manifold()
    project = new_project(manifold, a=b"one")
    deep: dict[str, object] = {}
    for _ in range(100):
        deep = {"deeper": deep}
    said: list[dict[str, Any]] = [
        {"message": "x" * 100_000},
        {"message": "\udcff"},
        {"provenance": {"x": "y" * 300_000}},
        {"provenance": {"x": float("nan")}},
        {"provenance": {"x": 1 << 70}},
        {"provenance": {"x": {1: 2}}},
        {"provenance": {"x": object()}},
        {"provenance": deep},
    ]
    for words in said:
        with pytest.raises(InvalidInput):
            manifold.edits.apply(LOCAL_PRINCIPAL, project, [PutFile(b"b", reader(b"x"))], Intent(**words))
    assert paths(make_manifold(node="b"), project) == {b"a"}


def test_the_deepest_tree_can_be_checked_out_changed_and_closed(make_manifold: MakeManifold) -> None:
    manifold = make_manifold()
    project = new_project(manifold)
    folder = b"/".join([b"d"] * 1900)
    put(manifold, project, folder + b"/f", b"deep")
    work = check_out(manifold, project)
    (work / "shallow").write_bytes(b"x")
    status = manifold.sessions.status(LOCAL_PRINCIPAL, S1)
    assert [found.path for found in status.differences] == [b"shallow"]
    assert manifold.commits.commit(LOCAL_PRINCIPAL, S1).generation == 2
    put(manifold, project, folder + b"/g", b"deep too")
    check_out(manifold)
    manifold.sessions.close(LOCAL_PRINCIPAL, S1)
    assert not work.exists()


def test_folders_copied_into_each_other_are_stopped_before_they_fill_the_memory(
    make_manifold: MakeManifold, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("manifold_common.services.projects.tree_editor.MAX_MOVED_ENTRIES", 10_000)
    manifold = make_manifold()
    project = new_project(manifold)
    put(manifold, project, b"one/file", b"x")
    put(manifold, project, b"two/file", b"x")
    head = manifold.projects.get(LOCAL_PRINCIPAL, project)
    copies = [
        Copy(source, destination + b"/%d" % number)
        for number in range(50)
        for source, destination in ((b"one", b"two"), (b"two", b"one"))
    ]
    with pytest.raises(QuotaExceeded, match="in several commits"):
        manifold.edits.apply(LOCAL_PRINCIPAL, project, copies)
    assert manifold.projects.get(LOCAL_PRINCIPAL, project) == head


def test_many_folders_are_moved_and_removed_in_one_commit(make_manifold: MakeManifold) -> None:
    """Looking through the whole tree for each of them would take minutes."""
    manifold = make_manifold()
    project = new_project(manifold)
    names = [b"%05d" % number for number in range(10_000)]
    made = [MakeFolder(b"from/" + name + b"/inside") for name in names]
    manifold.edits.apply(LOCAL_PRINCIPAL, project, made)
    edits: list[Edit] = [Move(b"from/" + name, b"to/" + name) for name in names[::2]]
    edits += [Delete(b"from/" + name, recursive=True) for name in names[1::2]]
    edits += [Delete(b"to/" + name, recursive=True) for name in names[:9_998:2]]
    manifold.edits.apply(LOCAL_PRINCIPAL, project, edits)
    left = {path for path in paths(manifold, project) if path.startswith((b"from", b"to"))}
    assert left == {b"from", b"to", b"to/09998", b"to/09998/inside"}
