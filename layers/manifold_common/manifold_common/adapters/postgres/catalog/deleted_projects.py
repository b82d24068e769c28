"""Deleted projects: brought back, or purged.

Undeleting and purging change the project's row, and all else hangs on that: of the two, one finds the row as it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from psycopg.types.json import Jsonb

from manifold_common.adapters.postgres.catalog import rows
from manifold_common.adapters.postgres.catalog.projects import WANTED, wanted_params
from manifold_common.adapters.postgres.database import Database, Row
from manifold_common.domain.listing import EVERY_PROJECT, ProjectFilter
from manifold_common.errors import AlreadyExists
from manifold_common.ids import ProjectId, SessionId, TenantId, TenantProject, UserId
from manifold_common.ports.catalog import DeletedPlace, DeletedProject, OutboxEvent, ProjectRow, SessionRow, name_taken
from manifold_common.ports.clock import Clock

_TRIES = 3
_CLEARED_AT_ONCE = 20_000
"""Commits. They take 1 to 3 seconds."""

_RESTORABLE = "p.deleted_at > now() - %(grace)s AND p.purged_at IS NULL"

_LIST = f"""
SELECT {rows.PROJECT}, p.deleted_at FROM projects AS p
WHERE p.tenant_id = %(tenant)s AND p.owner_id = %(owner)s AND {_RESTORABLE}
  AND (p.name, p.project_id) > (%(after_name)s, %(after_project)s) AND {WANTED}
