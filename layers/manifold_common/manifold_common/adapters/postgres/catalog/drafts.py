"""Drafts, which are columns of their sessions' rows."""

from __future__ import annotations

from datetime import timedelta

from manifold_common.adapters.postgres.catalog import rows
from manifold_common.adapters.postgres.catalog.keys import refuses_plain
from manifold_common.adapters.postgres.catalog.projects import no_project
from manifold_common.adapters.postgres.catalog.sessions import LIVING, no_session, view
from manifold_common.adapters.postgres.database import Database
from manifold_common.domain.history import history_replaced
from manifold_common.errors import ContentCollected, SessionMoved
from manifold_common.ids import PLAIN, CommitId, ProjectId, SessionId, TenantId, UserId, WorkingSetId
from manifold_common.ports.catalog import DraftRef, encrypted_meanwhile

_DRAFTS = f"""
SELECT {rows.DRAFT} FROM projects AS p LEFT JOIN sessions AS s
    ON s.tenant_id = p.tenant_id AND s.project_id = p.project_id AND s.draft_commit_id IS NOT NULL
WHERE p.tenant_id = %s AND p.project_id = %s AND p.deleted_at IS NULL
ORDER BY s.draft_saved_at DESC
"""

_DROP_DRAFT = f"""
WITH found AS (
    SELECT s.tenant_id, s.user_id, s.session_id FROM sessions AS s JOIN projects AS p ON {LIVING}
    WHERE s.tenant_id = %(tenant)s AND s.user_id = %(user)s AND s.session_id = %(session)s
), dropped AS (
    UPDATE sessions AS s SET
        draft_generation = NULL, draft_commit_id = NULL, draft_parent_id = NULL, draft_dek_id = NULL,
        draft_bytes = NULL, draft_saved_at = NULL, durable_at = now(),
        gave_up_draft = s.gave_up_draft OR %(given_up)s
    FROM found AS f
    WHERE s.tenant_id = f.tenant_id AND s.user_id = f.user_id AND s.session_id = f.session_id
      AND s.draft_commit_id = %(commit)s
    RETURNING 1
)
SELECT EXISTS (SELECT FROM dropped) FROM found
"""

# The session is locked first, then the project, as a commit does. The project's lock has whoever condemns objects wait,
# or this: then it finds another epoch.
_SAVE_DRAFT = f"""
WITH here AS (
    SELECT s.tenant_id, s.user_id, s.session_id, s.project_id FROM sessions AS s
    WHERE s.tenant_id = %(tenant)s AND s.user_id = %(user)s AND s.session_id = %(session)s
    FOR NO KEY UPDATE
), p AS (
    SELECT p.tenant_id, p.project_id, p.key_epoch, p.deleted_at
    FROM projects AS p JOIN here USING (tenant_id, project_id)
    WHERE p.gc_epoch = %(gc_epoch)s
    FOR SHARE OF p
)
UPDATE sessions AS s SET
    draft_generation = %(draft_generation)s, draft_commit_id = %(draft_commit)s, draft_parent_id = %(draft_parent)s,
    draft_dek_id = %(draft_dek)s, draft_bytes = %(draft_bytes)s, draft_saved_at = now(),
    expires_at = now() + %(ttl)s, durable_at = now()
FROM p
WHERE s.tenant_id = %(tenant)s AND s.user_id = %(user)s AND s.session_id = %(session)s AND {LIVING}
  AND (%(working_set)s::text IS NULL OR s.working_set_id IS NULL OR s.working_set_id = %(working_set)s)
  AND (%(draft_parent)s::text IS NULL OR EXISTS (
        SELECT FROM commits AS c
        WHERE c.tenant_id = p.tenant_id AND c.project_id = p.project_id AND c.commit_id = %(draft_parent)s
          AND c.generation = %(draft_generation)s - 1))
  AND (%(sealed)s OR p.key_epoch = 0)
  AND (%(replaces)s::text IS NULL OR s.draft_commit_id = %(replaces)s)
RETURNING 1
"""


class Drafts:
    _db: Database

    def save_draft(
        self,
        tenant: TenantId,
        user: UserId,
        session: SessionId,
        draft: DraftRef,
        *,
        ttl: timedelta,
        working_set: WorkingSetId | None = None,
        gc_epoch: int = 0,
        replaces: CommitId | None = None,
    ) -> bool:
        params = {
            "tenant": tenant,
            "user": user,
            "session": session,
            "ttl": ttl,
            "working_set": working_set,
            "gc_epoch": gc_epoch,
            "sealed": draft.dek != PLAIN,
            "replaces": replaces,
            **rows.draft_params(draft),
        }
        if self._db.write(_SAVE_DRAFT, params):
            return True
        found = view(self._db, tenant, user, session)
        if found is None:
            raise no_session(session)
        if draft.dek == PLAIN and refuses_plain(self._db, tenant, found.session.project):
            raise encrypted_meanwhile(found.session.project)
        if working_set is not None and not found.session.is_at(working_set):
            raise SessionMoved(session)
        if found.head.gc_epoch != gc_epoch:
            raise ContentCollected(found.session.project)
        if replaces is not None and (found.session.draft is None or found.session.draft.commit != replaces):
            return False
        raise history_replaced(draft.base, found.head.generation)

    def drop_draft(
        self, tenant: TenantId, user: UserId, session: SessionId, commit: CommitId, *, given_up: bool = False
    ) -> bool:
        params = {"tenant": tenant, "user": user, "session": session, "commit": commit, "given_up": given_up}
        found = self._db.write(_DROP_DRAFT, params)
        if not found:
            raise no_session(session)
        return bool(found[0][0])

    def project_drafts(self, tenant: TenantId, project: ProjectId) -> list[DraftRef]:
        found = self._db.read(_DRAFTS, (tenant, project))
        if not found:
            raise no_project(project)
        return [rows.draft_ref(row) for row in found if row[0] is not None]
