"""What the measurements run on: servers, folders in RAM and on disk, and nodes of Manifold. All gone afterwards."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from manifold_common.adapters.system.clock import SystemClock, SystemRandomness
from manifold_common.adapters.wrappers.counting import CountingStore
from manifold_common.bootstrap import (
    Manifold,
    assemble,
    build_catalog,
    build_key_providers,
    build_store,
    migrate_catalog,
)
from manifold_common.ports.object_store import ObjectStore
from manifold_common.settings import load_settings
from manifold_local.embedded.postgres import ensure_embedded
from manifold_local.embedded.stack.seaweedfs import S3Endpoint

from tests.bench import corpus, rivals
from tests.support.seaweedfs import running_seaweedfs, s3_variables

RAM_ROOT = Path("/dev/shm")
_PREFIX = "manifold-bench-"


@dataclass
class Node:
    """One Manifold: a cache, a folder in RAM and connections of its own."""

    manifold: Manifold
    store: CountingStore
    environ: dict[str, str]

    def close(self) -> None:
        self.manifold.close()
        workspace = self.manifold.settings.projects.workspace
        for folder in (workspace.cache_dir, workspace.tmpfs_dir):
            shutil.rmtree(folder, ignore_errors=True)


@dataclass
class Stage:
    disk: Path
    ram: Path
    dsn: str
    s3: S3Endpoint
    files: list[tuple[str, bytes]]
    quick: bool
    _count: int = 0
    _nodes: list[Node] = field(default_factory=list)

    @cached_property
    def source(self) -> Path:
        """The 10,000 files, in RAM."""
        folder = self.ram / "source"
        corpus.write_tree(folder, self.files)
        return folder

    def times(self, full: int, quick: int) -> int:
        return quick if self.quick else full

    def fresh(self, name: str, *, in_ram: bool = True) -> Path:
        """Return a path that does not exist yet."""
        self._count += 1
        return (self.ram if in_ram else self.disk) / f"{name}-{self._count}"

    def environment(self) -> dict[str, str]:
        """Return the settings of a new node as variables. Nodes share the store, the catalog and the keystore."""
        return {
            "WORKDIR": str(self.disk / "workdir"),
            "DATABASE_URL": self.dsn,
            "DATABASE_PREPARE": "true",
            "PROJECTS_ENCRYPT": "true",
            "PROJECTS_WORKSPACE_MODE": "ephemeral",
            "PROJECTS_WORKSPACE_CACHE_DIR": str(self.fresh("cache", in_ram=False)),
            "PROJECTS_WORKSPACE_TMPFS_DIR": str(self.fresh("sets")),
            **s3_variables(self.s3),
            "S3_REGION": self.s3.region,
        }

    def node(self, *, dsn: str | None = None) -> Node:
        """Start a node that has nothing cached, with its connections open. ``dsn``: another way to the catalog."""
        environ = self.environment()
        if dsn is not None:
            environ["DATABASE_URL"] = dsn
        node = start_node(environ, self.disk)
        self._nodes.append(node)
        return node

    def drop(self, node: Node) -> None:
        self._nodes.remove(node)
        node.close()

    def command(self, environ: dict[str, str], *arguments: str | Path) -> float:
        """Run the ``manifold`` program in the environment of a node and return its seconds."""
        program = Path(sys.executable).parent / "manifold"
        return rivals.run(program, "--quiet", *arguments, cwd=self.disk, env=environ)

    def wait_until_quiet(self, limit_seconds: float = 8.0) -> None:
        """Let what the row before has left to the disk and the servers pass, within bounds."""
        deadline = time.monotonic() + limit_seconds
        while time.monotonic() < deadline and _dirty_bytes() > 64 << 20:
            time.sleep(0.25)

    def close(self) -> None:
        while self._nodes:
            self._nodes.pop().close()


def start_node(environ: dict[str, str], cwd: Path, *, store: ObjectStore | None = None) -> Node:
    """Build a Manifold from variables alone, and open its connections. ``store``: instead of the S3 server."""
    settings = load_settings(environ=environ, cwd=cwd)
    assert settings.database_url is not None
    clock, randomness = SystemClock(), SystemRandomness()
    counting = CountingStore(store or build_store(settings, clock, randomness))
    manifold = assemble(
        settings,
        catalog=build_catalog(settings, settings.database_url.get_secret_value(), clock),
        store=counting,
        providers=build_key_providers(settings, clock, randomness),
        clock=clock,
        randomness=randomness,
    )
    manifold.context.catalog.health()
    counting.health()
    return Node(manifold, counting, environ)


@contextmanager
def running_stage(*, quick: bool) -> Iterator[Stage]:
    """Start the servers. Raises CorpusMissing."""
    files = corpus.source_files()
    corpus.CACHE.mkdir(parents=True, exist_ok=True)
    for place in (RAM_ROOT, corpus.CACHE):
        _sweep(place)
    with ExitStack() as stack:
        mark = f"{_PREFIX}{os.getpid()}-"
        ram = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=mark, dir=RAM_ROOT)))
        disk = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=mark, dir=corpus.CACHE)))
        (disk / "workdir").mkdir()
        s3 = stack.enter_context(running_seaweedfs()).endpoint
        server = ensure_embedded(disk / "pg", linger_seconds=0.2)
        stack.callback(server.close, stop_now=True)
        migrate_catalog(server.dsn)
        stage = Stage(disk, ram, server.dsn, s3, files, quick)
        stack.callback(stage.close)
        yield stage


def _sweep(folder: Path) -> None:
    """Remove what runs that were killed have left."""
    for left in folder.glob(f"{_PREFIX}*"):
        owner = left.name.removeprefix(_PREFIX).split("-")[0]
        if not (owner.isdigit() and Path(f"/proc/{owner}").exists()):
            shutil.rmtree(left, ignore_errors=True)


def _dirty_bytes() -> int:
    """Return how much the kernel still has to write to disks."""
    kilobytes = 0
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith(("Dirty:", "Writeback:")):
            kilobytes += int(line.split()[1])
    return kilobytes << 10
