"""What projects take in the store, as it was measured."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from manifold_common.adapters.memory.catalog.state import State
from manifold_common.domain.garbage import Kept, StoredUsage
from manifold_common.ids import Generation, ProjectId, TenantId, UserId
from manifold_common.ports.catalog import UsageRow, UsageSum, Waiting


class Usage:
    state: State

    def note_usage(
        self, tenant: TenantId, measured: Sequence[tuple[ProjectId, Generation, StoredUsage]]
    ) -> datetime | None:
        with self.state.lock:
            now = self.state.clock.now()
            known = [one for one in measured if (tenant, one[0]) in self.state.projects]
            for project, generation, stored in known:
                self.state.projects[tenant, project].usage = UsageRow(project, generation, stored, now)
            return now if known else None

    def usage_of(self, tenant: TenantId, projects: Sequence[ProjectId]) -> list[UsageRow]:
        with self.state.lock:
            found = [self.state.projects.get((tenant, project)) for project in sorted(set(projects))]
            return [one.usage for one in found if one is not None and one.usage is not None]

    def usage_sum(self, tenant: TenantId, owner: UserId | None = None) -> UsageSum:
        with self.state.lock:
            every = [
                one for (of, _), one in self.state.projects.items() if of == tenant and owner in (None, one.row.owner)
            ]
            ids = {one.row.project for one in every}
            condemned = [
                garbage.bytes
                for (of, project, _), (garbage, since) in self.state.condemned.items()
                if of == tenant and project in ids and since is not None
            ]
        alive = [one for one in every if one.alive]
        rows = [one.usage for one in every if one.usage is not None]
        return UsageSum(
            projects=len(alive),
            deleted=sum(not one.alive and one.usage is not None and _objects(one.usage) > 0 for one in every),
            unmeasured=sum(one.usage is None for one in alive),
            stored=StoredUsage(*(_sum(row.stored[index] for row in rows) for index in range(3))),
            condemned_objects=len(condemned),
            condemned_bytes=sum(condemned),
            oldest_at=min((row.measured_at for row in rows), default=None),
        )

    def garbage_waiting(self) -> Waiting:
        with self.state.lock:
            sizes = [garbage.bytes for garbage, since in self.state.condemned.values() if since is not None]
        return Waiting(len(sizes), sum(sizes))


def _objects(row: UsageRow) -> int:
    return sum(kept.objects for kept in row.stored)


def _sum(some: Iterable[Kept]) -> Kept:
    every = list(some)
    return Kept(sum(one.objects for one in every), sum(one.bytes for one in every))
