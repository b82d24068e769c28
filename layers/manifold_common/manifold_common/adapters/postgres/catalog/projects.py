"""Projects. A deleted one leaves its row, which nothing here shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime

from psycopg.types.json import Jsonb

from manifold_common.adapters.postgres.catalog import rows
from manifold_common.adapters.postgres.database import Database
from manifold_common.domain.history import Version, require_version
from manifold_common.domain.keys import KeyRecord
from manifold_common.domain.listing import EVERY_PROJECT, ProjectFilter, past_prefix
from manifold_common.errors import ContentCollected, NotFound
from manifold_common.ids import Generation, ProjectId, TenantId, TenantProject, UserId
from manifold_common.ports.catalog import Head, OutboxEvent, ProjectRow, Publication, Retention
from manifold_common.ports.clock import Clock

_IS_EXPECTED = """(NOT %(has_to_be)s OR p.deleted_at IS NULL AND p.generation = %(at_generation)s
       AND (%(at_commit)s::text IS NULL OR p.head_commit_id = %(at_commit)s)
       AND (%(at_revision)s::bigint IS NULL OR p.revision = %(at_revision)s))"""
"""The project's row ``p`` is in the state that ``_state`` gives the parameters of."""

_CREATE = f"""
WITH source AS (
    SELECT FROM projects AS p
    WHERE p.tenant_id = %(tenant)s AND p.project_id = %(fork)s AND p.generation >= %(fork_generation)s
      AND p.purged_at IS NULL AND {_IS_EXPECTED} AND (%(commit)s::text IS NULL OR p.gc_epoch = %(gc_epoch)s)
    FOR SHARE
), allowed AS (
    SELECT WHERE %(fork)s::text IS NULL OR EXISTS (SELECT FROM source)
), t AS (
    INSERT INTO tenants (tenant_id, created_at) SELECT %(tenant)s, %(now)s FROM allowed ON CONFLICT DO NOTHING
), u AS (
    INSERT INTO users (tenant_id, user_id, created_at) SELECT %(tenant)s, %(owner)s, %(now)s FROM allowed
    ON CONFLICT DO NOTHING
), p AS (
    INSERT INTO projects (tenant_id, project_id, owner_id, name, generation, head_commit_id, head_hash,
                          skills_generation, committed_at, tree_bytes, tree_files, fork_of_project_id,
                          fork_of_generation, key_epoch, gc_epoch, created_at, updated_at)
    SELECT %(tenant)s, %(project)s, %(owner)s, %(name)s, %(generation)s, %(commit)s, %(hash)s, %(skills_generation)s,
           %(committed)s, %(tree_bytes)s, %(tree_files)s, %(fork)s, %(fork_generation)s, %(key_epoch)s, %(gc_epoch)s,
           %(now)s, %(updated)s
    FROM allowed
    RETURNING tenant_id, project_id
), k AS (
    INSERT INTO project_keys (tenant_id, project_id, dek_id, provider, key_name, key_version, ciphertext, epoch,
                              created_at)
    SELECT p.tenant_id, p.project_id, k.dek_id, k.provider, k.key_name, k.key_version, k.ciphertext, k.epoch,
           k.created_at
    FROM p, unnest(%(deks)s::text[], %(providers)s::text[], %(key_names)s::text[], %(key_versions)s::int[],
                   %(ciphertexts)s::bytea[], %(epochs)s::int[], %(created)s::timestamptz[])
            WITH ORDINALITY AS k (dek_id, provider, key_name, key_version, ciphertext, epoch, created_at, position)
    ORDER BY k.position
), c AS (
    INSERT INTO commits (tenant_id, project_id, generation, commit_id, parent_id, record_hash, dek_id, object_bytes,
                         author_id, session_id, note, created_at)
    SELECT p.tenant_id, p.project_id, %(generation)s, %(commit)s, NULL, %(hash)s, %(commit_dek)s, %(object_bytes)s,
           %(author)s, %(session)s, %(note)s, %(committed)s
    FROM p WHERE %(commit)s::text IS NOT NULL
), o AS (
    INSERT INTO outbox (tenant_id, project_id, type, generation, data, created_at)
    SELECT p.tenant_id, p.project_id, e.type, e.position - 1, e.data, e.created_at
    FROM p, unnest(%(types)s::text[], %(data)s::jsonb[], %(event_times)s::timestamptz[])
            WITH ORDINALITY AS e (type, data, created_at, position)
    ORDER BY e.position
)
SELECT FROM p
"""

