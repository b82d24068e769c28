"""Notes of running servers: found while these run, and believed only where nobody else can have written them."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from manifold_local.embedded.filelock import FileLock
from manifold_local.handover import Handover
from manifold_local.running import RunningServer, noted, running_servers

from tests.support.embedded import needs_root

SERVER = RunningServer("http://127.0.0.1:1", Handover({"WORKDIR": "/a"}, {"VAULT_TOKEN": "x.y"}, ["S3_BUCKET"]))


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path / "manifold"


def test_a_server_is_found_while_it_runs(place: Path) -> None:
    other = RunningServer("http://127.0.0.1:2", Handover({"WORKDIR": "/b"}))
    assert running_servers() == []
    with noted(other), noted(SERVER):
        assert running_servers() == [SERVER, other]
    assert running_servers() == []
    assert list(place.iterdir()) == []


def test_a_note_that_nobody_holds_is_removed(place: Path) -> None:
    with noted(SERVER):
        (note,) = place.iterdir()
        content = note.read_bytes()
    note.write_bytes(content)
    assert running_servers() == []
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o755])
def test_a_folder_that_others_can_enter_is_not_believed(place: Path, mode: int) -> None:
    with noted(SERVER):
        place.chmod(mode)
        assert running_servers() == []
        place.chmod(0o700)


def test_a_folder_of_somebody_else_is_not_believed(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with noted(SERVER):
        uid = os.geteuid()
        monkeypatch.setattr(os, "geteuid", lambda: uid + 1)
        assert running_servers() == []
        monkeypatch.undo()


def test_a_link_is_not_followed(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with noted(SERVER):
        there = tmp_path / "there"
        there.mkdir()
        (there / "manifold").symlink_to(place)
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(there))
        assert running_servers() == []


def test_a_server_runs_without_a_place_for_its_note(place: Path) -> None:
    place.touch()
    with noted(SERVER):
        assert running_servers() == []


@needs_root
def test_root_leaves_nothing_in_the_folder_of_the_user_that_it_was_become_from(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As ``su`` has it, which keeps the variable. The user's own servers could leave no note there any more."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path.parent))
    os.chown(tmp_path, 12345, 12345)
    with noted(SERVER):
        assert not place.exists()
        assert SERVER in running_servers()


@pytest.mark.parametrize("note", ["", "{}", "[]", '{"url": "x", "handover": {"variables": {}}}'])
def test_a_note_of_another_release_is_passed_over(place: Path, note: str) -> None:
    with noted(SERVER):
        other = FileLock(place / "other.json")
        os.pwrite(other.fd, note.encode(), 0)
        assert other.try_exclusive()
        assert running_servers() == [SERVER]
        other.close()
