"""Tags: names for generations."""

from __future__ import annotations

from datetime import datetime

from psycopg.types.json import Jsonb

from manifold_common.adapters.postgres.catalog import rows
from manifold_common.adapters.postgres.catalog.projects import no_project
from manifold_common.adapters.postgres.database import Database
from manifold_common.domain.history import Point
from manifold_common.domain.tag import MAX_TAGS
from manifold_common.errors import NotFound
from manifold_common.ids import ProjectId, TagName, TenantId, UserId
from manifold_common.ports.catalog import OutboxEvent, TagRow, TagSet, too_many_tags
from manifold_common.ports.clock import Clock

# The project's row is locked first: it is where whoever sets tags, and whoever deletes the project, queue, and it gives
# events their order. Whoever had to wait sees the tags as they were before; what is changed of a row, or made, is then
# looked at once more, and nothing happens where it is not as it was.
_SET = f"""
WITH here AS (
    SELECT t.* FROM tags AS t WHERE t.tenant_id = %(tenant)s AND t.project_id = %(project)s AND t.name = %(name)s
), p AS (
    SELECT p.tenant_id, p.project_id, p.generation FROM projects AS p
    WHERE p.tenant_id = %(tenant)s AND p.project_id = %(project)s AND p.deleted_at IS NULL
      AND EXISTS (SELECT FROM commits AS c WHERE c.tenant_id = p.tenant_id AND c.project_id = p.project_id
                  AND c.generation = %(generation)s AND c.commit_id = %(commit)s)
      AND (NOT %(makes)s OR %(most)s > (SELECT count(*) FROM tags AS t
                                        WHERE t.tenant_id = p.tenant_id AND t.project_id = p.project_id))
      AND NOT EXISTS (SELECT FROM here WHERE here.generation = %(generation)s)
    FOR NO KEY UPDATE
), made AS (
    INSERT INTO tags (tenant_id, project_id, name, generation, commit_id, user_id, created_at, moved_at)
    SELECT p.tenant_id, p.project_id, %(name)s, %(generation)s, %(commit)s, %(user)s, %(now)s, %(now)s
    FROM p WHERE %(makes)s
    ON CONFLICT DO NOTHING RETURNING *
), moved AS (
    UPDATE tags AS t
    SET generation = %(generation)s, commit_id = %(commit)s, user_id = %(user)s,
        moved_at = greatest(t.moved_at + interval '1 microsecond', %(now)s)
    FROM p WHERE (t.tenant_id, t.project_id, t.name) = (p.tenant_id, p.project_id, %(name)s) AND NOT %(makes)s
      AND t.generation = %(at_generation)s AND t.commit_id = %(at_commit)s
      AND t.moved_at = coalesce(%(at_since)s, t.moved_at)
    RETURNING t.*
), t AS (
    SELECT * FROM made UNION ALL SELECT * FROM moved
), o AS (
    INSERT INTO outbox (tenant_id, project_id, type, generation, data, created_at)
    SELECT p.tenant_id, p.project_id, %(type)s, p.generation, %(data)s, %(now)s FROM p, t
)
SELECT {rows.TAG} FROM t
"""

# Why nothing was set. It has to be asked again: the statement above sees the rows as they were when it began.
_MISSED = f"""
SELECT EXISTS (SELECT FROM commits AS c WHERE c.tenant_id = p.tenant_id AND c.project_id = p.project_id
               AND c.generation = %(generation)s AND c.commit_id = %(commit)s),
       (SELECT count(*) FROM tags AS t WHERE t.tenant_id = p.tenant_id AND t.project_id = p.project_id),
       {rows.TAG}
FROM projects AS p LEFT JOIN tags AS t
  ON (t.tenant_id, t.project_id, t.name) = (p.tenant_id, p.project_id, %(name)s)
WHERE p.tenant_id = %(tenant)s AND p.project_id = %(project)s AND p.deleted_at IS NULL
"""