_RENAME = f"""
WITH p AS (
    UPDATE projects AS p SET name = %(name)s, updated_at = greatest(p.updated_at, %(now)s), revision = p.revision + 1
    WHERE p.tenant_id = %(tenant)s AND p.project_id = %(project)s AND p.deleted_at IS NULL
      AND {_IS_EXPECTED}
    RETURNING p.*
), o AS (
    INSERT INTO outbox (tenant_id, project_id, type, generation, data, created_at)
    SELECT p.tenant_id, p.project_id, %(type)s, p.generation, %(data)s, %(now)s FROM p
)
SELECT {rows.PROJECT} FROM p
"""

# Rules that are so already are left alone, and so are the project's revision and its events. The row is locked before
# it is looked at, so that of two writers at once the later one sees what the other has made of it.
_SET_RETENTION = f"""
WITH p AS (
    SELECT p.*, p.retention_generations IS DISTINCT FROM %(generations)s::int
             OR p.retention_days IS DISTINCT FROM %(days)s::int AS is_new
    FROM projects AS p
    WHERE p.tenant_id = %(tenant)s AND p.project_id = %(project)s AND p.deleted_at IS NULL AND {_IS_EXPECTED}
    FOR NO KEY UPDATE
), changed AS (
    UPDATE projects AS q
    SET retention_generations = %(generations)s, retention_days = %(days)s, revision = q.revision + 1
    FROM p WHERE q.tenant_id = p.tenant_id AND q.project_id = p.project_id AND p.is_new
), o AS (
    INSERT INTO outbox (tenant_id, project_id, type, generation, data, created_at)
    SELECT p.tenant_id, p.project_id, %(type)s, p.generation, %(data)s, %(now)s FROM p WHERE p.is_new
)
SELECT is_new FROM p
"""

# Sessions are locked first, then the project: the order in which a commit locks them, so that the two never wait in a
# circle. They end only where the project does; those with a draft are kept, to come back with it.
_DELETE = f"""
WITH locked AS (
    SELECT session_id FROM sessions
    WHERE tenant_id = %(tenant)s AND project_id = %(project)s AND NOT %(only_unused)s
    FOR UPDATE
), p AS (
    UPDATE projects AS p SET deleted_at = now()
    WHERE p.tenant_id = %(tenant)s AND p.project_id = %(project)s AND p.deleted_at IS NULL
      AND (SELECT count(*) FROM locked) >= 0 AND {_IS_EXPECTED}
      AND NOT (%(only_unused)s AND (p.generation > 0 OR EXISTS (
          SELECT FROM sessions AS s WHERE s.tenant_id = p.tenant_id AND s.project_id = p.project_id)))
    RETURNING p.tenant_id, p.project_id, p.generation, p.deleted_at
), gone AS (
    DELETE FROM sessions AS s USING p WHERE s.tenant_id = p.tenant_id AND s.project_id = p.project_id
    RETURNING s.*
), kept AS (
    INSERT INTO deleted_sessions ({rows.SESSION_COLUMNS})
    SELECT {rows.SESSION_COLUMNS} FROM gone WHERE draft_commit_id IS NOT NULL
), ended AS (
    SELECT * FROM gone WHERE draft_commit_id IS NULL
), {rows.NOTE_ENDED}, o AS (
    INSERT INTO outbox (tenant_id, project_id, type, generation, data, created_at)
    SELECT p.tenant_id, p.project_id, %(type)s, p.generation, %(data)s, %(now)s FROM p
)
SELECT deleted_at FROM p
"""

_GET = f"""
SELECT {rows.PROJECT} FROM projects AS p
WHERE p.tenant_id = %s AND p.project_id = %s AND p.deleted_at IS NULL
"""

_HEAD = f"""
SELECT {rows.HEAD} FROM projects AS p
WHERE p.tenant_id = %s AND p.project_id = %s AND p.deleted_at IS NULL
"""

