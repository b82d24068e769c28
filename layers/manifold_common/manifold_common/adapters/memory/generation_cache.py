"""A generation cache in this process's memory: nodes that are given the same one hear of each other.

For tests and for trying things out. Safe for threads.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from manifold_common.ids import ProjectId, TenantId, TenantProject
from manifold_common.ports.clock import Clock
from manifold_common.ports.generation_cache import CacheHealth, Generations, Invalidation, Listener

_POLL_SECONDS = 0.01


class MemoryGenerationCache:
    """Implements the GenerationCache port."""

    def __init__(self, clock: Clock, *, lock_seconds: float = 30.0) -> None:
        self._clock = clock
        self._lock_seconds = lock_seconds
        self._lock = threading.Lock()
        self._known: dict[TenantProject, Generations] = {}
        self._turns: dict[TenantProject, tuple[object, float]] = {}
        self._listeners: list[MemoryListener] = []

    def hint(self, tenant: TenantId, project: ProjectId) -> Generations | None:
        with self._lock:
            return self._known.get((tenant, project))

    def announce(self, news: Invalidation) -> bool:
        owner = (news.tenant, news.project)
        with self._lock:
            known = self._known.get(owner, Generations(news.generation, news.skills_generation))
            self._known[owner] = Generations(
                max(known.generation, news.generation), max(known.skills_generation, news.skills_generation)
            )
            for listener in self._listeners:
                listener.heard.put(news)
        return True

    @contextmanager
    def writer_lease(self, tenant: TenantId, project: ProjectId, *, wait_seconds: float) -> Iterator[bool]:
        owner, token = (tenant, project), object()
        deadline = self._clock.monotonic() + wait_seconds
        while not (had := self._acquire(owner, token)) and self._clock.monotonic() < deadline:
            self._clock.sleep(_POLL_SECONDS)
        try:
            yield had
        finally:
            with self._lock:
                if owner in self._turns and self._turns[owner][0] is token:
                    del self._turns[owner]

    @contextmanager
    def listen(self) -> Iterator[Listener]:
        listener = MemoryListener()
        with self._lock:
            self._listeners.append(listener)
        try:
            yield listener
        finally:
            with self._lock:
                self._listeners.remove(listener)

    def health(self) -> CacheHealth:
        return CacheHealth(True, "in memory", 0.0)

    def close(self) -> None:
        pass

    def _acquire(self, owner: TenantProject, token: object) -> bool:
        now = self._clock.monotonic()
        with self._lock:
            if owner in self._turns and self._turns[owner][1] > now:
                return False
            self._turns[owner] = (token, now + self._lock_seconds)
            return True


class MemoryListener:
    def __init__(self) -> None:
        self.heard: queue.SimpleQueue[Invalidation] = queue.SimpleQueue()

    def next(self, timeout_seconds: float) -> Invalidation | None:
        try:
            return self.heard.get(timeout=timeout_seconds)
        except queue.Empty:
            return None
