"""Sessions: where each one stands, and the draft it holds. Those of a deleted project are never seen."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from manifold_common.adapters.postgres.catalog import rows
from manifold_common.adapters.postgres.catalog.projects import head_of
from manifold_common.adapters.postgres.database import Database
from manifold_common.errors import AlreadyExists, ContentCollected, NotFound
from manifold_common.ids import CommitId, Generation, ProjectId, SessionId, TenantId, UserId, WorkingSetId
from manifold_common.ports.catalog import SessionRow, SessionView

LIVING = "p.tenant_id = s.tenant_id AND p.project_id = s.project_id AND p.deleted_at IS NULL"

# A session that came too late for its project's deletion is invisible; its id is free again. But not that of one which
# comes back with its project while this statement waits for it, and which this statement sees deleted still: what is
# replaced has to be as it was seen.
_OPEN = f"""
WITH p AS (
    SELECT FROM projects WHERE tenant_id = %(tenant)s AND project_id = %(project)s AND deleted_at IS NULL
      AND (%(draft_commit)s::text IS NULL OR gc_epoch = %(gc_epoch)s)
    FOR SHARE
), u AS (
    INSERT INTO users (tenant_id, user_id, created_at) SELECT %(tenant)s, %(user)s, now() FROM p
    ON CONFLICT DO NOTHING
), opened AS (
    INSERT INTO sessions AS s (
        tenant_id, user_id, session_id, project_id, base_generation, base_commit_id, draft_generation,
        draft_commit_id, draft_parent_id, draft_dek_id, draft_bytes, draft_saved_at, scope, created_at, expires_at,
        working_set_id, working_set_node, durable_at)
    SELECT %(tenant)s, %(user)s, %(session)s, %(project)s, %(base_generation)s, %(base_commit)s,
           %(draft_generation)s, %(draft_commit)s, %(draft_parent)s, %(draft_dek)s, %(draft_bytes)s,
           CASE WHEN %(draft_commit)s::text IS NOT NULL THEN now() END, %(scope)s, now(), now() + %(ttl)s,
           %(working_set)s, %(node)s, now()
    FROM p
    ON CONFLICT (tenant_id, user_id, session_id) DO UPDATE SET
        project_id = EXCLUDED.project_id, base_generation = EXCLUDED.base_generation,
        base_commit_id = EXCLUDED.base_commit_id, draft_generation = EXCLUDED.draft_generation,
        draft_commit_id = EXCLUDED.draft_commit_id, draft_parent_id = EXCLUDED.draft_parent_id,
        draft_dek_id = EXCLUDED.draft_dek_id, draft_bytes = EXCLUDED.draft_bytes,
        draft_saved_at = EXCLUDED.draft_saved_at, scope = EXCLUDED.scope, created_at = EXCLUDED.created_at,
        expires_at = EXCLUDED.expires_at, working_set_id = EXCLUDED.working_set_id,
        working_set_node = EXCLUDED.working_set_node, durable_at = EXCLUDED.durable_at, gave_up_draft = false,
        scope_session_id = NULL
    WHERE NOT EXISTS (SELECT FROM projects AS p WHERE {LIVING}) AND EXISTS (
        SELECT FROM sessions AS seen
        WHERE seen.tenant_id = s.tenant_id AND seen.user_id = s.user_id AND seen.session_id = s.session_id
          AND seen.project_id = s.project_id AND seen.expires_at = s.expires_at)
    RETURNING created_at, expires_at
)
SELECT EXISTS (SELECT FROM p),
       (SELECT created_at FROM opened), (SELECT expires_at FROM opened)
"""

_VIEW = f"""
SELECT {rows.VIEW} FROM sessions AS s JOIN projects AS p ON {LIVING}
WHERE s.tenant_id = %s AND s.user_id = %s AND s.session_id = %s
"""

_LIST = f"""
SELECT {rows.SESSION} FROM sessions AS s JOIN projects AS p ON {LIVING}
WHERE s.tenant_id = %(tenant)s AND s.user_id = %(user)s AND s.session_id > %(after)s
  AND s.project_id = coalesce(%(project)s, s.project_id)
ORDER BY s.session_id LIMIT %(limit)s
"""

_DRAFTED = f"""
SELECT {rows.SESSION} FROM sessions AS s JOIN projects AS p ON {LIVING}
WHERE s.project_id = %s AND s.tenant_id = %s AND s.draft_commit_id IS NOT NULL
ORDER BY s.user_id, s.session_id
"""

_EXPIRED = f"""
SELECT {rows.VIEW} FROM sessions AS s JOIN projects AS p ON {LIVING}
WHERE s.expires_at <= now() - %s
ORDER BY s.expires_at LIMIT %s
"""

_MINE = f"""
FROM projects AS p WHERE s.tenant_id = %s AND s.user_id = %s AND s.session_id = %s AND {LIVING}
"""

_MOVE = f"UPDATE sessions AS s SET base_generation = %s, base_commit_id = %s {_MINE} RETURNING 1"

_PROLONG = f"UPDATE sessions AS s SET expires_at = now() + %s {_MINE} RETURNING s.expires_at"

# With the parameters of _as_seen.
_AS_SEEN = """
    s.tenant_id = %(tenant)s AND s.user_id = %(user)s AND s.session_id = %(session)s
    AND s.created_at = %(created_at)s AND s.working_set_id IS NOT DISTINCT FROM %(seen)s
    AND s.base_generation = %(base_generation)s AND s.draft_commit_id IS NOT DISTINCT FROM %(draft_commit)s
