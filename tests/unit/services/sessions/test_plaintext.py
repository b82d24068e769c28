"""An encrypted project's plaintext gets onto no disk, whatever the machine that meets it was set up for."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.errors import RamUnavailable
from manifold_common.ids import PLAIN, Generation, ProjectId
from manifold_common.services.projects.edits import reading
from manifold_common.shapes.intent import Intent
from manifold_common.shapes.requests import CheckoutRequest

from tests.support.manifold import MakeManifold
from tests.support.work import S1, S2, cat, check_out, new_project, put

SECRET = b"secret words in it"
LEGACY = {"PROJECTS_ENCRYPT": "false", "PROJECTS_WORKSPACE_MODE": "legacy"}


def on_disk(folder: Path) -> list[Path]:
    """Return the files below ``folder`` that hold the secret, in their name or their bytes."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [path for path in files if SECRET in path.read_bytes() or b"confidential" in os.fsencode(path)]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk, for working sets that should lie in RAM."""
    folder = tmp_path / "no-ram"
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def become_encrypted(sealing: Manifold, project: ProjectId, *others: Manifold) -> None:
    """Give a plain project a data key, as the first change after encryption was switched on does."""
    keys = sealing.context.keys.of(LOCAL_PRINCIPAL.tenant, project)
    assert keys.trusts(PLAIN)
    assert keys.write_dek != PLAIN
    for manifold in others:
        manifold.context.keys.forget(LOCAL_PRINCIPAL.tenant, project)


def test_a_machine_in_legacy_mode_checks_no_encrypted_project_out(make_manifold: MakeManifold, tmp_path: Path) -> None:
    project = new_project(make_manifold(), confidential=SECRET)
    legacy = make_manifold(node="b", **LEGACY)
    with pytest.raises(RamUnavailable) as refused:
        legacy.sessions.checkout(LOCAL_PRINCIPAL, S1, project)
    assert "PROJECTS_WORKSPACE_MODE=ephemeral" in str(refused.value)
    assert legacy.sessions.all(LOCAL_PRINCIPAL) == []  # no session was opened for nothing
    assert on_disk(tmp_path / "node-b") == []


def test_nor_a_session_that_was_opened_where_there_is_ram(make_manifold: MakeManifold, tmp_path: Path) -> None:
    manifold = make_manifold()
    project = new_project(manifold, confidential=SECRET)
    (check_out(manifold, project) / "draft").write_bytes(SECRET)
    manifold.commits.save(LOCAL_PRINCIPAL, S1)
    legacy = make_manifold(node="b", **LEGACY)
    for call in (
        lambda: legacy.sessions.checkout(LOCAL_PRINCIPAL, S1),
        lambda: legacy.commits.commit(LOCAL_PRINCIPAL, S1),
    ):
        with pytest.raises(RamUnavailable):
            call()
    assert on_disk(tmp_path / "node-b") == []
    assert (check_out(manifold) / "draft").read_bytes() == SECRET


def test_a_ram_folder_that_is_on_a_disk_serves_plain_projects_alone(make_manifold: MakeManifold, disk: Path) -> None:
    """Without encryption such a folder is only warned of; the project that is encrypted is not to suffer for it."""
    sealed = new_project(make_manifold(), confidential=SECRET)
    node = make_manifold(node="b", PROJECTS_ENCRYPT="false", PROJECTS_WORKSPACE_TMPFS_DIR=str(disk))
    plain = new_project(node, "plain", a=b"one")
    assert (check_out(node, plain) / "a").read_bytes() == b"one"
    with pytest.raises(RamUnavailable):
        node.sessions.checkout(LOCAL_PRINCIPAL, S2, sealed)
    assert on_disk(disk) == []


def test_an_encrypted_project_is_read_and_written_without_a_working_set(make_manifold: MakeManifold) -> None:
    project = new_project(make_manifold(), confidential=SECRET)
    legacy = make_manifold(node="b", **LEGACY)
    put(legacy, project, b"more", SECRET)
    assert cat(legacy, project, b"confidential") == SECRET
    assert cat(make_manifold(node="c"), project, b"more") == SECRET


def test_a_zip_is_not_kept_aside_on_a_disk_and_a_tar_needs_not_be(make_manifold: MakeManifold, tmp_path: Path) -> None:
    project = new_project(make_manifold(), a=b"one")
    legacy = make_manifold(node="b", **LEGACY)
    zipped, tarred = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("confidential", SECRET)
    with tarfile.open(fileobj=tarred, mode="w:gz") as archive_:
        member = tarfile.TarInfo("confidential")
        member.size = len(SECRET)
        archive_.addfile(member, io.BytesIO(SECRET))
    with pytest.raises(RamUnavailable, match=r"tar\.gz"):
        legacy.archives.load(LOCAL_PRINCIPAL, project, reading(zipped.getvalue()))
    legacy.archives.load(LOCAL_PRINCIPAL, project, reading(tarred.getvalue()))
    assert cat(legacy, project, b"confidential") == SECRET
    plain = new_project(legacy, "plain")
    legacy.archives.load(LOCAL_PRINCIPAL, plain, reading(zipped.getvalue()))
    assert cat(legacy, plain, b"confidential") == SECRET


def test_a_folder_from_before_is_not_gone_on_with_and_its_work_comes_out(
    make_manifold: MakeManifold, tmp_path: Path
) -> None:
    """The hint of the refusal, followed to the letter."""
    legacy = make_manifold(node="b", **LEGACY)
    project = new_project(legacy, a=b"one", b=b"one")
    folder = check_out(legacy, project)
    (folder / "a").write_bytes(b"mine")
    (folder / "new").write_bytes(b"mine too")
    sealing = make_manifold()
    become_encrypted(sealing, project, legacy)
    put(sealing, project, b"confidential", SECRET)

    calls: list[Callable[[], object]] = [
        lambda: legacy.sessions.checkout(LOCAL_PRINCIPAL, S1, project),
        lambda: legacy.sessions.checkout(LOCAL_PRINCIPAL, S1, project, CheckoutRequest(Generation(1))),
        lambda: legacy.sessions.checkout(LOCAL_PRINCIPAL, S2, project),
        lambda: legacy.commits.commit(LOCAL_PRINCIPAL, S1, Intent("more")),
    ]
    for call in calls:
        with pytest.raises(RamUnavailable) as refused:
            call()
        assert str(folder) in refused.value.message
        assert "manifold save s" in str(refused.value)
    assert {path.name for path in folder.iterdir()} == {"a", "b", "new"}
    assert len(legacy.sessions.status(LOCAL_PRINCIPAL, S1).differences) == 2

    legacy.commits.save(LOCAL_PRINCIPAL, S1)
    work = check_out(sealing, project)
    assert {path.name: path.read_bytes() for path in work.iterdir()} == {
        "a": b"mine", "b": b"one", "new": b"mine too", "confidential": SECRET,
    }  # fmt: skip
    assert sealing.commits.commit(LOCAL_PRINCIPAL, S1).generation == 3
    assert (folder / "a").read_bytes() == b"mine"  # what is the user's is the user's to remove
    assert on_disk(tmp_path / "node-b") == []


def test_where_working_sets_lie_in_ram_nobody_is_asked_whether_the_project_is_encrypted(
    make_manifold: MakeManifold, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifold = make_manifold()
    project = new_project(manifold, a=b"one")
    check_out(manifold, project)
    asked: list[object] = []
    monkeypatch.setattr("manifold_common.engine.data_keys.DataKeys.of", lambda *them: asked.append(them))
    check_out(manifold, project)
    assert asked == []
