"""Generations that are removed, and objects that are suspected, condemned and forgotten."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from psycopg.types.json import Jsonb

from manifold_common.adapters.postgres.catalog import rows
from manifold_common.adapters.postgres.catalog.backups import IS_HELD
from manifold_common.adapters.postgres.catalog.projects import head_of, no_project
from manifold_common.adapters.postgres.database import Database
from manifold_common.domain.garbage import Cause, Garbage
from manifold_common.errors import NotFound
from manifold_common.ids import PLAIN, Generation, ProjectId, TenantId, TenantProject
from manifold_common.ports.catalog import (
    Condemned,
    GarbageTotal,
    Holdings,
    Member,
    Moment,
    OutboxEvent,
    Retention,
    Standing,
    UploadPart,
)
from manifold_common.ports.clock import Clock

_STANDING = "p.deleted_at IS NOT NULL, p.purged_at IS NOT NULL"

_FAMILIES = """
SELECT p.tenant_id, p.project_id FROM projects AS p
WHERE (p.tenant_id, p.project_id) > (%s, %s) AND p.fork_of_project_id IS NULL
ORDER BY p.tenant_id, p.project_id LIMIT %s
"""

_LEADER = """
WITH RECURSIVE line (project_id, source) AS (
    SELECT project_id, fork_of_project_id FROM projects WHERE tenant_id = %(tenant)s AND project_id = %(project)s
    UNION ALL
    SELECT p.project_id, p.fork_of_project_id FROM line
    JOIN projects AS p ON p.tenant_id = %(tenant)s AND p.project_id = line.source
)
SELECT project_id FROM line WHERE source IS NULL
"""

_FAMILY = f"""
WITH RECURSIVE family (project_id) AS (
    SELECT project_id FROM projects WHERE tenant_id = %(tenant)s AND project_id = %(leader)s
    UNION
    SELECT f.project_id FROM family
    JOIN projects AS f ON f.tenant_id = %(tenant)s AND f.fork_of_project_id = family.project_id
)
SELECT p.project_id, {_STANDING}, {rows.HEAD}
FROM family JOIN projects AS p ON p.tenant_id = %(tenant)s AND p.project_id = family.project_id
ORDER BY p.project_id
"""

_PROJECT = f"""
SELECT {_STANDING}, p.removals, p.retention_generations, p.retention_days, p.collected, now(), {rows.HEAD}
FROM projects AS p WHERE p.tenant_id = %(tenant)s AND p.project_id = %(project)s
"""
_HERE = "WHERE tenant_id = %(tenant)s AND project_id = %(project)s"
_COMMIT: Final = rows.COMMIT.replace("c.note", "''::bytea")
_COMMITS = f"SELECT {_COMMIT} FROM commits AS c {_HERE} ORDER BY c.generation"
_CHECKPOINTS = f"SELECT {rows.CHECKPOINT} FROM checkpoints AS k {_HERE}"
# One statement: a deletion and its undoing move sessions from one table to the other.
_DRAFTS = f"""
SELECT {rows.DRAFT} FROM sessions AS s {_HERE} AND s.draft_commit_id IS NOT NULL
UNION ALL SELECT {rows.DRAFT} FROM deleted_sessions AS s {_HERE}
"""
_PINNED = f"""
SELECT generation FROM tags {_HERE}
UNION SELECT base_generation FROM sessions {_HERE}
UNION SELECT draft_generation - 1 FROM sessions {_HERE} AND draft_commit_id IS NOT NULL
UNION SELECT unnest(ARRAY[base_generation, draft_generation - 1]) FROM deleted_sessions {_HERE}
"""
_KEYS = f"SELECT {rows.KEY} FROM project_keys AS k {_HERE} ORDER BY k.epoch DESC, k.position DESC"
_UPLOADS = f"SELECT {rows.UPLOAD} FROM uploads AS u {_HERE}"
_RESUMABLE = f"SELECT {rows.RESUMABLE} FROM resumable_uploads AS u {_HERE}"
_PARTS = f"SELECT upload_id, number, dek_id, objects, places FROM resumable_parts {_HERE} ORDER BY upload_id, number"
_SUPERSEDED = f"SELECT generation, commit_id FROM superseded_objects {_HERE}"
_LISTED = f"SELECT object, bytes, reason, condemned_at IS NULL FROM condemned_objects {_HERE}"

# The checkpoints go with their commits. What stands on one of them is looked for, and where it comes at this very
# moment, one of the foreign keys refuses. The project's row gives events their order, and keeps the beginning of
# encryption out, after which other checkpoints count.
_REMOVE = f"""
WITH p AS (
    SELECT p.tenant_id, p.project_id, p.generation FROM projects AS p
    WHERE p.tenant_id = %(tenant)s AND p.project_id = %(project)s AND p.deleted_at IS NULL
      AND p.generation <> ALL (%(generations)s)
      AND NOT EXISTS (SELECT FROM tags AS t WHERE t.tenant_id = p.tenant_id AND t.project_id = p.project_id
                      AND t.generation = ANY (%(generations)s))
      AND NOT EXISTS (SELECT FROM sessions AS s WHERE s.tenant_id = p.tenant_id AND s.project_id = p.project_id
                      AND (s.base_generation = ANY (%(generations)s)
                           OR s.draft_generation - 1 = ANY (%(generations)s)))
      AND NOT EXISTS (
            SELECT FROM commits AS c
            WHERE c.tenant_id = p.tenant_id AND c.project_id = p.project_id AND c.generation = ANY (%(successors)s)
              AND NOT EXISTS (
                SELECT FROM checkpoints AS k
                WHERE k.tenant_id = p.tenant_id AND k.project_id = p.project_id AND k.generation = c.generation
                  AND (p.key_epoch = 0 OR k.dek_id <> '{PLAIN}')))
    FOR NO KEY UPDATE
), counted AS (
    UPDATE projects AS q SET removals = q.removals + 1
    FROM p WHERE q.tenant_id = p.tenant_id AND q.project_id = p.project_id
), k AS (
    DELETE FROM checkpoints AS k USING p
    WHERE k.tenant_id = p.tenant_id AND k.project_id = p.project_id AND k.generation = ANY (%(generations)s)
), gone AS (
    DELETE FROM commits AS c USING p
    WHERE c.tenant_id = p.tenant_id AND c.project_id = p.project_id AND c.generation = ANY (%(generations)s)
    RETURNING c.*
), noted AS (
    INSERT INTO removed_commits (tenant_id, project_id, generation, commit_id, record_hash, request_id, created_at,
                                 recorded_at)
    SELECT g.tenant_id, g.project_id, g.generation, g.commit_id, g.record_hash, g.request_id, g.created_at,
           g.recorded_at
    FROM gone AS g
), o AS (
    INSERT INTO outbox (tenant_id, project_id, type, generation, data, created_at)
    SELECT p.tenant_id, p.project_id, %(type)s, p.generation, %(data)s, %(now)s FROM p WHERE EXISTS (SELECT FROM gone)
)
SELECT FROM p
"""

_STARTS = """
SELECT p.removals, c.generation FROM projects AS p LEFT JOIN LATERAL (
    SELECT c.generation FROM commits AS c
    WHERE c.tenant_id = p.tenant_id AND c.project_id = p.project_id AND p.removals > 0 AND c.generation > 1
      AND NOT EXISTS (SELECT FROM commits AS b WHERE b.tenant_id = c.tenant_id AND b.project_id = c.project_id
                      AND b.generation = c.generation - 1)
) AS c ON true
WHERE p.tenant_id = %s AND p.project_id = %s AND p.deleted_at IS NULL
ORDER BY c.generation
"""

_HASHES = """
SELECT record_hash FROM (
    SELECT generation, record_hash FROM commits
    WHERE tenant_id = %(tenant)s AND project_id = %(project)s AND generation <= %(generation)s
    UNION ALL
    SELECT generation, record_hash FROM removed_commits
    WHERE tenant_id = %(tenant)s AND project_id = %(project)s AND generation <= %(generation)s
) AS both_of_them
ORDER BY generation
"""

_WAS_REMOVED = """
SELECT EXISTS (SELECT FROM removed_commits WHERE tenant_id = %s AND project_id = %s AND recorded_at >= %s)
"""

# An object that is on the list stays as it is: its time runs since it was condemned.
_SUSPECT = """
WITH moved AS (
    UPDATE projects SET gc_epoch = gc_epoch + 1
    WHERE tenant_id = %(tenant)s AND project_id = ANY (%(family)s)
    RETURNING project_id, gc_epoch
), noted AS (
    INSERT INTO condemned_objects (tenant_id, project_id, object, bytes, reason)
    SELECT %(tenant)s, x.project_id, x.object, x.bytes, x.reason
    FROM unnest(%(projects)s::text[], %(objects)s::text[], %(sizes)s::bigint[], %(reasons)s::text[])
            AS x (project_id, object, bytes, reason)
    ON CONFLICT DO NOTHING
)
SELECT project_id, gc_epoch FROM moved
"""

# One statement sees the whole family at one moment. What comes later finds what it has done.
_SETTLE = """
WITH moved AS (
    SELECT FROM unnest(%(family)s::text[], %(epochs)s::bigint[], %(removals)s::bigint[])
            AS seen (project_id, gc_epoch, removals)
    LEFT JOIN projects AS p ON p.tenant_id = %(tenant)s AND p.project_id = seen.project_id COLLATE "C"
        AND p.gc_epoch = seen.gc_epoch AND p.removals = seen.removals
    WHERE p.project_id IS NULL
), cleared AS (
    DELETE FROM condemned_objects AS x
    USING unnest(%(cleared_of)s::text[], %(cleared)s::text[]) AS one (project_id, object)
    WHERE x.tenant_id = %(tenant)s AND x.project_id = one.project_id COLLATE "C" AND x.object = one.object COLLATE "C"
      AND x.condemned_at IS NULL AND NOT EXISTS (SELECT FROM moved)
), condemned AS (
    UPDATE condemned_objects AS x SET condemned_at = now()
    FROM unnest(%(condemned_of)s::text[], %(condemned)s::text[]) AS one (project_id, object)
    WHERE x.tenant_id = %(tenant)s AND x.project_id = one.project_id COLLATE "C" AND x.object = one.object COLLATE "C"
      AND x.condemned_at IS NULL AND NOT EXISTS (SELECT FROM moved)
)
SELECT NOT EXISTS (SELECT FROM moved)
"""

_NOTE_COLLECTED = "UPDATE projects SET collected = %s WHERE tenant_id = %s AND project_id = %s RETURNING 1"

_AMONG = """
SELECT p.gc_epoch, x.project_id, x.object FROM projects AS p LEFT JOIN LATERAL (
    SELECT g.project_id, g.object FROM condemned_objects AS g
    JOIN unnest(%(projects)s::text[], %(objects)s::text[]) AS asked (project_id, object)
      ON g.project_id = asked.project_id COLLATE "C" AND g.object = asked.object COLLATE "C"
    WHERE g.tenant_id = p.tenant_id
) AS x ON true
WHERE p.tenant_id = %(tenant)s AND p.project_id = %(project)s AND p.deleted_at IS NULL
"""

_OVER = f"""
SELECT tenant_id, project_id, object, bytes FROM condemned_objects
WHERE condemned_at <= now() - make_interval(secs => %s::double precision) AND NOT {IS_HELD.format("condemned_at")}
ORDER BY condemned_at LIMIT %s
"""

_FORGET = """
DELETE FROM condemned_objects AS x
USING unnest(%s::text[], %s::text[], %s::text[]) AS gone (tenant_id, project_id, object)
WHERE x.tenant_id = gone.tenant_id AND x.project_id = gone.project_id AND x.object = gone.object
  AND x.condemned_at IS NOT NULL
