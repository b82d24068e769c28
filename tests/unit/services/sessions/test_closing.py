"""Plaintext in RAM goes away with its session, also while a process works in the folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.engine.working_set import retired
from manifold_common.errors import NotFound
from manifold_common.ids import ProjectId

from tests.support.manifold import MakeManifold
from tests.support.work import S1, check_out, new_project

_RENAMING = """
import os, sys
os.chdir(sys.argv[1])
print("ready", flush=True)
n = 0
while True:
    n += 1
    try:
        os.rename("a" if n % 2 else "b", "b" if n % 2 else "a")
    except OSError:
        pass
"""
_WRITING = """
import os, sys
os.chdir(sys.argv[1])
print("ready", flush=True)
n = 0
while True:
    n += 1
    try:
        with open(f"plain-{n % 50}", "w") as file:
            file.write("plaintext")
    except OSError:
        pass
"""


@contextmanager
def at_work(program: str, folder: Path) -> Iterator[None]:
    """Have a process that works in the folder, by a descriptor of it, so that a rename does not stop it."""
    with subprocess.Popen([sys.executable, "-c", program, folder], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield
        finally:
            process.kill()


@pytest.fixture
def manifold(make_manifold: MakeManifold) -> Manifold:
    return make_manifold()


@pytest.fixture
def project(manifold: Manifold) -> ProjectId:
    return new_project(manifold, "demo", **{f"a/f{n}/g{m}": b"plaintext" for n in range(20) for m in range(20)})


def plaintext(manifold: Manifold) -> list[Path]:
    """Return every file below the folder of the installation that holds content."""
    return [
        path for path in Path(manifold.working_sets.folders.own).rglob("*") if path.is_file() and path.parts[-2] != "s1"
    ]


def test_nothing_is_left_of_a_session_that_is_closed_while_a_process_renames_its_folders(
    manifold: Manifold, project: ProjectId
) -> None:
    for _ in range(10):
        work = check_out(manifold, project)
        with at_work(_RENAMING, work):
            done = manifold.sessions.close(LOCAL_PRINCIPAL, S1)
        assert not done.left
        assert plaintext(manifold) == []
        assert manifold.leftovers.being_removed() == []


def test_what_a_process_goes_on_to_write_is_told_and_removed_later(
    manifold: Manifold, project: ProjectId, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where each file that is removed is written anew at once."""
    work = check_out(manifold, project)
    remove = retired.remove_tree

    def and_a_file_comes_back(folder: str) -> str | None:
        remove(folder)
        Path(folder).mkdir(parents=True, exist_ok=True)
        Path(folder, "written").write_bytes(b"plaintext")
        return (remove(folder) and None) or f"{folder}: directory not empty"

    monkeypatch.setattr(retired, "remove_tree", and_a_file_comes_back)
    assert "not empty" in manifold.sessions.close(LOCAL_PRINCIPAL, S1).left
    assert len(manifold.leftovers.being_removed()) == 1
    assert not work.exists(), "its place is free, and the session is closed"
    assert check_out(manifold, project) == work
    monkeypatch.undo()
    manifold.maintenance.sweep_working_sets()
    assert manifold.leftovers.being_removed() == []


def test_a_writer_does_not_hold_up_the_place_of_its_session(manifold: Manifold, project: ProjectId) -> None:
    work = check_out(manifold, project)
    with at_work(_WRITING, work):
        time.sleep(0.05)
        manifold.sessions.close(LOCAL_PRINCIPAL, S1)
        again = check_out(manifold, project)
        assert not list(again.glob("plain-*"))
    manifold.maintenance.sweep_working_sets()
    assert manifold.leftovers.being_removed() == []


def test_the_safety_flush_passes_over_a_session_that_was_closed_on_another_node(
    manifold: Manifold, project: ProjectId
) -> None:
    work = check_out(manifold, project)
    (work / "more").write_bytes(b"plaintext")
    manifold.context.catalog.close_session(LOCAL_PRINCIPAL.tenant, LOCAL_PRINCIPAL.user, S1)
    assert manifold.maintenance.save_drafts() == 0
    assert manifold.maintenance.sweep_working_sets() == 1
    assert not work.exists()


