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

    def add_checkpoint(self, tenant: TenantId, project: ProjectId, row: CheckpointRow) -> None:
        with self.state.lock:
            found = self.state.living(tenant, project)
            if found.by_id.get(row.commit) is None or found.by_id[row.commit].generation != row.generation:
                raise NotFound(f"project {project} has no commit {row.commit} of generation {row.generation}")
            self.state.require_key(found, row.dek)
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
            held = [point for point in known if found.has(point)]
            floor = max((point.generation for point in held if point.generation <= target), default=0)
            usable = [
                g
                for g, row in found.checkpoints.items()
                if floor < g <= target and not (row.dek == PLAIN and found.epoch)
            ]
            checkpoint = found.checkpoints[max(usable)] if usable else None
            start = checkpoint.generation if checkpoint else floor
            committed_at = found.commits[target - 1].created_at if target else None
            return ReadPlan(head, target, checkpoint, found.commits[start:target], committed_at, held)