_REMOVE = """
WITH p AS (
    SELECT p.tenant_id, p.project_id, p.generation FROM projects AS p
    WHERE p.tenant_id = %(tenant)s AND p.project_id = %(project)s AND p.deleted_at IS NULL
    FOR NO KEY UPDATE
), gone AS (
    DELETE FROM tags AS t USING p
    WHERE (t.tenant_id, t.project_id, t.name) = (p.tenant_id, p.project_id, %(name)s)
      AND t.generation = %(at_generation)s AND t.commit_id = %(at_commit)s
      AND t.moved_at = coalesce(%(at_since)s, t.moved_at)
    RETURNING t.name
), o AS (
    INSERT INTO outbox (tenant_id, project_id, type, generation, data, created_at)
    SELECT p.tenant_id, p.project_id, %(type)s, p.generation, %(data)s, %(now)s FROM p, gone
)
SELECT EXISTS (SELECT FROM gone) FROM p
"""

_FIND = f"""
SELECT {rows.TAG} FROM projects AS p JOIN tags AS t USING (tenant_id, project_id)
WHERE p.tenant_id = %s AND p.project_id = %s AND p.deleted_at IS NULL AND t.name = %s
"""

_LIST = f"""
SELECT {rows.TAG} FROM projects AS p LEFT JOIN tags AS t
  ON t.tenant_id = p.tenant_id AND t.project_id = p.project_id AND t.name > %s
WHERE p.tenant_id = %s AND p.project_id = %s AND p.deleted_at IS NULL
ORDER BY t.name LIMIT %s
"""


class Tags:
    _db: Database
    _clock: Clock

    def set_tag(
        self,
        tenant: TenantId,
        project: ProjectId,
        name: TagName,
        point: Point,
        user: UserId,
        event: OutboxEvent,
        *,
        expected: Point | None,
        moved_at: datetime | None = None,
    ) -> TagSet | None:
        params = {
            **self._tag_change(tenant, project, name, event, expected, moved_at),
            "generation": point.generation,
            "commit": point.commit,
            "user": user,
            "makes": expected is None,
            "most": MAX_TAGS,
        }
        if done := self._db.write(_SET, params):
            return TagSet(rows.tag(done[0]), is_changed=True)
        found = self._db.read(_MISSED, params)
        if not found:
            raise no_project(project)
        has_commit, count, *row = found[0]
        if not has_commit:
            raise NotFound(f"project {project} has no generation {point}")
        here = rows.tag(row) if row[0] is not None else None
        if here is not None and here.point == point:
            return TagSet(here, is_changed=False)
        if here is None and expected is None and count >= MAX_TAGS:
            raise too_many_tags(project)
        return None

    def remove_tag(
        self,
        tenant: TenantId,
        project: ProjectId,
        name: TagName,
        event: OutboxEvent,
        *,
        expected: Point,
        moved_at: datetime | None = None,
    ) -> bool:
        found = self._db.write(_REMOVE, self._tag_change(tenant, project, name, event, expected, moved_at))
        if not found:
            raise no_project(project)
        return bool(found[0][0])

    def find_tag(self, tenant: TenantId, project: ProjectId, name: TagName) -> TagRow | None:
        found = self._db.read(_FIND, (tenant, project, name))
        return rows.tag(found[0]) if found else None

    def list_tags(
        self, tenant: TenantId, project: ProjectId, *, after_name: str = "", limit: int = 2 * MAX_TAGS
    ) -> list[TagRow]:
        found = self._db.read(_LIST, (after_name, tenant, project, limit))
        if not found:
            raise no_project(project)
        return [rows.tag(row) for row in found if row[0] is not None]

    def _tag_change(
        self,
        tenant: TenantId,
        project: ProjectId,
        name: TagName,
        event: OutboxEvent,
        expected: Point | None,
        moved_at: datetime | None,
    ) -> dict[str, object]:
        return {
            "tenant": tenant,
            "project": project,
            "name": name,
            "at_generation": expected.generation if expected else None,
            "at_commit": expected.commit if expected else None,
            "at_since": moved_at,
            "now": self._clock.now(),
            "type": event.type,
            "data": Jsonb(event.data),
        }
