"""``SIGKILL`` before and after every step that leaves a trace.

Afterwards a new process finds the project whole, at the old generation or the new one, finds the work that was in the
working set, and can do the same job again. ``MANIFOLD_TEST_EVERY_STEP=1`` tries each step; else a spread of them.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.errors import AlreadyExists
from manifold_common.ids import Generation, ProjectId

from tests.crash.victim import Job, Kill, Place, build, run
from tests.support.work import S1, Node, cat, check_out, look, new_project, paths, put, remove

STEPS_PER_KIND = 10_000 if os.environ.get("MANIFOLD_TEST_EVERY_STEP") else 7
BIG = bytes(range(256)) * 4096 * 3
_names = itertools.count(1)


@pytest.fixture
def place(tmp_path: Path, ram_folder: Path, postgres_dsn: str) -> Place:
    (tmp_path / "source" / "d").mkdir(parents=True)
    # Cuts fall elsewhere in each project: nothing repeats and nothing compresses, so it is one pack in all of them.
    (tmp_path / "source" / "d" / "big").write_bytes(os.urandom(3 << 20))
    (tmp_path / "source" / "f").write_bytes(b"imported")
    (tmp_path / "source" / "link").symlink_to("f")
    return Place(tmp_path, ram_folder, postgres_dsn)


@pytest.fixture
def manifold(place: Place) -> Iterator[Manifold]:
    made = build(place)
    yield made
    made.close()


def fresh(manifold: Manifold) -> ProjectId:
    """Return a project of two generations, and nobody's session."""
    manifold.sessions.close(LOCAL_PRINCIPAL, S1)
    project = new_project(manifold, f"project {next(_names)}", a=b"one", b=b"bee", c=b"sea")
    put(manifold, project, b"d/big", BIG)
    return project


def trees(manifold: Manifold, project: ProjectId) -> list[dict[bytes, Any]]:
    """Return the tree of every generation."""
    head = manifold.projects.get(LOCAL_PRINCIPAL, project).generation
    load = manifold.history.snapshot
    return [dict(load(LOCAL_PRINCIPAL, project, Generation(n)).tree) for n in range(head + 1)]