_FIND = f"""
SELECT {rows.PROJECT} FROM projects AS p
WHERE p.tenant_id = %s AND p.owner_id = %s AND p.name = %s AND p.deleted_at IS NULL
"""

# Names are in the "C" collation, so that those with a prefix are a range of the index. Times are not indexed: every
# commit changes one of them, and its update of the row is to touch no index.
WANTED = """p.name >= %(prefix)s AND p.name < %(past)s
  AND (%(created_since)s::timestamptz IS NULL OR p.created_at >= %(created_since)s)
  AND (%(created_until)s::timestamptz IS NULL OR p.created_at < %(created_until)s)
  AND (%(updated_since)s::timestamptz IS NULL OR p.updated_at >= %(updated_since)s)
  AND (%(updated_until)s::timestamptz IS NULL OR p.updated_at < %(updated_until)s)"""
"""The project's row ``p`` is one that ``wanted_params`` gives the parameters of."""

_LIST = f"""
SELECT {rows.PROJECT} FROM projects AS p
WHERE p.tenant_id = %(tenant)s AND p.owner_id = %(owner)s AND p.deleted_at IS NULL
  AND p.name > %(after)s AND {WANTED}
ORDER BY p.name LIMIT %(limit)s
"""

_ALL = f"""
SELECT {rows.PROJECT} FROM projects AS p
WHERE (p.tenant_id, p.project_id) > (%s, %s) AND p.deleted_at IS NULL
ORDER BY p.tenant_id, p.project_id LIMIT %s
"""

_FORKS = """
WITH RECURSIVE line (project_id, generation) AS (
    SELECT project_id, fork_of_generation FROM projects
    WHERE tenant_id = %(tenant)s AND fork_of_project_id = %(source)s
    UNION
    SELECT f.project_id, line.generation FROM line
    JOIN projects AS f ON f.tenant_id = %(tenant)s AND f.fork_of_project_id = line.project_id
)
SELECT line.project_id, line.generation FROM line
JOIN projects AS p ON p.tenant_id = %(tenant)s AND p.project_id = line.project_id AND p.deleted_at IS NULL
ORDER BY line.project_id
"""


