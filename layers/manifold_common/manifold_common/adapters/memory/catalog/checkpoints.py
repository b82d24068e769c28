"""Checkpoints, and what is to be read from one on."""

from __future__ import annotations

from collections.abc import Sequence

from manifold_common.adapters.memory.catalog.state import State
from manifold_common.domain.history import Point
from manifold_common.errors import NotFound
from manifold_common.ids import PLAIN, Generation, ProjectId, TenantId
from manifold_common.ports.catalog import CheckpointRow, ReadPlan


class Checkpoints:
    state: State

    def add_checkpoint(self, tenant: TenantId, project: ProjectId, row: CheckpointRow, *, gc_epoch: int = 0) -> None:
        with self.state.lock:
            found = self.state.living(tenant, project)
            if found.by_id.get(row.commit) is None or found.by_id[row.commit].generation != row.generation:
                raise NotFound(f"project {project} has no commit {row.commit} of generation {row.generation}")
            self.state.require_key(found, row.dek)
            self.state.require_epoch(found, gc_epoch)
            found.removals += row.generation in found.checkpoints
            found.checkpoints[row.generation] = row

    def list_checkpoints(self, tenant: TenantId, project: ProjectId) -> list[CheckpointRow]:
        with self.state.lock:
            checkpoints = self.state.living(tenant, project).checkpoints
            return [checkpoints[generation] for generation in sorted(checkpoints, reverse=True)]

    def read_plan(
        self,
        tenant: TenantId,
        project: ProjectId,
        generation: Generation | None = None,
        *,
        known: Sequence[Point] = (),
    ) -> ReadPlan:
        with self.state.lock:
            found = self.state.living(tenant, project)
            head = found.row.head
            target = head.generation if generation is None else generation
            if not 0 <= target <= head.generation:
                raise NotFound(f"project {project} has no generation {target}")
            if target:
                found.at(target)
            held = [point for point in known if found.had(point)]
            floor = max((p.generation for p in held if p.generation <= target and found.has(p)), default=0)
            usable = [
                g
                for g, row in found.checkpoints.items()
                if floor < g <= target and not (row.dek == PLAIN and found.epoch)
            ]
            checkpoint = found.checkpoints[max(usable)] if usable else None
            start = checkpoint.generation if checkpoint else floor
            committed_at = found.commits[target].created_at if target else None
            commits = [row for generation, row in found.commits.items() if start < generation <= target]
            return ReadPlan(head, target, checkpoint, commits, committed_at, held)