"""

_TAKE = f"""
UPDATE sessions AS s SET working_set_id = %(working_set)s, working_set_node = %(node)s, durable_at = now()
FROM projects AS p
WHERE {_AS_SEEN} AND {LIVING}
RETURNING 1
"""

_END = f"""
WITH ended AS (
    DELETE FROM sessions AS s WHERE {_AS_SEEN} AND s.expires_at = %(expires_at)s RETURNING s.*
), {rows.NOTE_ENDED}
SELECT FROM ended
"""

_CLOSE = f"""
WITH ended AS (
    DELETE FROM sessions AS s WHERE s.tenant_id = %s AND s.user_id = %s AND s.session_id = %s RETURNING s.*
), {rows.NOTE_ENDED}
SELECT FROM ended
"""

_WAS_ENDED = """
SELECT EXISTS (
    SELECT FROM ended_sessions
    WHERE tenant_id = %(tenant)s AND user_id = %(user)s AND session_id = %(session)s
      AND created_at = coalesce(%(opened_at)s, created_at)
) OR EXISTS (
    SELECT FROM deleted_sessions
    WHERE tenant_id = %(tenant)s AND user_id = %(user)s AND session_id = %(session)s
      AND created_at = coalesce(%(opened_at)s, created_at)
)
"""

_FORGET_ENDED = "DELETE FROM ended_sessions WHERE ended_at < now() - %s RETURNING 1"


class Sessions:
    _db: Database

    def open_session(self, row: SessionRow, *, ttl: timedelta, gc_epoch: int = 0) -> SessionRow:
        params = {
            "tenant": row.tenant,
            "user": row.user,
            "session": row.session,
            "project": row.project,
            "base_generation": row.base_generation,
            "base_commit": row.base_commit,
            "scope": row.scope,
            "ttl": ttl,
            "working_set": row.working_set,
            "node": row.node,
            "gc_epoch": gc_epoch,
            **rows.draft_params(row.draft),
        }
        is_fresh, created_at, expires_at = self._db.write(_OPEN, params)[0]
        if not is_fresh:
            head_of(self._db, row.tenant, row.project)  # it may have been deleted since the statement began
            raise ContentCollected(row.project)
        if created_at is None:
            raise AlreadyExists(f"session {row.session} is open already", hint="use it, or choose another name")
        begun = rows.utc(created_at)
        draft = None if row.draft is None else replace(row.draft, saved_at=begun)
        return replace(row, draft=draft, created_at=begun, expires_at=rows.utc(expires_at), durable_at=begun)

    def view_session(self, tenant: TenantId, user: UserId, session: SessionId) -> SessionView | None:
        return view(self._db, tenant, user, session)

    def list_sessions(
        self,
        tenant: TenantId,
        user: UserId,
        project: ProjectId | None = None,
        *,
        after: SessionId | None = None,
        limit: int | None = None,
    ) -> list[SessionRow]:
        params = {"tenant": tenant, "user": user, "project": project, "after": after or "", "limit": limit}
        return [rows.session(row) for row in self._db.read(_LIST, params)]

    def drafted_sessions(self, tenant: TenantId, project: ProjectId) -> list[SessionRow]:
        return [rows.session(row) for row in self._db.read(_DRAFTED, (project, tenant))]

    def move_session(
        self,
        tenant: TenantId,
        user: UserId,
        session: SessionId,
        *,
        base_generation: Generation,
        base_commit: CommitId | None,
    ) -> None:
        if not self._db.write(_MOVE, (base_generation, base_commit, tenant, user, session)):
            raise no_session(session)

    def prolong_session(self, tenant: TenantId, user: UserId, session: SessionId, ttl: timedelta) -> datetime:
        found = self._db.write(_PROLONG, (ttl, tenant, user, session))
        if not found:
            raise no_session(session)
        return rows.utc(found[0][0])

    def take_session(self, seen: SessionRow, working_set: WorkingSetId, node: str | None) -> bool:
        return bool(self._db.write(_TAKE, {**_as_seen(seen), "working_set": working_set, "node": node}))

    def close_session(self, tenant: TenantId, user: UserId, session: SessionId) -> None:
        self._db.write(_CLOSE, (tenant, user, session))

    def end_session(self, seen: SessionRow) -> bool:
        return bool(self._db.write(_END, {**_as_seen(seen), "expires_at": seen.expires_at}))

    def was_ended(self, tenant: TenantId, user: UserId, session: SessionId, opened_at: datetime | None) -> bool:
        params = {"tenant": tenant, "user": user, "session": session, "opened_at": opened_at}
        return bool(self._db.read(_WAS_ENDED, params)[0][0])

    def forget_ended(self, ended_for: timedelta) -> None:
        self._db.write(_FORGET_ENDED, (ended_for,))

    def expired_sessions(self, over_for: timedelta, *, limit: int = 100) -> list[SessionView]:
        return [rows.view(row) for row in self._db.read(_EXPIRED, (over_for, limit))]


def _as_seen(row: SessionRow) -> dict[str, object]:
    return {
        "tenant": row.tenant,
        "user": row.user,
        "session": row.session,
        "created_at": row.created_at,
        "base_generation": row.base_generation,
        "draft_commit": row.draft.commit if row.draft else None,
        "seen": row.working_set,
    }


def view(db: Database, tenant: TenantId, user: UserId, session: SessionId) -> SessionView | None:
    found = db.read(_VIEW, (tenant, user, session))
    return rows.view(found[0]) if found else None


def no_session(session: SessionId) -> NotFound:
    return NotFound(f"there is no session {session}")
