"""Damaged objects, as verifications find them."""

from __future__ import annotations

from collections.abc import Sequence

from manifold_common.adapters.postgres.catalog import rows
from manifold_common.adapters.postgres.database import Database
from manifold_common.ids import ProjectId, TenantId
from manifold_common.ports.catalog.damage import MAX_DAMAGED, DamageRow, FoundDamage

_LIST = f"""
SELECT {rows.DAMAGE} FROM damaged_objects AS d
WHERE d.tenant_id = %s AND d.project_id = %s AND d.object_key > %s
ORDER BY d.object_key LIMIT %s
"""

_COUNT = """
SELECT count(*) FROM damaged_objects AS d JOIN projects AS p USING (tenant_id, project_id) WHERE p.deleted_at IS NULL
"""

# The project's row is locked first, so that two verifications that end at once do not wait for each other's rows.
_NOTE = """
WITH p AS (
    SELECT p.tenant_id, p.project_id FROM projects AS p
    WHERE p.tenant_id = %(tenant)s AND p.project_id = %(project)s AND p.deleted_at IS NULL
    FOR NO KEY UPDATE
), gone AS (
    DELETE FROM damaged_objects AS d
    USING p, unnest(%(sound)s::text[], %(seen)s::timestamptz[]) AS s (object_key, seen_at)
    WHERE d.tenant_id = p.tenant_id AND d.project_id = p.project_id
      AND (d.object_key, d.seen_at) = (s.object_key, s.seen_at)
    RETURNING 1
), here AS (
    SELECT d.object_key FROM damaged_objects AS d
    WHERE d.tenant_id = %(tenant)s AND d.project_id = %(project)s
), found AS (
    SELECT f.object_key, f.reason, f.generation, h.object_key IS NOT NULL AS is_known,
           count(*) FILTER (WHERE h.object_key IS NULL) OVER (ORDER BY f.place) AS new
    FROM unnest(%(objects)s::text[], %(reasons)s::text[], %(generations)s::bigint[])
         WITH ORDINALITY AS f (object_key, reason, generation, place)
    LEFT JOIN here AS h USING (object_key)
)
INSERT INTO damaged_objects AS d
    (tenant_id, project_id, object_key, reason, first_generation, found_at, seen_at)
SELECT p.tenant_id, p.project_id, f.object_key, f.reason, f.generation, now(), now()
FROM p, found AS f
WHERE f.is_known OR f.new + (SELECT count(*) FROM here) - (SELECT count(*) FROM gone) <= %(most)s
ON CONFLICT (tenant_id, project_id, object_key) DO UPDATE
SET reason = excluded.reason, first_generation = least(d.first_generation, excluded.first_generation),
    seen_at = greatest(d.seen_at + interval '1 microsecond', excluded.seen_at)
RETURNING 1
"""


class Damages:
    _db: Database

    def damaged_objects(
        self, tenant: TenantId, project: ProjectId, *, after: str = "", limit: int = MAX_DAMAGED
    ) -> list[DamageRow]:
        return [rows.damage(row) for row in self._db.read(_LIST, (tenant, project, after, limit))]

    def count_damaged(self) -> int:
        return int(self._db.read(_COUNT, ())[0][0])

    def note_damage(
        self, tenant: TenantId, project: ProjectId, found: Sequence[FoundDamage], sound: Sequence[DamageRow] = ()
    ) -> None:
        params = {
            "tenant": tenant,
            "project": project,
            "objects": [one.object for one in found],
            "reasons": [one.reason for one in found],
            "generations": [one.first_generation for one in found],
            "sound": [row.object for row in sound],
            "seen": [row.seen_at for row in sound],
            "most": MAX_DAMAGED,
        }
        self._db.write(_NOTE, params)
