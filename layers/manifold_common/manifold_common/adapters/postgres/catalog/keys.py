"""Wrapped keys, and what of a project is under none."""

from __future__ import annotations

from collections.abc import Sequence

from manifold_common.adapters.postgres.catalog import rows
from manifold_common.adapters.postgres.catalog.projects import no_project
from manifold_common.adapters.postgres.database import Database
from manifold_common.domain.keys import NO_PROVIDER, Kek, KeyCursor, KeyRecord, WrappedKey
from manifold_common.errors import InternalError
from manifold_common.ids import PLAIN, CommitId, ProjectId, TenantId
from manifold_common.ports.catalog import CheckpointRow, Head, PlainObjects

_KEYS = f"""
SELECT {rows.KEY} FROM projects AS p LEFT JOIN project_keys AS k USING (tenant_id, project_id)
WHERE p.tenant_id = %s AND p.project_id = %s AND p.deleted_at IS NULL
ORDER BY k.epoch DESC, k.position DESC
"""

# It changes the project's row, as every commit does: of the two, the one that had to wait looks at the row again.
_BEGIN_EPOCH = """
WITH p AS (
    UPDATE projects SET key_epoch = %(epoch)s, revision = revision + 1, removals = removals + 1
    WHERE tenant_id = %(tenant)s AND project_id = %(project)s AND deleted_at IS NULL
      AND key_epoch < %(epoch)s
      AND generation = %(generation)s AND head_commit_id IS NOT DISTINCT FROM %(commit)s AND removals = %(removals)s
      AND gc_epoch = %(gc_epoch)s
      AND (%(drafts)s::text[] IS NULL OR NOT EXISTS (
            SELECT FROM sessions AS s
            WHERE s.tenant_id = %(tenant)s AND s.project_id = %(project)s AND s.draft_dek_id = %(plain)s
              AND s.draft_commit_id <> ALL (%(drafts)s::text[])))
    RETURNING tenant_id, project_id
), k AS (
    INSERT INTO project_keys (tenant_id, project_id, dek_id, provider, key_name, key_version, ciphertext, epoch,
                              created_at)
    SELECT p.tenant_id, p.project_id, %(dek)s, %(provider)s, %(key_name)s, %(key_version)s, %(ciphertext)s, %(epoch)s,
           %(created_at)s
    FROM p
), c AS (
    UPDATE checkpoints AS c SET dek_id = x.dek_id, object_bytes = x.object_bytes, object_id = x.object_id
    FROM p, unnest(%(checkpoints)s::bigint[], %(checkpoint_deks)s::text[], %(checkpoint_bytes)s::bigint[],
                   %(checkpoint_objects)s::text[]) AS x (generation, dek_id, object_bytes, object_id)
    WHERE c.tenant_id = p.tenant_id AND c.project_id = p.project_id AND c.generation = x.generation
)
SELECT
    EXISTS (SELECT FROM p),
    EXISTS (SELECT FROM projects WHERE tenant_id = %(tenant)s AND project_id = %(project)s AND deleted_at IS NULL)
"""

_PLAIN_OBJECTS = f"""
SELECT p.project_id, count(*), sum(o.object_bytes)
FROM projects AS p CROSS JOIN LATERAL (
    SELECT object_bytes FROM commits AS c
    WHERE c.tenant_id = p.tenant_id AND c.project_id = p.project_id AND c.dek_id = '{PLAIN}'
    UNION ALL
    SELECT object_bytes FROM checkpoints AS c
    WHERE c.tenant_id = p.tenant_id AND c.project_id = p.project_id AND c.dek_id = '{PLAIN}'
) AS o
WHERE p.tenant_id = %s AND p.project_id = ANY (%s) AND p.deleted_at IS NULL
GROUP BY p.project_id
"""

_EPOCH_BEGUN = """
SELECT 1 FROM projects WHERE tenant_id = %s AND project_id = %s AND deleted_at IS NULL AND key_epoch > 0
"""

_COUNT_PLAIN_PROJECTS = f"""
SELECT count(*) FROM project_keys AS k JOIN projects AS p USING (tenant_id, project_id)
WHERE k.dek_id = '{PLAIN}' AND p.deleted_at IS NULL
"""