ORDER BY p.name, p.project_id LIMIT %(limit)s
"""

_FIND = f"""
SELECT {rows.PROJECT}, p.deleted_at FROM projects AS p
WHERE p.tenant_id = %(tenant)s AND p.project_id = %(project)s AND {_RESTORABLE}
"""

_SESSIONS = f"""
SELECT {rows.SESSION} FROM deleted_sessions AS s
WHERE s.project_id = %s AND s.tenant_id = %s ORDER BY s.user_id, s.session_id
"""

# Which deletion it is about has to be said: so the sessions that this statement sees are those of that one, also where
# it had to wait for another that has brought the project back, and a third that has deleted it again.
_UNDELETE = f"""
WITH p AS (
    UPDATE projects AS p SET
        deleted_at = NULL, name = %(name)s, revision = p.revision + 1,
        updated_at = CASE WHEN p.name = %(name)s THEN p.updated_at ELSE greatest(p.updated_at, %(now)s) END
    WHERE p.tenant_id = %(tenant)s AND p.project_id = %(project)s AND p.deleted_at = %(deleted_at)s AND {_RESTORABLE}
    RETURNING p.*
), back AS (
    DELETE FROM deleted_sessions AS d USING p WHERE d.tenant_id = p.tenant_id AND d.project_id = p.project_id
    RETURNING d.*
), named AS (
    SELECT b.*, CASE WHEN EXISTS (
               SELECT FROM sessions AS s
               WHERE s.tenant_id = b.tenant_id AND s.user_id = b.user_id AND s.session_id = b.session_id)
           THEN o.other_id ELSE b.session_id END AS new_id
    FROM back AS b LEFT JOIN unnest(%(users)s::text[], %(sessions)s::text[], %(others)s::text[])
        AS o (user_id, session_id, other_id) USING (user_id, session_id)
), s AS (
    INSERT INTO sessions ({rows.SESSION_COLUMNS})
    SELECT tenant_id, user_id, new_id, project_id, base_generation, base_commit_id, draft_generation, draft_commit_id,
           draft_parent_id, draft_dek_id, draft_bytes, draft_saved_at, scope, created_at, now() + %(ttl)s,
           working_set_id, working_set_node, durable_at, gave_up_draft,
           coalesce(scope_session_id, CASE WHEN new_id <> session_id THEN session_id END)
    FROM named
), late AS (  -- they were opened while it was deleted, and are seen from now on
    UPDATE sessions AS s SET expires_at = now() + %(ttl)s FROM p
    WHERE s.tenant_id = p.tenant_id AND s.project_id = p.project_id
), ended AS (
    SELECT * FROM named WHERE new_id <> session_id
), {rows.NOTE_ENDED}, o AS (
    INSERT INTO outbox (tenant_id, project_id, type, generation, data, created_at)
    SELECT p.tenant_id, p.project_id, %(type)s, p.generation, %(data)s, %(now)s FROM p
)
SELECT {rows.PROJECT} FROM p
"""

_NAME_IS_TAKEN = """
SELECT 1 FROM projects AS p
WHERE p.tenant_id = %s AND p.owner_id = %s AND p.name = %s AND p.deleted_at IS NULL
"""

# Parts are named, although they go with their uploads: what refers to a key has to be gone when that is looked at.
_PURGE = f"""
WITH due AS (
    SELECT p.tenant_id, p.project_id FROM projects AS p
    WHERE p.deleted_at <= now() - %(grace)s AND p.purged_at IS NULL
      AND NOT EXISTS (SELECT FROM uploads AS u WHERE u.tenant_id = p.tenant_id AND u.project_id = p.project_id
                      AND u.expires_at > now())
      AND NOT EXISTS (SELECT FROM resumable_uploads AS u WHERE u.tenant_id = p.tenant_id
                      AND u.project_id = p.project_id AND u.writing_until > now())
    ORDER BY p.deleted_at LIMIT %(limit)s
    FOR NO KEY UPDATE SKIP LOCKED
), p AS (
    UPDATE projects AS p SET purged_at = now(), head_commit_id = NULL, removals = p.removals + 1 FROM due
    WHERE p.tenant_id = due.tenant_id AND p.project_id = due.project_id
    RETURNING p.tenant_id, p.project_id
), s AS (
    DELETE FROM sessions AS s USING p WHERE s.tenant_id = p.tenant_id AND s.project_id = p.project_id RETURNING s.*
), d AS (
    DELETE FROM deleted_sessions AS d USING p WHERE d.tenant_id = p.tenant_id AND d.project_id = p.project_id
    RETURNING d.*
), ended AS (
    SELECT tenant_id, user_id, session_id, created_at FROM s
    UNION SELECT tenant_id, user_id, session_id, created_at FROM d
), {rows.NOTE_ENDED}, t AS (
    DELETE FROM tags AS t USING p WHERE t.tenant_id = p.tenant_id AND t.project_id = p.project_id
), k AS (
    DELETE FROM checkpoints AS k USING p WHERE k.tenant_id = p.tenant_id AND k.project_id = p.project_id
), u AS (
    DELETE FROM uploads AS u USING p WHERE u.tenant_id = p.tenant_id AND u.project_id = p.project_id
), ru AS (
    DELETE FROM resumable_uploads AS u USING p WHERE u.tenant_id = p.tenant_id AND u.project_id = p.project_id
), rp AS (
    DELETE FROM resumable_parts AS u USING p WHERE u.tenant_id = p.tenant_id AND u.project_id = p.project_id
)
SELECT tenant_id, project_id FROM p ORDER BY tenant_id, project_id
"""

# A history may be longer than what can be removed within a statement's time: for each commit the server looks whether
# anything stands on it. Keys go last, since commits name them.
_CLEAR = """
WITH p AS (
    SELECT tenant_id, project_id FROM projects
    WHERE purged_at IS NOT NULL AND NOT is_cleared ORDER BY purged_at LIMIT 1
    FOR NO KEY UPDATE SKIP LOCKED
), doomed AS (
    SELECT c.tenant_id, c.project_id, c.generation FROM p JOIN commits AS c USING (tenant_id, project_id)
    LIMIT %(most)s
), c AS (
    DELETE FROM commits AS c USING doomed AS d
    WHERE c.tenant_id = d.tenant_id AND c.project_id = d.project_id AND c.generation = d.generation
), last AS (
    SELECT * FROM p WHERE (SELECT count(*) FROM doomed) < %(most)s
), rc AS (
    DELETE FROM removed_commits AS c USING last AS p WHERE c.tenant_id = p.tenant_id AND c.project_id = p.project_id
), pk AS (
    DELETE FROM project_keys AS k USING last AS p WHERE k.tenant_id = p.tenant_id AND k.project_id = p.project_id
), cleared AS (
    UPDATE projects AS q SET is_cleared = true FROM last AS p
    WHERE q.tenant_id = p.tenant_id AND q.project_id = p.project_id
)
SELECT FROM p
"""


class DeletedProjects:
    _db: Database
    _clock: Clock

    def deleted_projects(
        self,
        tenant: TenantId,
        owner: UserId,
        grace: timedelta,
        *,
        wanted: ProjectFilter = EVERY_PROJECT,
        after: DeletedPlace | None = None,
        limit: int = 100,
    ) -> list[DeletedProject]:
        after_name, after_project = after or ("", "")
        params = {
            **wanted_params(wanted),
            "tenant": tenant,
            "owner": owner,
            "grace": grace,
            "after_name": after_name,
            "after_project": after_project,
            "limit": limit,
        }
        return list(map(_deleted, self._db.read(_LIST, params)))

    def find_deleted(self, tenant: TenantId, project: ProjectId, grace: timedelta) -> DeletedProject | None:
        found = self._db.read(_FIND, {"tenant": tenant, "project": project, "grace": grace})
        return _deleted(found[0]) if found else None

    def deleted_sessions(self, tenant: TenantId, project: ProjectId) -> list[SessionRow]:
        return [rows.session(row) for row in self._db.read(_SESSIONS, (project, tenant))]

    def undelete_project(
        self,
        deleted: DeletedProject,
        name: str,
        event: OutboxEvent,
        *,
        grace: timedelta,
        ttl: timedelta,
        others: Mapping[tuple[UserId, SessionId], SessionId],
    ) -> ProjectRow | None:
        row = deleted.row
        params = {
            "tenant": row.tenant,
            "project": row.project,
            "deleted_at": deleted.deleted_at,
            "name": name,
            "grace": grace,
            "ttl": ttl,
            "users": [user for user, _ in others],
            "sessions": [session for _, session in others],
            "others": list(others.values()),
            "now": self._clock.now(),
            "type": event.type,
            "data": Jsonb(event.data),
        }
        tries = _TRIES
        while True:
            tries -= 1
            try:
                found = self._db.write(_UNDELETE, params)
            except AlreadyExists:
                if self._db.read(_NAME_IS_TAKEN, (row.tenant, row.owner, name)):
                    raise name_taken(name) from None
                if not tries:
                    raise
                continue  # a session of such an id was opened at this very moment: the next look finds it
            return rows.project(found[0]) if found else None

    def purge_projects(self, grace: timedelta, *, limit: int = 1) -> list[TenantProject]:
        found = self._db.write(_PURGE, {"grace": grace, "limit": limit})
        for _ in range(len(found) + 1):
            if not self._db.write(_CLEAR, {"most": _CLEARED_AT_ONCE}):
                break
        return [(tenant, project) for tenant, project in found]


def _deleted(row: Row) -> DeletedProject:
    *fields, deleted_at = row
    return DeletedProject(rows.project(tuple(fields)), rows.utc(deleted_at))