@pytest.mark.parametrize("known", ["closed", "open", "unknown"])
def test_a_folder_whose_owner_is_not_told_any_more_is_nobodys_for_long(
    manifold: Manifold, project: ProjectId, known: str
) -> None:
    work = check_out(manifold, project)
    copy = work.parent.with_name("kept")
    shutil.copytree(work.parent, copy)
    if known == "closed":  # there as well as elsewhere, where it had work that is only here
        manifold.sessions.close(LOCAL_PRINCIPAL, S1)
        shutil.copytree(copy, work.parent)
    elif known == "unknown":
        manifold.sessions.close(LOCAL_PRINCIPAL, S1)
        work = work.parent.with_name("never-opened") / "work"
        shutil.copytree(copy, work.parent)
    shutil.rmtree(copy)
    (work.parent / "owner").unlink()
    gone = manifold.maintenance.sweep_working_sets()
    assert work.exists() is (known == "open")
    assert gone == (known != "open")
    assert len(manifold.leftovers.set_aside()) == (known != "open")
    if known == "open":
        (work / "more").write_bytes(b"more")
        assert manifold.commits.commit(LOCAL_PRINCIPAL, S1).added == 1
        assert [owner.session for owner in manifold.working_sets.folders.found()] == [S1]


def test_an_empty_place_that_a_crash_has_left_is_removed(manifold: Manifold, project: ProjectId) -> None:
    place = Path(manifold.working_sets.folders.own, "default", "local", "half")
    (place / "building" / "a").mkdir(parents=True)
    (place / "building" / "a" / "b").write_bytes(b"plaintext")
    (place / "lock").touch()
    assert manifold.maintenance.sweep_working_sets() == 1
    assert not place.exists()
    assert not os.path.exists(place.parent)


def test_housekeeping_that_tidies_up_at_the_same_moment_does_not_get_in_the_way(
    manifold: Manifold, project: ProjectId, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It removes the folder that the working set is about to be renamed to: that is empty yet."""
    work = check_out(manifold, project)
    mkdir, tidied = os.mkdir, []

    def tidy_after(path: str, mode: int = 0o777) -> None:
        mkdir(path, mode)
        if "/set-" in path and not tidied:
            tidied.append(path)
            manifold.working_sets.folders.retired.remove_rest()

    monkeypatch.setattr(os, "mkdir", tidy_after)
    assert manifold.sessions.close(LOCAL_PRINCIPAL, S1).left == ""
    assert tidied
    assert not work.exists()


def test_what_was_set_aside_on_request_outlives_its_session(manifold: Manifold, project: ProjectId) -> None:
    (check_out(manifold, project) / "mine").write_bytes(b"not saved")
    aside = manifold.leftovers.put_aside(LOCAL_PRINCIPAL, S1)
    check_out(manifold)
    manifold.sessions.close(LOCAL_PRINCIPAL, S1)
    manifold.maintenance.sweep_working_sets()
    assert [one.name for one in manifold.leftovers.set_aside()] == [aside.name]
    assert Path(aside.folder, "mine").read_bytes() == b"not saved"
    with pytest.raises(NotFound, match="nope"):
        manifold.leftovers.remove([aside.name, "nope"])
    assert Path(aside.folder, "mine").exists(), "all, or none"
    manifold.leftovers.remove([aside.name])
    assert not Path(aside.folder).exists()


def test_working_sets_are_found_while_others_come_and_go(manifold: Manifold, project: ProjectId) -> None:
    check_out(manifold, project)
    stop = threading.Event()

    def come_and_go() -> None:
        own = manifold.working_sets.folders.own
        while not stop.is_set():
            for path in (
                f"{own}/.gone/set",
                f"{own}/.aside/set",
                f"{own}/t/u/s",
                f"{manifold.working_sets.folders.root}/x/t/u/s",
            ):
                os.makedirs(path)
                os.removedirs(path)

    thread = threading.Thread(target=come_and_go)
    thread.start()
    try:
        for _ in range(2000):
            assert [owner.session for owner in manifold.working_sets.folders.found()] == [S1]
            assert [found.folder for found in manifold.leftovers.strangers()] == []
            manifold.working_sets.folders.ownerless()
    finally:
        stop.set()
        thread.join()
