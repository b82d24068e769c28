"""What the client's side works with. Built once, in ``bootstrap``."""

from __future__ import annotations

from dataclasses import dataclass

from manifold_common.domain.quota import Limits
from manifold_common.engine.memory import Memory
from manifold_common.engine.object_cache import ObjectCache
from manifold_common.engine.workers import Workers
from manifold_common.engine.working_set.working_sets import WorkingSets
from manifold_common.ports.clock import Clock, Randomness
from manifold_common.ports.remote import LinkedAccess, RemoteServer


@dataclass(frozen=True, slots=True)
class RemoteContext:
    server: RemoteServer
    links: LinkedAccess
    cache: ObjectCache
    """Sealed objects, as in the store."""
    working_sets: WorkingSets
    workers: Workers
    clock: Clock
    randomness: Randomness
    limits: Limits
    memory: Memory

    def close(self) -> None:
        self.workers.close()
        self.links.close()
        self.server.close()
