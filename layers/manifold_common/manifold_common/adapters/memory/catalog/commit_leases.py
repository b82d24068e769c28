"""Leases among contending writers: a lock for each project."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from manifold_common.adapters.memory.catalog.state import State
from manifold_common.ids import ProjectId, TenantId


class CommitLeases:
    state: State

    @contextmanager
    def commit_lease(self, tenant: TenantId, project: ProjectId, *, timeout_seconds: float) -> Iterator[bool]:
        with self.state.lock:
            found = self.state.projects.get((tenant, project))
        had = found is not None and found.lease.acquire(timeout=max(0.0, timeout_seconds))
        try:
            yield had
        finally:
            if found is not None and had:
                found.lease.release()
