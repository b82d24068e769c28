"""Drafts, which are fields of their sessions' rows."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from manifold_common.adapters.memory.catalog.state import State, require_at
from manifold_common.domain.history import history_replaced
from manifold_common.ids import CommitId, ProjectId, SessionId, TenantId, UserId, WorkingSetId
from manifold_common.ports.catalog import DraftRef


class Drafts:
    state: State

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
        with self.state.lock:
            row = self.state.session(tenant, user, session)
            require_at(row, working_set)
            found = self.state.living(tenant, row.project)
            self.state.require_epoch(found, gc_epoch)
            if draft.parent is not None and not found.has(draft.base):
                raise history_replaced(draft.base, found.row.head.generation)
            self.state.require_key(found, draft.dek)
            if replaces is not None and (row.draft is None or row.draft.commit != replaces):
                return False
            now = self.state.clock.now()
            self.state.sessions[tenant, user, session] = replace(
                row, draft=replace(draft, saved_at=now), expires_at=now + ttl, durable_at=now
            )
            return True

    def drop_draft(
        self, tenant: TenantId, user: UserId, session: SessionId, commit: CommitId, *, given_up: bool = False
    ) -> bool:
        with self.state.lock:
            row = self.state.session(tenant, user, session)
            if row.draft is None or row.draft.commit != commit:
                return False
            self.state.sessions[tenant, user, session] = replace(
                row, draft=None, durable_at=self.state.clock.now(), gave_up_draft=row.gave_up_draft or given_up
            )
            return True

    def project_drafts(self, tenant: TenantId, project: ProjectId) -> list[DraftRef]:
        with self.state.lock:
            self.state.living(tenant, project)
            rows = self.state.sessions_of(tenant, project)
        drafts = [row.draft for row in rows if row.draft is not None]
        return sorted(drafts, key=lambda draft: draft.saved_at, reverse=True)
