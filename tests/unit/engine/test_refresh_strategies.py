"""What a strategy decides in a refresh is what it decides in a commit, also where files and folders changed places."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.domain.conflict import Strategy
from manifold_common.errors import CommitConflict
from manifold_common.ids import Generation, ProjectId
from manifold_common.services.projects.edits import MakeFolder
from manifold_common.shapes.requests import CheckoutRequest

from tests.support.manifold import MakeManifold
from tests.support.work import S1, check_out, look, new_project, put, remove

OURS, THEIRS = Strategy.OURS, Strategy.THEIRS


@pytest.fixture
def manifold(make_manifold: MakeManifold) -> Manifold:
    return make_manifold()


@pytest.fixture
def project(manifold: Manifold) -> ProjectId:
    project = new_project(manifold, kept=b"kept")
    put(manifold, project, b"d/old", b"old")
    return project


def file_in_place_of_a_folder(manifold: Manifold, project: ProjectId) -> None:
    remove(manifold, project, b"d")
    put(manifold, project, b"d", b"theirs")


def folder_removed(manifold: Manifold, project: ProjectId) -> None:
    remove(manifold, project, b"d")


def fill_old_folder(work: Path) -> None:
    (work / "d" / "deep").mkdir()
    (work / "d" / "deep" / "mine").write_bytes(b"mine")


@pytest.mark.parametrize(
    ("change", "strategy", "expected"),
    [
        (file_in_place_of_a_folder, OURS, {b"d", b"d/deep", b"d/deep/mine", b"kept"}),
        (file_in_place_of_a_folder, THEIRS, {b"d", b"kept"}),
        (folder_removed, OURS, {b"d", b"d/deep", b"d/deep/mine", b"kept"}),
        (folder_removed, THEIRS, {b"kept"}),
    ],
)
def test_new_work_in_a_folder_that_others_removed(
    manifold: Manifold,
    project: ProjectId,
    change: Callable[[Manifold, ProjectId], None],
    strategy: Strategy,
    expected: set[bytes],
) -> None:
    work = check_out(manifold, project)
    fill_old_folder(work)
    change(manifold, project)
    with pytest.raises(CommitConflict) as caught:
        check_out(manifold)
    assert caught.value.paths == ["d/deep", "d/deep/mine"]
    manifold.sessions.checkout(LOCAL_PRINCIPAL, S1, request=CheckoutRequest(strategy=strategy))
    assert look(work).keys() == expected
    check_out(manifold)
    assert look(work).keys() == expected


@pytest.mark.parametrize(
    ("strategy", "expected"), [(OURS, {b"new", b"new/deep", b"new/deep/mine"}), (THEIRS, {b"new"})]
)
def test_a_new_folder_where_others_made_a_file(
    manifold: Manifold, project: ProjectId, strategy: Strategy, expected: set[bytes]
) -> None:
    work = check_out(manifold, project)
    (work / "new" / "deep").mkdir(parents=True)
    (work / "new" / "deep" / "mine").write_bytes(b"mine")
    put(manifold, project, b"new", b"theirs")
    with pytest.raises(CommitConflict) as caught:
        check_out(manifold)
    assert caught.value.paths == ["new", "new/deep", "new/deep/mine"]
    manifold.sessions.checkout(LOCAL_PRINCIPAL, S1, request=CheckoutRequest(strategy=strategy))
    assert look(work).keys() == expected | {b"kept", b"d", b"d/old"}


@pytest.mark.parametrize(("strategy", "mode"), [(OURS, 0o700), (THEIRS, 0o711)])
@pytest.mark.parametrize("folder", ["d", "new"])
def test_the_mode_of_a_folder_that_both_set(
    manifold: Manifold, project: ProjectId, strategy: Strategy, mode: int, folder: str
) -> None:
    work = check_out(manifold, project)
    (work / folder).mkdir(exist_ok=True)
    (work / folder).chmod(0o700)
    edits = [MakeFolder(folder.encode(), mode=0o711)]
    manifold.edits.apply(LOCAL_PRINCIPAL, project, edits)
    put(manifold, project, f"{folder}/theirs".encode(), b"theirs")
    manifold.sessions.checkout(LOCAL_PRINCIPAL, S1, request=CheckoutRequest(strategy=strategy))
    assert look(work)[folder.encode()].mode == mode
    assert (work / folder / "theirs").exists()


def test_a_folder_that_comes_back_in_the_place_of_a_link_has_its_own_mode(
    manifold: Manifold, project: ProjectId
) -> None:
    work = check_out(manifold, project)
    before = look(work)[b"d"]
    shutil.rmtree(work / "d")
    (work / "d").symlink_to("kept")
    put(manifold, project, b"d/theirs", b"theirs")
    manifold.sessions.checkout(LOCAL_PRINCIPAL, S1, request=CheckoutRequest(strategy=THEIRS))
    assert look(work)[b"d"] == before


def test_going_back_to_the_empty_generation_takes_files_and_leaves_the_root(
    manifold: Manifold, project: ProjectId
) -> None:
    work = check_out(manifold, project)
    fill_old_folder(work)
    manifold.sessions.checkout(LOCAL_PRINCIPAL, S1, request=CheckoutRequest(Generation(0), strategy=THEIRS))
    assert look(work) == {}
    check_out(manifold)
    assert look(work).keys() == {b"d", b"d/old", b"kept"}
