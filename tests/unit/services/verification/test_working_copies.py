"""What sessions of this machine still hold in their folders comes back from there, and nothing else of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.errors import CorruptObject
from manifold_common.ids import ProjectId
from manifold_common.services.projects.edits import PutFile, reading
from manifold_common.shapes.verification import RepairReport

from tests.support.damage import empty_cache, objects_of
from tests.support.manifold import MakeManifold
from tests.support.work import cat, check_out, new_project, put

SIZES = {b"large": 5_000_000, b"deep/in/small": 900_000, b"other": 800_000}


@pytest.fixture
def manifold(make_on_either: MakeManifold) -> Manifold:
    return make_on_either()


def lose(
    manifold: Manifold, files: dict[bytes, bytes] | None = None
) -> tuple[ProjectId, str, Path, dict[bytes, bytes]]:
    """Return a project whose one pack is about to be lost, its name, a session's folder, and what files hold."""
    project = new_project(manifold)
    files = files or {path: os.urandom(size) for path, size in SIZES.items()}
    manifold.edits.apply(LOCAL_PRINCIPAL, project, [PutFile(path, reading(data)) for path, data in files.items()])
    (pack,) = objects_of(manifold, project, "packs")
    work = check_out(manifold, project)
    put(manifold, project, b"more", b"since then")
    return project, pack, work, files


def repair(manifold: Manifold, project: ProjectId, pack: str) -> RepairReport:
    manifold.context.store.delete([pack])
    empty_cache(manifold)
    return manifold.repair.run(LOCAL_PRINCIPAL, project)


def test_files_that_are_as_they_were_come_back(manifold: Manifold, make_on_either: MakeManifold) -> None:
    project, pack, work, files = lose(manifold)
    before = {path: path.stat().st_mtime_ns for path in work.rglob("*")}
    report = repair(manifold, project, pack)
    assert (report.ok, [(one.object, one.by.value) for one in report.repaired]) == (True, [(pack, "moved")])
    assert {path: path.stat().st_mtime_ns for path in work.rglob("*")} == before
    new = make_on_either(node="new")
    assert all(cat(new, project, path, generation) == data for path, data in files.items() for generation in (1, 2))
    assert manifold.verify.run(LOCAL_PRINCIPAL, project, read_data=True).ok


def test_what_was_changed_is_not_taken_and_what_is_lost_with_it_is_named(manifold: Manifold) -> None:
    project, pack, work, files = lose(manifold)
    same_size = bytearray(files[b"other"])
    same_size[1000] ^= 1
    (work / "other").write_bytes(same_size)
    report = repair(manifold, project, pack)
    (left,) = report.left
    assert (left.object, left.paths) == (pack, ("other",))
    assert cat(manifold, project, b"large") == files[b"large"]
    with pytest.raises(CorruptObject):
        cat(manifold, project, b"other")


def test_no_link_is_followed_and_nothing_that_is_no_file_is_read(manifold: Manifold, ram_folder: Path) -> None:
    project, pack, work, _ = lose(manifold)
    aside = ram_folder / "aside"
    (work / "large").rename(aside)
    (work / "large").symlink_to(aside)
    (work / "deep").rename(ram_folder / "deep")
    (work / "deep").symlink_to(ram_folder / "deep")
    (work / "other").unlink()
    os.mkfifo(work / "other")
    report = repair(manifold, project, pack)
    assert (report.ok, report.repaired) == (False, [])
    assert sorted(report.left[0].paths) == ["deep/in/small", "large", "other"]


def test_working_sets_of_other_projects_are_not_looked_into(manifold: Manifold) -> None:
    project = new_project(manifold, "first")
    data = os.urandom(3_000_000)
    put(manifold, project, b"large", data)
    (pack,) = objects_of(manifold, project, "packs")
    other = new_project(manifold, "second")
    put(manifold, other, b"large", data)
    assert (check_out(manifold, other) / "large").read_bytes() == data
    assert not repair(manifold, project, pack).ok


def test_a_state_that_cannot_be_read_does_no_harm(manifold: Manifold) -> None:
    project, pack, work, _ = lose(manifold)
    state = work.parent / "state"
    assert state.exists()
    state.write_bytes(b"\x00" * 100)
    assert not repair(manifold, project, pack).ok
