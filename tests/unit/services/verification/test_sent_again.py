"""Nothing new relies on an object that is known to be damaged: content that is sent again heals what it was in."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.errors import CorruptObject
from manifold_common.ids import Generation, ProjectId
from manifold_common.services.projects.edits import PutFile, reading

from tests.support.damage import empty_cache
from tests.support.garbage import objects
from tests.support.manifold import MakeManifold
from tests.support.work import cat, committed, new_project, put

FILES = {f"f{number}".encode(): os.urandom(300_000) for number in range(8)}


@pytest.fixture
def manifold(make_manifold: MakeManifold) -> Manifold:
    return make_manifold()


@pytest.fixture
def project(manifold: Manifold) -> ProjectId:
    """Return a project whose one pack is damaged from end to end, and known to be."""
    made = new_project(manifold)
    manifold.edits.apply(LOCAL_PRINCIPAL, made, [PutFile(path, reading(data)) for path, data in FILES.items()])
    store = manifold.context.store
    (pack,) = [one for one in store.list("") if "/packs/" in one.key]
    store.put(pack.key, os.urandom(pack.size))
    empty_cache(manifold)
    assert not manifold.verify.run(LOCAL_PRINCIPAL, made, read_data=True).ok
    return made


def packs(manifold: Manifold, project: ProjectId) -> int:
    return sum(one.startswith("packs/") for one in objects(manifold, project))


def test_what_is_sent_again_can_be_read(manifold: Manifold, project: ProjectId, make_manifold: MakeManifold) -> None:
    put(manifold, project, b"again", FILES[b"f3"])
    assert cat(manifold, project, b"again") == FILES[b"f3"]
    other = make_manifold(node="other")
    assert cat(other, project, b"f3") == FILES[b"f3"], "wherever the content is named"
    with pytest.raises(CorruptObject):
        cat(other, project, b"f4")


def test_a_file_that_is_put_as_it_is_heals(manifold: Manifold, project: ProjectId) -> None:
    put(manifold, project, b"f3", FILES[b"f3"])
    assert cat(manifold, project, b"f3") == FILES[b"f3"]
    before = packs(manifold, project)
    put(manifold, project, b"f3", FILES[b"f3"])
    assert packs(manifold, project) == before, "it is stored once"


@pytest.mark.parametrize("keep", [True, False])
def test_the_folder_that_it_was_heals_all_of_it(
    manifold: Manifold, project: ProjectId, tmp_path: Path, keep: bool, make_manifold: MakeManifold
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for path, data in FILES.items():
        (folder / path.decode()).write_bytes(data)
    done = manifold.transfer.import_folder(LOCAL_PRINCIPAL, project, folder, keep=keep)
    assert done.commit is not None
    assert {path: data for path, (_, data) in committed(manifold, project).items()} == FILES
    report = manifold.repair.run(LOCAL_PRINCIPAL, project, read_data=True)
    assert report.ok and manifold.verify.run(LOCAL_PRINCIPAL, project, read_data=True).ok
    fresh = make_manifold(node="fresh")
    for generation in (1, done.generation):
        found = committed(fresh, project, Generation(generation))
        assert {path: data for path, (_, data) in found.items()} == FILES, generation


def test_content_of_sound_objects_is_still_never_sent_again(manifold: Manifold, project: ProjectId) -> None:
    put(manifold, project, b"new", sound := os.urandom(2_500_000))
    before = packs(manifold, project)
    put(manifold, project, b"copy", sound)
    assert packs(manifold, project) == before