def kills(counts: dict[str, int]) -> list[Kill]:
    found = []
    for kind, count in counts.items():
        stride = max(1, -(-count // STEPS_PER_KIND))
        for at in range(1, count + 1, stride):
            found.append(Kill(kind, at))
            if kind != "files":
                found.append(Kill(kind, at, after=True))
    return found


def is_whole(place: Place, project: ProjectId) -> list[dict[bytes, Any]]:
    """Look with the eyes of a new process; return the trees."""
    fresh_eyes = build(place)
    try:
        found = trees(fresh_eyes, project)
        report = fresh_eyes.verify.run(LOCAL_PRINCIPAL, project, read_data=True)
        assert report.ok, report.problems
        return found
    finally:
        fresh_eyes.close()


def test_a_killed_import_is_wholly_there_or_not_at_all(place: Place, manifold: Manifold) -> None:
    counts = run(Job("import", fresh(manifold)), place)
    assert counts is not None
    for kill in kills(counts):
        project = fresh(manifold)
        before = trees(manifold, project)
        assert run(Job("import", project), place, kill) is None, kill
        after = is_whole(place, project)
        assert after[:3] == before, kill
        assert run(Job("import", project), place), kill
        assert is_whole(place, project)[3].keys() == {b"", b"d", b"d/big", b"f", b"link"}, kill
        assert len(is_whole(place, project)) == 4, kill


def edit(work: Path) -> dict[bytes, Node]:
    (work / "a").write_bytes(b"edited")
    (work / "b").unlink()
    (work / "c").unlink()
    (work / "c").mkdir()
    (work / "c" / "new").write_bytes(b"new" * 1000)
    (work / "d" / "big").write_bytes(BIG + b"more")
    (work / "link").symlink_to("a")
    return look(work)


def test_a_killed_commit_is_made_or_not_and_the_working_set_goes_on(place: Place, manifold: Manifold) -> None:
    project = fresh(manifold)
    edit(check_out(manifold, project))
    counts = run(Job("commit", project), place)
    assert counts is not None
    outcomes = set()
    for kill in kills(counts):
        project = fresh(manifold)
        expected = edit(work := check_out(manifold, project))
        before = trees(manifold, project)
        assert run(Job("commit", project), place, kill) is None, kill
        after = is_whole(place, project)
        assert after[:3] == before, kill
        assert len(after) in (3, 4), kill
        outcomes.add(len(after))
        assert look(work) == expected, kill
        # The same file is edited again: that must never be a conflict with the commit that was cut off.
        (work / "a").write_bytes(b"edited again")
        (work / "c" / "new").unlink()
        put(manifold, project, b"of others", b"x")
        assert run(Job("commit", project), place), kill
        last = is_whole(place, project)
        assert cat(manifold, project, b"a") == b"edited again", kill
        assert last[-1].keys() == {b"", b"a", b"c", b"d", b"d/big", b"link", b"of others"}, kill
        assert look(work).keys() == last[-1].keys() - {b""}, kill
    assert outcomes == {3, 4}


@pytest.mark.parametrize("lost", ["nothing", "ram"])
def test_a_killed_save_loses_no_draft(place: Place, manifold: Manifold, lost: str) -> None:
    project = fresh(manifold)
    edit(check_out(manifold, project))
    counts = run(Job("save", project), place)
    assert counts is not None
    for kill in kills(counts):
        project = fresh(manifold)
        first = edit(work := check_out(manifold, project))
        assert run(Job("save", project), place)
        (work / "a").write_bytes(b"edited more")
        second = look(work)
        assert run(Job("save", project), place, kill) is None, kill
        is_whole(place, project)
        if lost == "ram":
            manifold.working_sets.folders.wipe(
                manifold.working_sets.folders.locate(manifold.working_sets.folders.found()[0])
            )
            assert not work.exists()
        assert run(Job("checkout", project), place), kill
        assert look(work) in ([first, second] if lost == "ram" else [second]), kill


def test_a_killed_checkout_leaves_nothing_half_made(place: Place, manifold: Manifold) -> None:
    counts = run(Job("checkout", fresh(manifold)), place)
    assert counts is not None
    for kill in kills(counts):
        project = fresh(manifold)
        assert run(Job("checkout", project), place, kill) is None, kill
        assert run(Job("checkout", project), place), kill
        work = check_out(manifold)
        assert {path: node.content for path, node in look(work).items() if node.kind == "file"} == {
            b"a": b"one",
            b"b": b"bee",
            b"c": b"sea",
            b"d/big": BIG,
        }, kill
        assert manifold.sessions.status(LOCAL_PRINCIPAL, S1).differences == [], kill
        assert {path.name for path in work.parent.iterdir()} <= {"work", "state", "owner", "id", "lock", "clock"}, kill


def others(manifold: Manifold, project: ProjectId) -> None:
    put(manifold, project, b"a", b"two")
    put(manifold, project, b"e/f/g", b"new")
    remove(manifold, project, b"b")
    put(manifold, project, b"d/big", BIG[::-1])


@pytest.mark.parametrize("head_goes_on", [False, True])
def test_a_killed_refresh_is_finished_and_keeps_the_work(place: Place, manifold: Manifold, head_goes_on: bool) -> None:
    """Nothing that others deleted meanwhile comes back, and nothing conflicts that nobody here has touched."""
    project = fresh(manifold)
    check_out(manifold, project)
    others(manifold, project)
    counts = run(Job("checkout", project), place)
    assert counts is not None
    for kill in kills(counts):
        project = fresh(manifold)
        work = check_out(manifold, project)
        (work / "mine").write_bytes(b"mine")
        (work / "c").write_bytes(b"my sea")
        others(manifold, project)
        assert run(Job("checkout", project), place, kill) is None, kill
        if head_goes_on:
            put(manifold, project, b"a", b"three")
            remove(manifold, project, b"e/f/g")
        assert run(Job("checkout", project), place), kill
        found = {path: node.content for path, node in look(work).items() if node.kind == "file"}
        expected = {b"a": b"two", b"e/f/g": b"new", b"d/big": BIG[::-1], b"mine": b"mine", b"c": b"my sea"}
        if head_goes_on:
            expected[b"a"] = b"three"
            del expected[b"e/f/g"]
        assert found == expected, kill
        assert run(Job("commit", project), place), kill
        assert is_whole(place, project)
        assert paths(manifold, project) >= {b"mine"}
        assert (b"e/f/g" in paths(manifold, project)) == (not head_goes_on), kill


def test_a_killed_restore_is_made_or_not(place: Place, manifold: Manifold) -> None:
    counts = run(Job("restore", fresh(manifold)), place)
    assert counts is not None
    for kill in kills(counts):
        project = fresh(manifold)
        before = trees(manifold, project)
        assert run(Job("restore", project), place, kill) is None, kill
        after = is_whole(place, project)
        assert after[:3] == before, kill
        assert after[3:] in ([], [before[1]]), kill


def test_a_killed_fork_is_whole_or_was_never_made(place: Place, manifold: Manifold) -> None:
    counts = run(Job("fork", fresh(manifold)), place)
    assert counts is not None
    for kill in kills(counts):
        for known in manifold.projects.page(LOCAL_PRINCIPAL):
            if known.name == "copy":
                manifold.projects.delete(LOCAL_PRINCIPAL, known.id)
        project = fresh(manifold)
        assert run(Job("fork", project), place, kill) is None, kill
        is_whole(place, project)
        with contextlib.suppress(AlreadyExists):
            manifold.forks.fork(LOCAL_PRINCIPAL, project, "copy")
        copy = manifold.projects.resolve(LOCAL_PRINCIPAL, "copy").id
        assert trees(manifold, copy) == [{}, trees(manifold, project)[2]], kill
        is_whole(place, copy)


def test_a_killed_close_can_be_repeated(place: Place, manifold: Manifold) -> None:
    project = fresh(manifold)
    check_out(manifold, project)
    counts = run(Job("close", project), place)
    assert counts is not None
    for kill in kills(counts):
        project = fresh(manifold)
        work = check_out(manifold, project)
        assert run(Job("close", project), place, kill) is None, kill
        manifold.sessions.close(LOCAL_PRINCIPAL, S1)
        manifold.maintenance.sweep_working_sets()
        assert not work.exists(), kill
        assert manifold.sessions.all(LOCAL_PRINCIPAL) == [], kill
