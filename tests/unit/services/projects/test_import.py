"""What a folder that goes in may have in it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.errors import InvalidInput
from manifold_common.ids import ProjectId
from manifold_common.shapes.path import TreePath

from tests.support.manifold import MakeManifold
from tests.support.work import new_project, paths


@pytest.fixture
def manifold(make_manifold: MakeManifold) -> Manifold:
    return make_manifold()


@pytest.fixture
def project(manifold: Manifold) -> ProjectId:
    return new_project(manifold)


def test_what_manifold_keeps_for_itself_does_not_go_in(manifold: Manifold, project: ProjectId) -> None:
    workdir = manifold.settings.workdir
    source = workdir.parent
    (workdir / "found").write_text("in what is Manifold's own")
    (source / "a").write_text("a")
    (source / "link").symlink_to(workdir)
    done = manifold.transfer.import_folder(LOCAL_PRINCIPAL, project, source)
    assert TreePath.of(workdir.name.encode()) in done.left_out
    found = paths(manifold, project)
    assert {b"a", b"link"} <= found
    assert not any(path.startswith(workdir.name.encode()) for path in found)


def test_what_went_in_before_it_became_manifolds_own_goes_out_again(
    manifold: Manifold, project: ProjectId, tmp_path: Path
) -> None:
    source, cache = tmp_path / "source", manifold.settings.projects.workspace.cache_dir
    (source / "cache").mkdir(parents=True)
    (source / "cache" / "file").write_text("mine")
    manifold.transfer.import_folder(LOCAL_PRINCIPAL, project, source)
    assert b"cache/file" in paths(manifold, project)
    shutil.rmtree(cache)
    cache.symlink_to(source / "cache")
    done = manifold.transfer.import_folder(LOCAL_PRINCIPAL, project, source)
    assert (done.left_out, paths(manifold, project)) == ([TreePath.of(b"cache")], set())


def test_manifolds_own_folders_themselves_are_refused(manifold: Manifold, project: ProjectId) -> None:
    for own in manifold.settings.own_folders:
        own.mkdir(parents=True, exist_ok=True)
        with pytest.raises(InvalidInput, match="own data"):
            manifold.transfer.import_folder(LOCAL_PRINCIPAL, project, own)
    assert manifold.projects.get(LOCAL_PRINCIPAL, project).generation == 0
