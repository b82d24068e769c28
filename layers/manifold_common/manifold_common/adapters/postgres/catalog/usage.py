"""What projects take in the store, as it was measured."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from manifold_common.adapters.postgres.catalog import rows
from manifold_common.adapters.postgres.database import Database
from manifold_common.domain.garbage import Kept, StoredUsage
from manifold_common.ids import Generation, ProjectId, TenantId, UserId
from manifold_common.ports.catalog import UsageRow, UsageSum, Waiting

_SIZES = "live_objects, live_bytes, history_objects, history_bytes, unreferenced_objects, unreferenced_bytes"

_NOTE = f"""
INSERT INTO project_usage (tenant_id, project_id, generation, {_SIZES}, measured_at)
SELECT p.tenant_id, p.project_id, m.generation, {_SIZES}, now()
FROM unnest(%(projects)s::text[], %(generations)s::bigint[], %(sizes_0)s::bigint[], %(sizes_1)s::bigint[],
            %(sizes_2)s::bigint[], %(sizes_3)s::bigint[], %(sizes_4)s::bigint[], %(sizes_5)s::bigint[])
        AS m (project_id, generation, {_SIZES})
JOIN projects AS p ON p.tenant_id = %(tenant)s AND p.project_id = m.project_id COLLATE "C"
ON CONFLICT (tenant_id, project_id) DO UPDATE SET (generation, {_SIZES}, measured_at) = (
    excluded.generation, excluded.live_objects, excluded.live_bytes, excluded.history_objects, excluded.history_bytes,
    excluded.unreferenced_objects, excluded.unreferenced_bytes, excluded.measured_at)
RETURNING measured_at
"""

_OF = f"""
SELECT project_id, generation, {_SIZES}, measured_at FROM project_usage
WHERE tenant_id = %s AND project_id = ANY (%s) ORDER BY project_id
"""

_SUM = """
SELECT count(*) FILTER (WHERE p.deleted_at IS NULL),
       count(*) FILTER (WHERE p.deleted_at IS NOT NULL
                          AND u.live_objects + u.history_objects + u.unreferenced_objects > 0),
       count(*) FILTER (WHERE p.deleted_at IS NULL AND u.project_id IS NULL),
       sum(u.live_objects), sum(u.live_bytes), sum(u.history_objects), sum(u.history_bytes),
       sum(u.unreferenced_objects), sum(u.unreferenced_bytes), sum(g.objects), sum(g.bytes), min(u.measured_at)
FROM projects AS p
LEFT JOIN project_usage AS u ON u.tenant_id = p.tenant_id AND u.project_id = p.project_id
LEFT JOIN (
    SELECT project_id, count(*) AS objects, sum(bytes) AS bytes FROM condemned_objects
    WHERE tenant_id = %(tenant)s AND condemned_at IS NOT NULL GROUP BY project_id
) AS g ON g.project_id = p.project_id
WHERE p.tenant_id = %(tenant)s AND (%(owner)s::text IS NULL OR p.owner_id = %(owner)s)
"""

_WAITING = "SELECT count(*), coalesce(sum(bytes), 0) FROM condemned_objects WHERE condemned_at IS NOT NULL"


class Usage:
    _db: Database

    def note_usage(
        self, tenant: TenantId, measured: Sequence[tuple[ProjectId, Generation, StoredUsage]]
    ) -> datetime | None:
        sizes = [[size for kept in stored for size in kept] for _, _, stored in measured]
        params: dict[str, Any] = {
            "tenant": tenant,
            "projects": [project for project, _, _ in measured],
            "generations": [generation for _, generation, _ in measured],
            **{f"sizes_{index}": [row[index] for row in sizes] for index in range(6)},
        }
        found = self._db.write(_NOTE, params)
        return rows.utc(found[0][0]) if found else None

    def usage_of(self, tenant: TenantId, projects: Sequence[ProjectId]) -> list[UsageRow]:
        return [
            UsageRow(project, generation, _stored(sizes), rows.utc(measured_at))
            for project, generation, *sizes, measured_at in self._db.read(_OF, (tenant, list(projects)))
        ]

    def usage_sum(self, tenant: TenantId, owner: UserId | None = None) -> UsageSum:
        projects, deleted, unmeasured, *sums, oldest_at = self._db.read(_SUM, {"tenant": tenant, "owner": owner})[0]
        *sizes, objects, size = [int(one or 0) for one in sums]  # a sum over nothing is NULL
        return UsageSum(projects, deleted, unmeasured, _stored(sizes), objects, size, rows.utc_or_none(oldest_at))

    def garbage_waiting(self) -> Waiting:
        objects, size = self._db.read(_WAITING, ())[0]
        return Waiting(objects, int(size))


def _stored(sizes: Sequence[int]) -> StoredUsage:
    return StoredUsage(Kept(*sizes[0:2]), Kept(*sizes[2:4]), Kept(*sizes[4:6]))