class Projects:
    _db: Database
    _clock: Clock

    def create_project(
        self,
        row: ProjectRow,
        keys: Sequence[KeyRecord],
        event: OutboxEvent,
        *,
        fork_of: tuple[ProjectId, Generation] | None = None,
        source: Version | None = None,
        first: Publication | None = None,
    ) -> None:
        commit = first.commit if first else None
        events = [(event, row.created_at)] + ([(first.event, first.commit.created_at)] if first else [])
        params = {
            **_state(source),
            "tenant": row.tenant,
            "project": row.project,
            "owner": row.owner,
            "name": row.name,
            "generation": commit.generation if commit else 0,
            "commit": commit.commit if commit else None,
            "hash": commit.record_hash if commit else b"",
            "commit_dek": commit.dek if commit else None,
            "object_bytes": commit.object_bytes if commit else None,
            "author": commit.author if commit else None,
            "session": commit.session if commit else None,
            "note": commit.note if commit else None,
            "committed": commit.created_at if commit else None,
            "skills_generation": commit.generation if first and commit and first.touches_skills else 0,
            "tree_bytes": first.tree_bytes if first else row.tree_bytes,
            "tree_files": first.tree_files if first else row.tree_files,
            "now": row.created_at,
            "updated": max(row.updated_at, commit.created_at) if commit else row.updated_at,
            "fork": fork_of[0] if fork_of else None,
            "fork_generation": fork_of[1] if fork_of else None,
            "gc_epoch": first.base.gc_epoch if first else row.head.gc_epoch,
            "key_epoch": max((key.epoch for key in keys), default=0),
            "deks": [key.dek for key in keys],
            "providers": [key.wrapped.provider for key in keys],
            "key_names": [key.wrapped.key_name for key in keys],
            "key_versions": [key.wrapped.key_version for key in keys],
            "ciphertexts": [key.wrapped.ciphertext for key in keys],
            "epochs": [key.epoch for key in keys],
            "created": [key.created_at for key in keys],
            "types": [event.type for event, _ in events],
            "data": [Jsonb(event.data) for event, _ in events],
            "event_times": [at for _, at in events],
        }
        if not self._db.write(_CREATE, params):
            assert fork_of is not None
            self._require(row.tenant, fork_of[0], source)
            if first is not None and head_of(self._db, row.tenant, fork_of[0]).gc_epoch != first.base.gc_epoch:
                raise ContentCollected(fork_of[0])
            raise NotFound(f"there is no generation {fork_of[1]} of project {fork_of[0]} to fork")

    def get_project(self, tenant: TenantId, project: ProjectId) -> ProjectRow:
        found = self._db.read(_GET, (tenant, project))
        if not found:
            raise no_project(project)
        return rows.project(found[0])

    def find_project(self, tenant: TenantId, owner: UserId, name: str) -> ProjectRow | None:
        found = self._db.read(_FIND, (tenant, owner, name))
        return rows.project(found[0]) if found else None

    def list_projects(
        self,
        tenant: TenantId,
        owner: UserId,
        *,
        wanted: ProjectFilter = EVERY_PROJECT,
        after_name: str = "",
        limit: int = 100,
    ) -> list[ProjectRow]:
        params = {**wanted_params(wanted), "tenant": tenant, "owner": owner, "after": after_name, "limit": limit}
        return [rows.project(row) for row in self._db.read(_LIST, params)]

    def all_projects(self, *, after: TenantProject | None = None, limit: int = 100) -> list[ProjectRow]:
        tenant, project = after or ("", "")
        return [rows.project(row) for row in self._db.read(_ALL, (tenant, project, limit))]

    def rename_project(
        self, tenant: TenantId, project: ProjectId, name: str, event: OutboxEvent, *, expected: Version | None = None
    ) -> ProjectRow:
        found = self._db.write(_RENAME, {**self._change(tenant, project, event), **_state(expected), "name": name})
        if not found:
            self._require(tenant, project, expected)
            raise no_project(project)
        return rows.project(found[0])

    def set_retention(
        self,
        tenant: TenantId,
        project: ProjectId,
        retention: Retention,
        event: OutboxEvent,
        *,
        expected: Version | None = None,
    ) -> bool:
        params = {**self._change(tenant, project, event), **_state(expected), **retention._asdict()}
        found = self._db.write(_SET_RETENTION, params)
        if not found:
            self._require(tenant, project, expected)
            raise no_project(project)
        return bool(found[0][0])

    def delete_project(
        self,
        tenant: TenantId,
        project: ProjectId,
        event: OutboxEvent,
        *,
        expected: Version | None = None,
        only_unused: bool = False,
    ) -> datetime:
        params = {**self._change(tenant, project, event), **_state(expected), "only_unused": only_unused}
        found = self._db.write(_DELETE, params)
        if not found:
            self._require(tenant, project, expected)
            raise no_project(project)
        return rows.utc(found[0][0])

    def forks_of(self, tenant: TenantId, source: ProjectId) -> list[tuple[ProjectId, Generation]]:
        found = self._db.read(_FORKS, {"tenant": tenant, "source": source})
        return [(project, generation) for project, generation in found]

    def _require(self, tenant: TenantId, project: ProjectId, expected: Version | None) -> None:
        """Say why nothing was changed, if that is the state of the project: it never comes back to one that it left."""
        if expected is not None:
            require_version(self.get_project(tenant, project).version, expected)

    def _change(self, tenant: TenantId, project: ProjectId, event: OutboxEvent) -> dict[str, object]:
        now = self._clock.now()
        return {"tenant": tenant, "project": project, "now": now, "type": event.type, "data": Jsonb(event.data)}


def _state(expected: Version | None) -> dict[str, object]:
    return {
        "has_to_be": expected is not None,
        "at_generation": expected.point.generation if expected else None,
        "at_commit": expected.point.commit if expected else None,
        "at_revision": expected.revision if expected else None,
    }


def head_of(db: Database, tenant: TenantId, project: ProjectId) -> Head:
    """Raises NotFound."""
    found = db.read(_HEAD, (tenant, project))
    if not found:
        raise no_project(project)
    return rows.head(found[0])


def wanted_params(wanted: ProjectFilter) -> dict[str, object]:
    return {**asdict(wanted), "past": past_prefix(wanted.prefix)}


def no_project(project: ProjectId) -> NotFound:
    return NotFound(f"there is no project {project}")
