"""An agent owns its working set, and may put a link wherever Manifold is about to write, read or remove.

Outside lies a folder with a secret and a precious file. Whatever happens inside, its bytes, names and modes stay as
they are, and none of its bytes are committed.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.domain.conflict import Strategy
from manifold_common.engine.working_set import scan as scanning
from manifold_common.errors import CommitConflict, ManifoldError
from manifold_common.ids import ProjectId
from manifold_common.shapes.intent import Intent
from manifold_common.shapes.requests import CheckoutRequest

from tests.support.manifold import MakeManifold
from tests.support.work import S1, Node, cat, check_out, look, new_project, paths, put, remove

SECRET = b"the secret that no project may ever hold"


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "outside"
    (folder / "below").mkdir(parents=True)
    (folder / "secret").write_bytes(SECRET)
    (folder / "below" / "precious").write_bytes(b"precious")
    (folder / "below").chmod(0o751)
    return folder


@pytest.fixture
def before(outside: Path) -> dict[bytes, Node]:
    return look(outside)


def swap(path: Path, target: Path) -> None:
    """Put a link where a file or folder is."""
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
    path.symlink_to(target)


def committed_bytes(manifold: Manifold, project: ProjectId) -> bytes:
    tree = manifold.history.list_tree(LOCAL_PRINCIPAL, project, recursive=True)
    return b"\n".join(cat(manifold, project, path) for path, entry in tree.entries if entry.kind == 0)


def test_a_link_to_a_file_is_committed_as_a_link_and_never_read(
    make_manifold: MakeManifold, outside: Path, before: dict[bytes, Node]
) -> None:
    manifold = make_manifold()
    project = new_project(manifold, a=b"one")
    work = check_out(manifold, project)
    swap(work / "a", outside / "secret")
    (work / "all").symlink_to(outside)
    manifold.commits.commit(LOCAL_PRINCIPAL, S1)
    assert paths(manifold, project) == {b"a", b"all"}
    assert SECRET not in committed_bytes(manifold, project)
    entry = manifold.history.snapshot(LOCAL_PRINCIPAL, project).tree[b"a"]
    assert entry.content == os.fsencode(outside / "secret")
    assert look(outside) == before


@pytest.mark.parametrize("strategy", list(Strategy))
@pytest.mark.parametrize("change", ["edit", "add", "remove"])
def test_a_refresh_never_writes_or_removes_through_a_linked_folder(
    make_manifold: MakeManifold, outside: Path, before: dict[bytes, Node], strategy: Strategy, change: str
) -> None:
    manifold = make_manifold()
    project = new_project(manifold)
    put(manifold, project, b"d/below/precious", b"one")
    work = check_out(manifold, project)
    swap(work / "d", outside)
    {
        "edit": lambda: put(manifold, project, b"d/below/precious", b"two!"),
        "add": lambda: put(manifold, project, b"d/below/new", b"new"),
        "remove": lambda: remove(manifold, project, b"d/below/precious"),
    }[change]()
    try:
        manifold.sessions.checkout(LOCAL_PRINCIPAL, S1, request=CheckoutRequest(strategy=strategy))
    except CommitConflict:
        assert strategy is Strategy.FAIL
    assert look(outside) == before


def test_a_refresh_replaces_a_linked_file_and_not_what_it_points_to(
    make_manifold: MakeManifold, outside: Path, before: dict[bytes, Node]
) -> None:
    manifold = make_manifold()
    project = new_project(manifold, a=b"one")
    work = check_out(manifold, project)
    swap(work / "a", outside / "secret")
    put(manifold, project, b"a", b"two!")
    manifold.sessions.checkout(LOCAL_PRINCIPAL, S1, request=CheckoutRequest(strategy=Strategy.THEIRS))
    assert (work / "a").read_bytes() == b"two!"
    assert not (work / "a").is_symlink()
    assert look(outside) == before


def test_a_folder_swapped_for_a_link_between_listing_and_opening_is_refused(
    make_manifold: MakeManifold, outside: Path, before: dict[bytes, Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    manifold = make_manifold()
    project = new_project(manifold, a=b"one")
    work = check_out(manifold, project)
    (work / "d").mkdir()
    (work / "d" / "mine").write_bytes(b"mine")
    opened = os.open

    def swapping(path: str | bytes, flags: int, *more: int, dir_fd: int | None = None) -> int:
        if os.fsencode(path) == b"d" and dir_fd is not None and not (work / "d").is_symlink():
            swap(work / "d", outside)
        return opened(path, flags, *more, dir_fd=dir_fd)

    monkeypatch.setattr(scanning.os, "open", swapping)
    with pytest.raises(ManifoldError):
        manifold.commits.commit(LOCAL_PRINCIPAL, S1)
    monkeypatch.undo()
    assert (work / "d").is_symlink()
    assert SECRET not in committed_bytes(manifold, project)
    manifold.commits.commit(LOCAL_PRINCIPAL, S1)
    assert paths(manifold, project) == {b"a", b"d"}
    assert look(outside) == before


def test_a_file_swapped_for_a_link_between_listing_and_opening_is_not_read(
    make_manifold: MakeManifold, outside: Path, before: dict[bytes, Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    manifold = make_manifold()
    project = new_project(manifold, a=b"one")
    work = check_out(manifold, project)
    (work / "a").write_bytes(b"changed")
    opened = os.open

    def swapping(path: str | bytes, flags: int, *more: int, dir_fd: int | None = None) -> int:
        if os.fsencode(path) == b"a" and dir_fd is not None:
            swap(work / "a", outside / "secret")
        return opened(path, flags, *more, dir_fd=dir_fd)

    monkeypatch.setattr(scanning.os, "open", swapping)
    with pytest.raises(ManifoldError):
        manifold.commits.commit(LOCAL_PRINCIPAL, S1)
    monkeypatch.undo()
    assert SECRET not in committed_bytes(manifold, project)
    assert look(outside) == before


BESIDE = ["work", "building", "stage", "owner", "state", "state~", "clock", "lock"]


def checkout_again(manifold: Manifold, project: ProjectId, work: Path) -> None:
    put(manifold, project, b"d/f", b"three")
    manifold.sessions.checkout(LOCAL_PRINCIPAL, S1)


def build_again(manifold: Manifold, project: ProjectId, work: Path) -> None:
    if not work.is_symlink():
        shutil.rmtree(work)
    manifold.sessions.checkout(LOCAL_PRINCIPAL, S1)


def commit(manifold: Manifold, project: ProjectId, work: Path) -> None:
    if not work.is_symlink():
        (work / "a").write_bytes(b"two!")
    manifold.commits.commit(LOCAL_PRINCIPAL, S1, Intent(strategy=Strategy.OURS))


def close(manifold: Manifold, project: ProjectId, work: Path) -> None:
    manifold.sessions.close(LOCAL_PRINCIPAL, S1)


@pytest.mark.parametrize("do", [checkout_again, build_again, commit, close])
@pytest.mark.parametrize("kind", ["file", "folder"])
@pytest.mark.parametrize("name", BESIDE)
def test_a_link_planted_beside_the_working_set_leads_nowhere(
    make_manifold: MakeManifold,
    outside: Path,
    before: dict[bytes, Node],
    name: str,
    kind: str,
    do: Callable[[Manifold, ProjectId, Path], None],
) -> None:
    manifold = make_manifold()
    project = new_project(manifold, a=b"one")
    work = check_out(manifold, project)
    swap(work.parent / name, outside / "below" / "precious" if kind == "file" else outside)
    with suppress(ManifoldError):  # refusing is fine; what counts is below
        do(manifold, project, work)
    assert look(outside) == before
    assert SECRET not in committed_bytes(manifold, project)


def test_closing_removes_a_link_that_stands_for_the_working_set_and_nothing_behind_it(
    make_manifold: MakeManifold, outside: Path, before: dict[bytes, Node]
) -> None:
    manifold = make_manifold()
    work = check_out(manifold, new_project(manifold, a=b"one"))
    swap(work, outside)
    manifold.sessions.close(LOCAL_PRINCIPAL, S1)
    assert not os.path.lexists(work)
    assert look(outside) == before


def test_an_import_does_not_read_behind_links_and_takes_none_for_a_folder(
    make_manifold: MakeManifold, tmp_path: Path, outside: Path
) -> None:
    manifold = make_manifold()
    project = new_project(manifold)
    source = tmp_path / "source"
    source.mkdir()
    (source / "all").symlink_to(outside)
    (source / ".manifoldignore").symlink_to(outside / "secret")
    manifold.transfer.import_folder(LOCAL_PRINCIPAL, project, source)
    assert paths(manifold, project) == {b"all", b".manifoldignore"}
    assert SECRET not in committed_bytes(manifold, project)


def test_an_export_writes_links_last_seen_as_links(
    make_manifold: MakeManifold, tmp_path: Path, outside: Path, before: dict[bytes, Node]
) -> None:
    """A link and, in a later generation, a folder of the same name: the folder's files go nowhere else."""
    manifold = make_manifold()
    project = new_project(manifold, a=b"one")
    work = check_out(manifold, project)
    (work / "d").symlink_to(outside / "below")
    manifold.commits.commit(LOCAL_PRINCIPAL, S1)
    (work / "d").unlink()
    (work / "d").mkdir()
    (work / "d" / "precious").write_bytes(b"other")
    manifold.commits.commit(LOCAL_PRINCIPAL, S1)
    for generation in (2, 3, 2):
        manifold.sessions.checkout(LOCAL_PRINCIPAL, S1, request=CheckoutRequest(generation))
        assert (work / "d").is_symlink() == (generation == 2)
    assert look(outside) == before
