"""A whole Manifold for a test: every service, over adapters in memory or over real ones."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from manifold_common.adapters.keyfile.provider import FileKeyProvider
from manifold_common.adapters.memory.catalog import MemoryCatalog
from manifold_common.adapters.memory.object_store import MemoryObjectStore
from manifold_common.adapters.system.clock import SystemClock, SystemRandomness
from manifold_common.adapters.wrappers.counting import CountingStore
from manifold_common.bootstrap import (
    Manifold,
    assemble,
    build_catalog,
    build_generation_cache,
    build_key_providers,
    build_links,
    build_served_store,
    build_store,
)
from manifold_common.engine.working_set.removal import remove_tree
from manifold_common.ports.catalog import Catalog
from manifold_common.ports.clock import Clock
from manifold_common.ports.generation_cache import GenerationCache
from manifold_common.ports.key_provider import KeyProvider
from manifold_common.ports.object_store import ObjectStore
from manifold_common.settings import Settings, load_settings

from tests.support.stack import NewStack

RAM = Path("/dev/shm") if Path("/dev/shm").is_dir() else None


def settings_for(folder: Path, ram: Path, **variables: str) -> Settings:
    """Return settings of an encrypted, ephemeral Manifold below ``folder``; ``variables`` override."""
    environ = {
        "WORKDIR": str(folder),
        "PROJECTS_ENCRYPT": "true",
        "PROJECTS_WORKSPACE_MODE": "ephemeral",
        "PROJECTS_WORKSPACE_TMPFS_DIR": str(ram),
        **variables,
    }
    return load_settings(environ=environ, cwd=folder)


def folder_manifold(
    folder: Path, *, catalog: Catalog | None = None, clock: Clock | None = None, **variables: str
) -> Manifold:
    """Return a Manifold without encryption whose store is a folder, which clients reach through it. Close it."""
    time, randomness = clock or SystemClock(), SystemRandomness()
    settings = load_settings(environ={"WORKDIR": str(folder), **variables}, cwd=folder)
    return assemble(
        settings,
        catalog=catalog or MemoryCatalog(clock=time),
        store=build_store(settings, time, randomness),
        served=build_served_store(settings, time, randomness),
        providers={},
        clock=time,
        randomness=randomness,
    )


MakeManifold = Callable[..., Manifold]


@pytest.fixture
def ram_folder(tmp_path: Path) -> Iterator[Path]:
    """A private folder in RAM, removed after the test."""
    folder = (RAM or tmp_path) / f"manifold-test-{uuid.uuid4().hex[:12]}"
    folder.mkdir(mode=0o700)
    yield folder
    remove_tree(str(folder))


@pytest.fixture
def make_manifold(
    tmp_path: Path, ram_folder: Path, new_stack: NewStack, request: pytest.FixtureRequest
) -> Iterator[MakeManifold]:
    """Return a function that builds a Manifold.

    Keyword arguments: ``catalog`` and ``store`` (default: in memory), ``generations`` (default: none), ``clock``,
    ``node`` (a name: nodes share catalog, store and keystore but have a cache and RAM of their own), ``in_folder`` (the
    store is a real folder, which clients reach through the server), and settings by variable name.
    """
    built: list[Manifold] = []
    shared: dict[str, Any] = {}
    stack = new_stack()

    def make(
        *,
        catalog: Catalog | None = None,
        store: ObjectStore | None = None,
        generations: GenerationCache | None = None,
        clock: Clock | None = None,
        node: str = "a",
        in_folder: bool = False,
        **variables: str,
    ) -> Manifold:
        time = clock or SystemClock()
        randomness = SystemRandomness()
        folder, ram = tmp_path / f"node-{node}", ram_folder / node
        folder.mkdir(exist_ok=True)
        if in_folder:
            variables |= {"PROJECTS_BACKEND": "filesystem", "PROJECTS_FILESYSTEM_ROOT": str(tmp_path / "objects")}
        settings = settings_for(folder, ram, **{**stack, **variables})
        if not shared:
            if stack:
                dsn = request.getfixturevalue("postgres_dsn")
                shared["catalog"] = build_catalog(settings, dsn, time)
                shared["store"] = CountingStore(build_store(settings, time, randomness))
            else:
                shared["catalog"] = MemoryCatalog(clock=time)
                shared["store"] = MemoryObjectStore(time)
                if settings.projects.backend == "s3" or in_folder:
                    shared["store"] = CountingStore(build_store(settings, time, randomness))
        providers: dict[str, KeyProvider]
        if settings.projects.encryption.provider == "file":
            providers = {"file": FileKeyProvider(tmp_path / "keystore", clock=time, randomness=randomness)}
        else:
            providers = build_key_providers(settings, time, randomness)
        made = assemble(
            settings,
            catalog=catalog or shared["catalog"],
            store=store or shared["store"],
            providers=providers,
            clock=time,
            randomness=randomness,
            generations=generations or (build_generation_cache(settings, time, randomness) if stack else None),
            links=build_links(settings, time),
            served=build_served_store(settings, time, randomness) if in_folder else None,
        )
        built.append(made)
        return made

    yield make
    for made in built:
        made.context.workers.close()
        if stack:
            made.context.generations.close()
    if stack and shared:
        shared["catalog"].close()
