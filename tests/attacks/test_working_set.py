"""A hostile working set: an agent, or what it runs, owns the folder and may put anything there, at any moment.

Planted links have their tests in ``tests/unit/engine/test_planted_links.py``, special files in
``test_special_files.py``, ignore files in ``test_patterns.py`` beside them; here stands what an attacker would try
next. Outside lies a folder with a secret and a precious file: it stays as it is, and none of its bytes get into a
project.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.domain.conflict import Strategy
from manifold_common.engine.working_set import scan as scanning
from manifold_common.errors import ManifoldError, PartlyDone, QuotaExceeded, UnsafePath
from manifold_common.ids import Generation, ProjectId, SessionId
from manifold_common.services import kept_work as keeping
from manifold_common.shapes.intent import Intent
from manifold_common.shapes.path import listed
from manifold_common.shapes.requests import CheckoutRequest

from tests.support.manifold import MakeManifold
from tests.support.work import S1, Node, check_out, committed, look, new_project, paths, put

SECRET = b"the secret that no project may ever hold"


@pytest.fixture
def manifold(make_manifold: MakeManifold) -> Manifold:
    return make_manifold()


@pytest.fixture
def project(manifold: Manifold) -> ProjectId:
    project = new_project(manifold, a=b"one", b=b"one")
    put(manifold, project, b"d/f", b"one")
    return project


@pytest.fixture
def work(manifold: Manifold, project: ProjectId) -> Path:
    return check_out(manifold, project)


@pytest.fixture
def outside(ram_folder: Path) -> Iterator[Path]:
    """On the same file system as the working sets, so that names in both can be one file."""
    folder = ram_folder / "outside"
    folder.mkdir()
    (folder / "secret").write_bytes(SECRET)
    (folder / "precious").write_bytes(b"precious")
    (folder / "precious").chmod(0o640)
    os.utime(folder / "precious", ns=(1, 1_000_000_007))
    yield folder
    shutil.rmtree(folder)


def all_that_is_done(manifold: Manifold, project: ProjectId, work: Path) -> Iterator[Callable[[], object]]:
    """Yield everything that reads, replaces or removes something in a working set."""
    checkout, commits = manifold.sessions.checkout, manifold.commits
    yield lambda: manifold.sessions.status(LOCAL_PRINCIPAL, S1, checksum=True)
    yield lambda: commits.save(LOCAL_PRINCIPAL, S1)
    yield lambda: checkout(LOCAL_PRINCIPAL, S1, request=CheckoutRequest(strategy=Strategy.OURS))
    yield lambda: checkout(LOCAL_PRINCIPAL, S1, request=CheckoutRequest(strategy=Strategy.THEIRS))
    yield lambda: checkout(LOCAL_PRINCIPAL, S1, request=CheckoutRequest(Generation(1), strategy=Strategy.THEIRS))
    yield lambda: commits.commit(LOCAL_PRINCIPAL, S1, Intent(strategy=Strategy.OURS))
    yield lambda: manifold.sessions.close(LOCAL_PRINCIPAL, S1)


# --- names that are another's file ------------------------------------------------------------------------------------


def test_what_a_hard_link_shares_with_a_file_outside_is_never_written(
    manifold: Manifold, project: ProjectId, work: Path, outside: Path
) -> None:
    """Content, mode and time of the file are the same through either name: whoever writes in place writes outside."""
    before = look(outside)
    for name in ("a", "b", "d/f"):
        (work / name).unlink()
        os.link(outside / "precious", work / name)
    os.link(outside / "precious", work / "new")
    put(manifold, project, b"a", b"another")
    put(manifold, project, b"d/f", b"another one")
    for step in all_that_is_done(manifold, project, work):
        step()
        assert look(outside) == before
    assert not work.exists()


def test_what_is_dropped_is_read_as_it_stands_and_not_behind_a_link(
    manifold: Manifold, project: ProjectId, work: Path, outside: Path
) -> None:
    """What ``theirs`` drops is read once more to be kept: by then it may be something else."""
    (work / "a").unlink()
    (work / "a").symlink_to(outside / "secret")
    (work / "b").write_bytes(b"mine")
    for name in (b"a", b"b"):
        put(manifold, project, name, b"theirs")
    done = manifold.sessions.checkout(LOCAL_PRINCIPAL, S1, request=CheckoutRequest(strategy=Strategy.THEIRS))
    kept = check_out(manifold, project, done.kept[0])
    assert os.readlink(kept / "a") == str(outside / "secret")
    manifold.commits.commit(LOCAL_PRINCIPAL, done.kept[0])
    assert SECRET not in [content for _, content in committed(manifold, project).values()]


@pytest.mark.parametrize("swapped", ["link", "fifo", "folder", "gone", "linked folder"])
def test_what_is_swapped_while_it_is_kept_is_neither_followed_nor_lost(
    manifold: Manifold, project: ProjectId, work: Path, outside: Path, monkeypatch: pytest.MonkeyPatch, swapped: str
) -> None:
    before = look(outside)
    (work / "d" / "f").write_bytes(b"mine")
    put(manifold, project, b"d/f", b"theirs")
    read = keeping.read_content

    def swap_first(root: int, *them: Any) -> Any:
        path = work / "d" / "f"
        if swapped == "linked folder":
            (work / "d").rename(work / "aside")
            (work / "d").symlink_to(outside)
            return read(root, *them)
        path.unlink()
        if swapped == "link":
            path.symlink_to(outside / "secret")
        elif swapped == "fifo":
            os.mkfifo(path)
        elif swapped == "folder":
            path.mkdir()
            (path / "mine").write_bytes(b"mine, later")
        return read(root, *them)

    with monkeypatch.context() as swapping:
        swapping.setattr(keeping, "read_content", swap_first)
        try:
            manifold.sessions.checkout(LOCAL_PRINCIPAL, S1, request=CheckoutRequest(strategy=Strategy.THEIRS))
        except ManifoldError as error:
            assert swapped != "gone", error
        else:
            assert swapped == "gone"
    if swapped == "folder":
        assert (work / "d" / "f" / "mine").read_bytes() == b"mine, later"
    assert look(outside) == before
    for row in manifold.sessions.all(LOCAL_PRINCIPAL):
        if row.draft is not None:
            shown = look(check_out(manifold, project, row.session))
            assert SECRET not in [node.content for node in shown.values()]


# --- waiting for ever -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["a", ".manifoldignore", "d/f", "d"])
def test_a_pipe_that_nobody_writes_to_holds_nobody_up(
    manifold: Manifold, project: ProjectId, work: Path, place: str
) -> None:
    """Wherever a file is opened: a pipe in its place would be waited for without end."""
    path = work / place
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    for name in (b"a", b"d/f"):
        put(manifold, project, name, b"theirs")

    def do_all() -> None:
        for step in all_that_is_done(manifold, project, work):
            try:
                step()
            except ManifoldError as error:
                refused.append(error)

    refused: list[ManifoldError] = []
    thread = threading.Thread(target=do_all, daemon=True)
    thread.start()
    thread.join(30)
    assert not thread.is_alive()
    assert not work.exists()


def test_a_file_swapped_for_a_pipe_between_listing_and_opening_holds_nobody_up(
    manifold: Manifold, project: ProjectId, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (work / "a").write_bytes(b"changed")
    opened = os.open

    def swapping(path: str | bytes, flags: int, *more: int, dir_fd: int | None = None) -> int:
        if os.fsencode(path) == b"a" and dir_fd is not None and (work / "a").is_file():
            (work / "a").unlink()
            os.mkfifo(work / "a")
        return opened(path, flags, *more, dir_fd=dir_fd)

    def commit() -> None:
        with suppress(ManifoldError):
            manifold.commits.commit(LOCAL_PRINCIPAL, S1)

    with monkeypatch.context() as swaps:
        swaps.setattr(scanning.os, "open", swapping)
        thread = threading.Thread(target=commit, daemon=True)
        thread.start()
        thread.join(30)
    assert not thread.is_alive()
    assert manifold.commits.commit(LOCAL_PRINCIPAL, S1).skipped in (listed([b"a"]), [])
    assert paths(manifold, project) == {b"b", b"d", b"d/f"}


# --- too deep, too long, too many -------------------------------------------------------------------------------------


def _dig(folder: Path, name: str, depth: int) -> None:
    """Make folders in each other, deeper than any path can say."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        for _ in range(depth):
            os.mkdir(name, dir_fd=fd)
            below = os.open(name, os.O_RDONLY, dir_fd=fd)
            os.close(fd)
            fd = below
    finally:
        os.close(fd)