_KEYS_NOT_UNDER = f"""
SELECT k.tenant_id, k.project_id, {rows.KEY} FROM project_keys AS k
WHERE (k.tenant_id, k.project_id, k.dek_id) > (%s, %s, %s)
  AND k.provider <> %s AND (k.provider, k.key_name, k.key_version) <> (%s, %s, %s)
ORDER BY k.tenant_id, k.project_id, k.dek_id LIMIT %s
"""

_FIND = f"""
SELECT k.tenant_id, k.project_id, {rows.KEY} FROM project_keys AS k
WHERE (k.tenant_id, k.project_id, k.dek_id) IN (SELECT * FROM unnest(%s::text[], %s::text[], %s::text[]))
"""

_REPLACE_WRAPPED = """
UPDATE project_keys SET provider = %s, key_name = %s, key_version = %s, ciphertext = %s
WHERE tenant_id = %s AND project_id = %s AND dek_id = %s
  AND provider = %s AND key_name = %s AND key_version = %s AND ciphertext = %s
RETURNING 1
"""

_WRAPPED = """
SELECT provider, key_name, key_version, ciphertext FROM project_keys
WHERE tenant_id = %s AND project_id = %s AND dek_id = %s
"""


class Keys:
    _db: Database

    def project_keys(self, tenant: TenantId, project: ProjectId) -> list[KeyRecord]:
        found = self._db.read(_KEYS, (tenant, project))
        if not found:
            raise no_project(project)
        return [rows.key(row, tenant, project) for row in found if row[0] is not None]

    def begin_epoch(
        self,
        key: KeyRecord,
        head: Head,
        *,
        drafts: Sequence[CommitId] | None = None,
        removals: int = 0,
        checkpoints: Sequence[CheckpointRow] = (),
    ) -> bool:
        if key.epoch < 1 or key.dek == PLAIN:
            raise InternalError(f"key {key.dek} cannot begin epoch {key.epoch}")
        params = {
            "tenant": key.tenant,
            "project": key.project,
            "generation": head.generation,
            "commit": head.commit,
            "dek": key.dek,
            **key.wrapped._asdict(),
            "epoch": key.epoch,
            "created_at": key.created_at,
            "drafts": None if drafts is None else list(drafts),
            "plain": PLAIN,
            "removals": removals,
            "gc_epoch": head.gc_epoch,
            "checkpoints": [row.generation for row in checkpoints],
            "checkpoint_deks": [row.dek for row in checkpoints],
            "checkpoint_bytes": [row.object_bytes for row in checkpoints],
            "checkpoint_objects": [row.object_id for row in checkpoints],
        }
        begun, project_exists = self._db.write(_BEGIN_EPOCH, params)[0]
        if not project_exists:
            raise no_project(key.project)
        return bool(begun)

    def plain_objects(self, tenant: TenantId, projects: Sequence[ProjectId]) -> dict[ProjectId, PlainObjects]:
        found = self._db.read(_PLAIN_OBJECTS, (tenant, list(projects)))
        return {project: PlainObjects(count, int(size)) for project, count, size in found}

    def count_plain_projects(self) -> int:
        return int(self._db.read(_COUNT_PLAIN_PROJECTS, ())[0][0])

    def keys_not_under(self, kek: Kek, *, after: KeyCursor | None = None, limit: int = 100) -> list[KeyRecord]:
        found = self._db.read(_KEYS_NOT_UNDER, (*(after or ("", "", "")), NO_PROVIDER, *kek, limit))
        return [rows.key(row[2:], row[0], row[1]) for row in found]

    def find_keys(self, names: Sequence[KeyCursor]) -> list[KeyRecord]:
        columns = [[name[index] for name in names] for index in range(3)]
        return [rows.key(row[2:], row[0], row[1]) for row in self._db.read(_FIND, columns)]

    def replace_wrapped_key(self, before: KeyRecord, wrapped: WrappedKey) -> WrappedKey | None:
        name = (before.tenant, before.project, before.dek)
        if self._db.write(_REPLACE_WRAPPED, (*wrapped, *name, *before.wrapped)):
            return wrapped
        found = self._db.read(_WRAPPED, name)
        return WrappedKey(*found[0]) if found else None


def refuses_plain(db: Database, tenant: TenantId, project: ProjectId) -> bool:
    """Tell whether something unsealed was refused because an epoch has begun."""
    return bool(db.read(_EPOCH_BEGUN, (tenant, project)))
