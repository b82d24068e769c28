"""An installation in which a kind of job has something to do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

from manifold_common.adapters.memory.catalog import MemoryCatalog
from manifold_common.adapters.memory.clock import ManualClock
from manifold_common.adapters.memory.object_store import MemoryObjectStore
from manifold_common.bootstrap import Manifold
from manifold_common.ports.catalog import Catalog

from tests.support.faulty_store import CutOff, FaultyStore
from tests.support.manifold import MakeManifold


@dataclass
class Base:
    """Where an installation is built, so that whatever it asks of catalog and store can be cut off."""

    make: Callable[..., Manifold]
    store: FaultyStore
    clock: ManualClock

    @classmethod
    def new(cls, make_manifold: MakeManifold) -> Base:
        clock = ManualClock()
        store = FaultyStore(MemoryObjectStore(clock))
        catalog = cast(Catalog, CutOff(MemoryCatalog(clock=clock), store))

        def make(**variables: str) -> Manifold:
            return make_manifold(catalog=catalog, store=store, clock=clock, **variables)

        return cls(make, store, clock)


@dataclass
class Scene:
    manifold: Manifold
    """As workers have it."""
    count: int
    """Items that a job has, before any of them is done."""
    is_done: Callable[[], bool]
    """Whether what the job is for has come about, for every item, looked at with the eyes of a new process."""
    params: dict[str, object] = field(default_factory=dict)
