"""A store that was begun in the clear and goes on encrypted, read by the reader made from the document."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

import pytest
from manifold_common.adapters.filesystem.object_store import FilesystemObjectStore
from manifold_common.adapters.system.clock import SystemClock, SystemRandomness
from manifold_common.ids import DEFAULT_TENANT, Generation, ProjectId

from tests.attacks.forging import plain_commit
from tests.compat.independent_reader import Project, Refused
from tests.support.manifold import MakeManifold
from tests.support.work import cat, new_project, put, remove


class Begun(NamedTuple):
    folder: Path
    keystore: Path
    project: ProjectId
    commits: list[str]
    """Of generations 1 to 4, of which two are in the clear."""

    def reader(self) -> Project:
        return Project.open(self.folder, self.keystore, DEFAULT_TENANT, self.project)


@pytest.fixture
def begun(make_manifold: MakeManifold, tmp_path: Path) -> Begun:
    clock = SystemClock()
    store = FilesystemObjectStore(tmp_path / "store", clock=clock, randomness=SystemRandomness())
    plain = make_manifold(PROJECTS_ENCRYPT="false", PROJECTS_WORKSPACE_MODE="legacy", store=store)
    project = new_project(plain, a=b"one", b=b"two")
    put(plain, project, b"c", b"three")
    node = make_manifold(store=store)
    put(node, project, b"d", b"four")
    remove(node, project, b"a")
    assert cat(make_manifold(store=store, node="b"), project, b"c") == b"three"
    rows = node.context.catalog.list_commits(DEFAULT_TENANT, project)
    return Begun(tmp_path / "store", tmp_path / "keystore", project, [row.commit for row in rows[::-1]])


@pytest.mark.in_memory("keeps the objects of its store as files")
def test_the_reader_made_from_the_document_reads_all_of_it(begun: Begun) -> None:
    reader = begun.reader()
    for generation, wanted in ((1, b"ab"), (2, b"abc"), (3, b"abcd"), (4, b"bcd")):
        tree, places = reader.tree(generation, begun.commits[generation - 1])
        assert sorted(path for path in tree if path) == [bytes([letter]) for letter in wanted]
        for path in tree:
            list(reader.content(tree[path], places))
    reader.prove_history(4, begun.commits[3])
    checkpoint = (2, begun.commits[1])
    assert reader.tree(4, begun.commits[3], checkpoint=checkpoint)[0] == reader.tree(4, begun.commits[3])[0]


@pytest.mark.in_memory("keeps the objects of its store as files")
def test_it_refuses_a_checkpoint_under_another_name(begun: Begun) -> None:
    folder = begun.folder / f"t/default/p/{begun.project}/checkpoints"
    named = [path for path in folder.iterdir() if path.name.count("-") == 2]
    assert named, "writers name the object id"
    for path in folder.iterdir():
        if path in named:
            path.rename(folder / f"{path.name[:39]}-{'a' * 26}")
        else:
            path.unlink()
    with pytest.raises(Refused):
        begun.reader().tree(4, begun.commits[3], checkpoint=(2, begun.commits[1]))


@pytest.mark.in_memory("keeps the objects of its store as files")
def test_it_refuses_what_came_later_in_the_clear(begun: Begun, make_manifold: MakeManifold) -> None:
    store = FilesystemObjectStore(begun.folder, clock=SystemClock(), randomness=SystemRandomness())
    node = make_manifold(store=store, node="c")
    id_key = bytes(node.context.keys.of(DEFAULT_TENANT, begun.project).id_key)
    log = node.context.log
    head = log.load(DEFAULT_TENANT, begun.project)
    late = plain_commit(head, id_key)
    store.put(late.key, late.data)
    with pytest.raises(Refused, match="in the clear"):
        begun.reader().tree(late.generation, late.commit)
    first = log.load(DEFAULT_TENANT, begun.project, Generation(1))
    old = plain_commit(first, id_key)
    store.put(old.key, old.data)
    with pytest.raises(Refused, match="another history"):
        begun.reader().prove_history(old.generation, old.commit)
    keys = begun.folder / f"t/default/p/{begun.project}/keys"
    clear, sealed = sorted(keys.iterdir(), key=lambda path: path.name != "a" * 26)
    shutil.copy(clear, keys / sealed.name)
    with pytest.raises(Refused):
        begun.reader()
