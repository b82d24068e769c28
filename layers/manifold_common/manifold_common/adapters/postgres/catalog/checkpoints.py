"""Checkpoints, and what is to be read from one on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from manifold_common.adapters.postgres.catalog import rows
from manifold_common.adapters.postgres.catalog.keys import refuses_plain
from manifold_common.adapters.postgres.catalog.projects import head_of, no_project
from manifold_common.adapters.postgres.database import Database
from manifold_common.domain.history import Point
from manifold_common.errors import ContentCollected, NotFound
from manifold_common.ids import PLAIN, Generation, ProjectId, TenantId
from manifold_common.ports.catalog import CheckpointRow, ReadPlan, encrypted_meanwhile, removed_generation

# Each row repeats the head and the checkpoint beside one commit: one statement sees one state. OFFSET 0 keeps the
# bounds inside, where they limit what is read of the index; as join conditions they would be tried on every commit.
# A known commit that is the head needs no look at all; another one is a look-up by the primary key.
_READ_PLAN = f"""
SELECT {rows.HEAD}, known.commits, CASE WHEN target.generation = p.generation THEN p.committed_at ELSE (
           SELECT t.created_at FROM commits AS t
           WHERE t.tenant_id = p.tenant_id AND t.project_id = p.project_id AND t.generation = target.generation) END,
       {rows.CHECKPOINT}, {rows.COMMIT}
FROM projects AS p
CROSS JOIN LATERAL (
    SELECT coalesce(%(generation)s::bigint, p.generation) AS generation
) AS target
CROSS JOIN LATERAL (
    SELECT array_agg(a.commit_id) AS commits,
           coalesce(max(a.generation) FILTER (WHERE a.generation <= target.generation), -1) AS generation
    FROM unnest(%(known)s::bigint[], %(known_commits)s::text[]) AS a (generation, commit_id)
    WHERE (a.generation = p.generation AND a.commit_id COLLATE "C" = p.head_commit_id) OR EXISTS (
        SELECT FROM commits AS b
        WHERE b.tenant_id = p.tenant_id AND b.project_id = p.project_id AND b.generation = a.generation
          AND b.commit_id = a.commit_id COLLATE "C") OR EXISTS (
        SELECT FROM removed_commits AS b
        WHERE b.tenant_id = p.tenant_id AND b.project_id = p.project_id AND b.generation = a.generation
          AND b.commit_id = a.commit_id COLLATE "C")
) AS known
LEFT JOIN LATERAL (
    SELECT * FROM checkpoints AS k
    WHERE k.tenant_id = p.tenant_id AND k.project_id = p.project_id
      AND k.generation <= target.generation AND k.generation > known.generation
      AND (p.key_epoch = 0 OR k.dek_id <> '{PLAIN}')
    ORDER BY k.generation DESC LIMIT 1
) AS k ON true
LEFT JOIN LATERAL (
    SELECT * FROM commits AS c
    WHERE c.tenant_id = p.tenant_id AND c.project_id = p.project_id
      AND c.generation > coalesce(k.generation, known.generation) AND c.generation <= target.generation
    OFFSET 0
) AS c ON true
WHERE p.tenant_id = %(tenant)s AND p.project_id = %(project)s AND p.deleted_at IS NULL
ORDER BY c.generation
"""
_CHECKPOINT_START: Final = rows.HEAD_WIDTH + 2
_COMMIT_START: Final = _CHECKPOINT_START + rows.CHECKPOINT_WIDTH

# The lock has whoever suspects objects wait, or this: then it finds another epoch. Only a row that was there before has
# an xmax.
_ADD_CHECKPOINT = """
WITH p AS (
    SELECT p.tenant_id, p.project_id FROM projects AS p
    WHERE p.tenant_id = %(tenant)s AND p.project_id = %(project)s AND p.deleted_at IS NULL
      AND (%(sealed)s OR p.key_epoch = 0) AND p.gc_epoch = %(gc_epoch)s
    FOR NO KEY UPDATE
), k AS (
    INSERT INTO checkpoints (tenant_id, project_id, generation, commit_id, dek_id, object_bytes, object_id)
    SELECT c.tenant_id, c.project_id, c.generation, c.commit_id, %(dek)s, %(object_bytes)s, %(object)s
    FROM p JOIN commits AS c USING (tenant_id, project_id)
    WHERE c.generation = %(generation)s AND c.commit_id = %(commit)s
    ON CONFLICT (tenant_id, project_id, generation) DO UPDATE
        SET commit_id = EXCLUDED.commit_id, dek_id = EXCLUDED.dek_id, object_bytes = EXCLUDED.object_bytes,
            object_id = EXCLUDED.object_id
    RETURNING tenant_id, project_id, xmax <> 0 AS is_replaced
), counted AS (
    UPDATE projects AS q SET removals = q.removals + 1
    FROM k WHERE q.tenant_id = k.tenant_id AND q.project_id = k.project_id AND k.is_replaced
)
SELECT FROM k
"""

_LIST_CHECKPOINTS = f"""
SELECT {rows.CHECKPOINT} FROM projects AS p LEFT JOIN checkpoints AS k USING (tenant_id, project_id)
WHERE p.tenant_id = %s AND p.project_id = %s AND p.deleted_at IS NULL
ORDER BY k.generation DESC
"""


class Checkpoints:
    _db: Database

    def add_checkpoint(self, tenant: TenantId, project: ProjectId, row: CheckpointRow, *, gc_epoch: int = 0) -> None:
        params = {
            "tenant": tenant,
            "project": project,
            "generation": row.generation,
            "commit": row.commit,
            "gc_epoch": gc_epoch,
            "dek": row.dek,
            "sealed": row.dek != PLAIN,
            "object_bytes": row.object_bytes,
            "object": row.object_id,
        }
        if not self._db.write(_ADD_CHECKPOINT, params):
            if row.dek == PLAIN and refuses_plain(self._db, tenant, project):
                raise encrypted_meanwhile(project)
            if head_of(self._db, tenant, project).gc_epoch != gc_epoch:
                raise ContentCollected(project)
            raise NotFound(f"project {project} has no commit {row.commit} of generation {row.generation}")

    def list_checkpoints(self, tenant: TenantId, project: ProjectId) -> list[CheckpointRow]:
        found = self._db.read(_LIST_CHECKPOINTS, (tenant, project))
        if not found:
            raise no_project(project)
        return [rows.checkpoint(row) for row in found if row[0] is not None]

    def read_plan(
        self,
        tenant: TenantId,
        project: ProjectId,
        generation: Generation | None = None,
        *,
        known: Sequence[Point] = (),
    ) -> ReadPlan:
        params = {
            "tenant": tenant,
            "project": project,
            "generation": generation,
            "known": [point.generation for point in known],
            "known_commits": [point.commit for point in known],
        }
        found = self._db.read(_READ_PLAN, params)
        if not found:
            raise no_project(project)
        head = rows.head(found[0][: rows.HEAD_WIDTH])
        target = head.generation if generation is None else generation
        if not 0 <= target <= head.generation:
            raise NotFound(f"project {project} has no generation {target}")
        held, committed_at, *checkpoint = found[0][rows.HEAD_WIDTH : _COMMIT_START]
        if target and committed_at is None:
            raise removed_generation(project, target)
        return ReadPlan(
            head,
            target,
            rows.checkpoint(checkpoint) if checkpoint[0] is not None else None,
            [rows.commit(row[_COMMIT_START:]) for row in found if row[_COMMIT_START] is not None],
            rows.utc_or_none(committed_at),
            [point for point in known if point.commit in (held or ())],
        )
