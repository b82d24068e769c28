"""When a checkpoint is written: when reading the log has become dearer than a whole tree, and not before."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from manifold_common.adapters.memory.object_store import MemoryObjectStore
from manifold_common.adapters.system.clock import SystemClock
from manifold_common.adapters.wrappers.counting import CountingStore
from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.ids import DEFAULT_TENANT, ProjectId

from tests.support.manifold import MakeManifold
from tests.support.work import new_project, put

MIB = 1 << 20


class Scene:
    def __init__(self, make: MakeManifold) -> None:
        self._make = make
        self.store = CountingStore(MemoryObjectStore(SystemClock()))
        self.writer: Manifold = make(node="writer", store=self.store)
        self.project: ProjectId = new_project(self.writer)

    def put_inline(self, count: int, size: int = MIB) -> None:
        """Make commits whose content travels in their objects."""
        for number in range(count):
            put(self.writer, self.project, b"f%d" % number, os.urandom(size))

    def due(self) -> bool:
        return self.writer.maintenance.checkpoint_if_due(DEFAULT_TENANT, self.project)

    def cost_of_cold_open(self, node: str) -> tuple[int, int]:
        """Return requests and bytes that it takes a node without a cache to know the head's tree."""
        reader = self._make(node=node, store=self.store)
        self.store.reset()
        reader.context.log.load(DEFAULT_TENANT, self.project)
        return self.store.total_requests, sum(self.store.bytes_in.values())


@pytest.fixture
def scene(make_manifold: MakeManifold) -> Scene:
    return Scene(make_manifold)


def test_a_log_that_is_dear_to_read_gets_its_first_checkpoint(scene: Scene) -> None:
    scene.put_inline(13)
    requests, size = scene.cost_of_cold_open("before")
    assert requests == 13
    assert size > 13 * MIB
    assert scene.due()
    requests, size = scene.cost_of_cold_open("after")
    assert requests == 1
    assert size < 16 << 10
    assert not scene.due()


def test_a_log_stays_bounded_by_bytes_between_checkpoints(scene: Scene) -> None:
    written = 0
    for _ in range(12):
        scene.put_inline(1)
        written += scene.due()
    assert written >= 4
    assert scene.cost_of_cold_open("last")[1] < 4 * MIB


def test_an_import_of_one_commit_is_not_doubled(scene: Scene, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for number in range(3000):
        (source / f"{number}-{os.urandom(60).hex()}").write_bytes(b"%d" % number)
    scene.writer.transfer.import_folder(LOCAL_PRINCIPAL, scene.project, source)
    assert not scene.due()


def test_a_checkpoint_that_would_be_as_large_as_the_log_is_not_written(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole tree is what the log mostly holds: a second copy would save nothing."""
    source = tmp_path / "source"
    source.mkdir()
    for number in range(2000):
        (source / f"{number}").write_bytes(b"")
    scene.writer.transfer.import_folder(LOCAL_PRINCIPAL, scene.project, source)
    scene.put_inline(2, size=100)
    size = sum(
        row.object_bytes for row in scene.writer.context.catalog.read_plan(DEFAULT_TENANT, scene.project).commits
    )
    rule = scene.writer.maintenance._rule
    monkeypatch.setattr(scene.writer.maintenance, "_rule", type(rule)(rule.commits, at_least_bytes=size // 2))
    assert not scene.due()


def test_small_commits_wait_for_their_number(make_manifold: MakeManifold) -> None:
    writer = make_manifold(PROJECTS_MAINTENANCE_CHECKPOINT_COMMITS="5")
    project = new_project(writer)
    for number in range(6):
        assert not writer.maintenance.checkpoint_if_due(DEFAULT_TENANT, project)
        put(writer, project, b"a", b"%d" % number)
    assert writer.maintenance.checkpoint_if_due(DEFAULT_TENANT, project)