RETURNING 1
"""

_TOTALS = """
SELECT project_id, reason, count(*), sum(bytes) FROM condemned_objects
WHERE tenant_id = %s AND project_id = ANY (%s) AND condemned_at IS NOT NULL
GROUP BY project_id, reason ORDER BY project_id, reason
"""


class Collection:
    _db: Database
    _clock: Clock

    def fork_families(self, *, after: TenantProject | None = None, limit: int = 100) -> list[TenantProject]:
        found = self._db.read(_FAMILIES, (*(after or ("", "")), limit))
        return [(tenant, project) for tenant, project in found]

    def family_of(self, tenant: TenantId, project: ProjectId) -> ProjectId:
        found = self._db.read(_LEADER, {"tenant": tenant, "project": project})
        if not found:
            raise no_project(project)
        leader: ProjectId = found[0][0]
        return leader

    def fork_family(self, tenant: TenantId, leader: ProjectId) -> list[Member]:
        found = self._db.read(_FAMILY, {"tenant": tenant, "leader": leader})
        return [
            Member(project, _standing(is_deleted, is_purged), rows.head(head))
            for project, is_deleted, is_purged, *head in found
        ]

    def holdings(self, tenant: TenantId, project: ProjectId) -> Holdings:
        params = {"tenant": tenant, "project": project}
        found = self._db.read(_PROJECT, params)
        if not found:
            raise no_project(project)
        is_deleted, is_purged, removals, generations, days, collected, now, *head = found[0]
        listed = self._db.read(_LISTED, params)
        parts: dict[str, list[UploadPart]] = {}
        resumable = [rows.resumable(row) for row in self._db.read(_RESUMABLE, params)]
        for upload, number, dek, objects, places in self._db.read(_PARTS, params):
            parts.setdefault(upload, []).append(UploadPart(number, dek, tuple(objects), places))
        uploads = [rows.upload(row) for row in self._db.read(_UPLOADS, params)]
        drafts = [rows.draft_ref(row) for row in self._db.read(_DRAFTS, params)]
        # What is being published leaves the lists above for the commits in one statement: those are read after them.
        return Holdings(
            tenant=tenant,
            project=project,
            standing=_standing(is_deleted, is_purged),
            head=rows.head(head),
            removals=removals,
            retention=Retention(generations, days),
            collected=collected,
            now=rows.utc(now),
            commits=[rows.commit(row) for row in self._db.read(_COMMITS, params)],
            checkpoints=[rows.checkpoint(row) for row in self._db.read(_CHECKPOINTS, params)],
            drafts=drafts,
            pinned=frozenset(row[0] for row in self._db.read(_PINNED, params)),
            keys=[rows.key(row, tenant, project) for row in self._db.read(_KEYS, params)],
            uploads=uploads,
            resumable=[(one, parts.get(one.upload, [])) for one in resumable],
            superseded=frozenset((generation, commit) for generation, commit in self._db.read(_SUPERSEDED, params)),
            listed=frozenset(object_key for object_key, _, _, is_suspected in listed if not is_suspected),
            suspected=[
                Garbage(object_key, size, Cause(reason))
                for object_key, size, reason, is_suspected in listed
                if is_suspected
            ],
        )

    def remove_generations(
        self,
        tenant: TenantId,
        project: ProjectId,
        generations: Sequence[Generation],
        event: OutboxEvent,
    ) -> bool:
        params = {
            "tenant": tenant,
            "project": project,
            "generations": list(generations),
            "successors": sorted({generation + 1 for generation in generations}.difference(generations)),
            "type": event.type,
            "data": Jsonb(event.data),
            "now": self._clock.now(),
        }
        try:
            return bool(self._db.write(_REMOVE, params))
        except NotFound:
            return False  # what came to stand on one of them was seen by a foreign key

    def history_starts(self, tenant: TenantId, project: ProjectId) -> tuple[int, list[Generation]]:
        found = self._db.read(_STARTS, (tenant, project))
        if not found:
            raise no_project(project)
        return found[0][0], [generation for _, generation in found if generation is not None]

    def record_hashes(self, tenant: TenantId, project: ProjectId, generation: Generation) -> list[bytes]:
        params = {"tenant": tenant, "project": project, "generation": generation}
        return [row[0] for row in self._db.read(_HASHES, params)]

    def was_removed(self, tenant: TenantId, project: ProjectId, since: datetime) -> bool:
        return bool(self._db.read(_WAS_REMOVED, (tenant, project, since))[0][0])

    def suspect(
        self, tenant: TenantId, family: Sequence[ProjectId], found: Sequence[tuple[ProjectId, Garbage]]
    ) -> dict[ProjectId, int]:
        params = {
            "tenant": tenant,
            "family": list(family),
            "projects": [project for project, _ in found],
            "objects": [one.object for _, one in found],
            "sizes": [one.bytes for _, one in found],
            "reasons": [one.reason.value for _, one in found],
        }
        return dict(self._db.write(_SUSPECT, params))

    def settle(
        self,
        tenant: TenantId,
        family: Mapping[ProjectId, Moment],
        cleared: Sequence[tuple[ProjectId, str]],
        condemned: Sequence[tuple[ProjectId, str]],
    ) -> bool:
        params = {
            "tenant": tenant,
            "family": list(family),
            "epochs": [moment.gc_epoch for moment in family.values()],
            "removals": [moment.removals for moment in family.values()],
            "cleared_of": [project for project, _ in cleared],
            "cleared": [object_key for _, object_key in cleared],
            "condemned_of": [project for project, _ in condemned],
            "condemned": [object_key for _, object_key in condemned],
        }
        return bool(self._db.write(_SETTLE, params)[0][0])

    def note_collected(self, tenant: TenantId, leader: ProjectId, state: bytes) -> None:
        self._db.write(_NOTE_COLLECTED, (state, tenant, leader))

    def condemned_among(
        self, tenant: TenantId, project: ProjectId, objects: Sequence[tuple[ProjectId, str]]
    ) -> tuple[int, set[tuple[ProjectId, str]]]:
        if not objects:
            return head_of(self._db, tenant, project).gc_epoch, set()
        params: dict[str, Any] = {
            "tenant": tenant,
            "project": project,
            "projects": [owner for owner, _ in objects],
            "objects": [key for _, key in objects],
        }
        found = self._db.read(_AMONG, params)
        if not found:
            raise no_project(project)
        return found[0][0], {(owner, key) for _, owner, key in found if key is not None}

    def condemned_objects(self, older_than_seconds: float, *, limit: int = 100) -> list[Condemned]:
        return [Condemned(*row) for row in self._db.read(_OVER, (older_than_seconds, limit))]

    def forget_condemned(self, objects: Sequence[Condemned]) -> None:
        columns = [[one[index] for one in objects] for index in range(3)]
        self._db.write(_FORGET, columns)

    def garbage_of(self, tenant: TenantId, projects: Sequence[ProjectId]) -> list[GarbageTotal]:
        found = self._db.read(_TOTALS, (tenant, list(projects)))
        return [GarbageTotal(project, Cause(reason), count, int(size)) for project, reason, count, size in found]


def _standing(is_deleted: bool, is_purged: bool) -> Standing:
    return Standing.PURGED if is_purged else Standing.DELETED if is_deleted else Standing.ALIVE