@pytest.mark.parametrize(("name", "depth"), [("d" * 255, 20), ("e", 3000)], ids=["long names", "many levels"])
def test_a_tree_deeper_than_any_path_is_refused_and_can_be_closed(
    manifold: Manifold, project: ProjectId, work: Path, name: str, depth: int
) -> None:
    _dig(work, name, depth)
    put(manifold, project, b"a", b"theirs")
    for call in (manifold.commits.commit, manifold.commits.save):
        with pytest.raises(UnsafePath, match="longer than"):
            call(LOCAL_PRINCIPAL, S1)
    with pytest.raises(PartlyDone, match="unsafe_path"):
        manifold.maintenance.save_drafts()
    check_out(manifold)
    assert (work / "a").read_bytes() == b"theirs"
    assert paths(manifold, project) == {b"a", b"b", b"d", b"d/f"}
    manifold.sessions.close(LOCAL_PRINCIPAL, S1)
    assert not work.exists()


def test_a_tree_that_is_deep_and_wide_does_not_fill_the_memory(
    manifold: Manifold, project: ProjectId, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A million empty files cost an agent nothing; with 4,000 bytes of path each they would cost the host 4 GB."""
    monkeypatch.setattr(scanning, "MAX_FOLDER_PATH_BYTES", 1 << 20)
    deep = work.joinpath(*["n" * 200] * 15)
    deep.mkdir(parents=True)
    for number in range(400):
        (deep / str(number)).touch()
    with pytest.raises(QuotaExceeded, match="paths"):
        manifold.commits.commit(LOCAL_PRINCIPAL, S1)
    assert paths(manifold, project) == {b"a", b"b", b"d", b"d/f"}
    shutil.rmtree(work / ("n" * 200))
    assert manifold.commits.commit(LOCAL_PRINCIPAL, S1).commit is None


def test_names_that_look_like_something_else_are_names(
    manifold: Manifold, make_manifold: MakeManifold, project: ProjectId, work: Path
) -> None:
    """Devices, drives, options, what a shell or a terminal would obey, and what Manifold uses beside the folder."""
    names = [
        b"con", b"nul", b"aux.txt", b"C:", b"..\\evil", b"...", b" ", b"-rf", b"~", b"$(reboot)", b"`id`", b"*",
        b"%2e%2e", b"\x1b[2J", b"\r", b"\n", b"\x7f", b"\xff\xfe", b"\xc0\xae\xc0\xae", "\u202egpj".encode(),
        "e\u0301".encode(), "\u00e9".encode(), b"state", b"lock", b"owner", b"stage", b"a" * 255,
    ]  # fmt: skip
    for name in names:
        with open(os.path.join(os.fsencode(work), name), "wb") as file:
            file.write(name)
    manifold.commits.commit(LOCAL_PRINCIPAL, S1)
    there = look(check_out(make_manifold(node="b"), project, SessionId("s2")))
    assert {name: there[name].content for name in names} == {name: name for name in names}
    assert isinstance(there[b"a"], Node)
