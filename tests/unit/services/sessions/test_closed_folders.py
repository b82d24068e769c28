"""Folders that their owner may not write into, as package managers make them, are folders like others."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.engine.working_set import refresh
from manifold_common.errors import SessionBusy
from manifold_common.ids import ProjectId

from tests.support.manifold import MakeManifold
from tests.support.privileges import bound_by_permissions
from tests.support.work import S1, S2, cat, check_out, look, put, remove


@pytest.fixture
def manifold(make_manifold: MakeManifold) -> Manifold:
    return make_manifold()


@pytest.fixture
def project(manifold: Manifold, tmp_path: Path) -> ProjectId:
    source = tmp_path / "source"
    (source / "d" / "e").mkdir(parents=True)
    for path in ("f", "d/f", "d/g", "d/e/f"):
        (source / path).write_text(path)
        (source / path).chmod(0o444)
    for path in ("d/e", "d", "."):
        (source / path).chmod(0o555)
    project = manifold.projects.create(LOCAL_PRINCIPAL, "demo").id
    manifold.transfer.import_folder(LOCAL_PRINCIPAL, project, source)
    return project


@pytest.fixture(autouse=True)
def ordinary(project: ProjectId) -> Iterator[None]:
    """After the servers have been started, which may need to become other users."""
    with bound_by_permissions():
        yield


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def edit(work: Path) -> None:
    """Change something in every folder, and leave each closed."""
    for folder in (work, work / "d", work / "d" / "e"):
        folder.chmod(0o755)
    (work / "d" / "e" / "f").unlink()
    (work / "d" / "f").chmod(0o644)
    (work / "d" / "f").write_text("edited")
    (work / "d" / "new").mkdir()
    (work / "d" / "new" / "h").write_text("new")
    for folder in (work / "d" / "new", work / "d" / "e", work / "d", work):
        folder.chmod(0o555)


def test_what_others_did_in_them_comes_and_they_are_closed_again(manifold: Manifold, project: ProjectId) -> None:
    work, other = check_out(manifold, project), check_out(manifold, project, S2)
    edit(other)
    manifold.commits.commit(LOCAL_PRINCIPAL, S2)
    assert look(check_out(manifold)) == look(other)
    assert [mode(work / path) for path in (".", "d", "d/e", "d/new")] == [0o555] * 4
    assert manifold.commits.commit(LOCAL_PRINCIPAL, S1).commit is None
    remove(manifold, project, b"d")
    check_out(manifold)
    assert os.listdir(work) == ["f"]
    manifold.sessions.close(LOCAL_PRINCIPAL, S1)
    assert not work.exists()


def test_a_commit_brings_in_what_others_did_in_them(manifold: Manifold, project: ProjectId) -> None:
    work = check_out(manifold, project)
    put(manifold, project, b"d/g", b"theirs")
    remove(manifold, project, b"d/e/f")
    (work / "f").chmod(0o644)
    (work / "f").write_text("mine")
    done = manifold.commits.commit(LOCAL_PRINCIPAL, S1)
    assert done.rebased and (work / "d/g").read_bytes() == b"theirs"
    assert os.listdir(work / "d/e") == []
    assert cat(manifold, project, b"f") == b"mine"
    assert manifold.commits.commit(LOCAL_PRINCIPAL, S1).commit is None


def test_ones_that_were_opened_or_closed_here_stay_so(manifold: Manifold, project: ProjectId) -> None:
    work = check_out(manifold, project)
    (work / "d").chmod(0o750)
    (work / "d" / "e").chmod(0o500)
    put(manifold, project, b"d/g", b"theirs")
    remove(manifold, project, b"d/e/f")
    check_out(manifold)
    assert [mode(work / path) for path in (".", "d", "d/e")] == [0o555, 0o750, 0o500]
    assert (work / "d/g").read_bytes() == b"theirs"


def test_after_a_crash_they_are_closed_and_nobody_takes_them_for_changed(
    manifold: Manifold, project: ProjectId, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = check_out(manifold, project)
    before = look(work)
    put(manifold, project, b"d/g", b"theirs")

    class Killed(BaseException):
        pass

    def killed(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(refresh._Refresh, "_put", killed)
        patched.setattr(refresh.closed_folders, "_close", lambda *_: None)
        with pytest.raises(Killed):
            check_out(manifold)
    assert mode(work / "d") == 0o755
    assert manifold.commits.save(LOCAL_PRINCIPAL, S1).draft is None
    assert look(work) == before
    check_out(manifold)
    assert (work / "d/g").read_bytes() == b"theirs" and mode(work / "d") == 0o555
    assert manifold.commits.commit(LOCAL_PRINCIPAL, S1).commit is None


def test_they_are_closed_again_when_a_refresh_fails(
    manifold: Manifold, project: ProjectId, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = check_out(manifold, project)
    put(manifold, project, b"d/g", b"theirs")

    def busy(*_: object) -> None:
        raise SessionBusy("'d/g' changed")

    with monkeypatch.context() as patched:
        patched.setattr(refresh._Refresh, "_hold_still", busy)
        with pytest.raises(SessionBusy):
            check_out(manifold)
    assert mode(work / "d") == 0o555


def test_a_project_whose_root_is_closed_can_be_checked_out_to_disk(make_manifold: MakeManifold, tmp_path: Path) -> None:
    manifold = make_manifold(PROJECTS_WORKSPACE_MODE="legacy", PROJECTS_ENCRYPT="false")
    source = tmp_path / "closed"
    source.mkdir()
    (source / "f").write_text("x")
    source.chmod(0o555)
    project = manifold.projects.create(LOCAL_PRINCIPAL, "closed").id
    manifold.transfer.import_folder(LOCAL_PRINCIPAL, project, source)
    work = check_out(manifold, project)
    assert look(work) == look(source)
    assert mode(work) == 0o555
