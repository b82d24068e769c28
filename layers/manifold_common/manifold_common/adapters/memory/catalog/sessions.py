"""Sessions: where each one stands."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from manifold_common.adapters.memory.catalog.state import State
from manifold_common.errors import AlreadyExists
from manifold_common.ids import CommitId, Generation, ProjectId, SessionId, TenantId, UserId, WorkingSetId
from manifold_common.ports.catalog import SessionRow, SessionView


class Sessions:
    state: State

    def open_session(self, row: SessionRow, *, ttl: timedelta, gc_epoch: int = 0) -> SessionRow:
        with self.state.lock:
            found = self.state.living(row.tenant, row.project)
            if row.draft is not None:
                self.state.require_epoch(found, gc_epoch)
            for commit in (row.base_commit, row.draft.parent if row.draft else None):
                self.state.require_commit(found, commit)
            if (row.tenant, row.user, row.session) in self.state.sessions:
                raise AlreadyExists(f"session {row.session} is open already")
            if row.draft is not None:
                self.state.require_key(found, row.draft.dek)
            now = self.state.clock.now()
            opened = replace(row, created_at=now, expires_at=now + ttl, durable_at=now)
            self.state.sessions[row.tenant, row.user, row.session] = opened
            return opened

    def view_session(self, tenant: TenantId, user: UserId, session: SessionId) -> SessionView | None:
        with self.state.lock:
            row = self.state.sessions.get((tenant, user, session))
            return None if row is None else self._view(row)

    def list_sessions(
        self,
        tenant: TenantId,
        user: UserId,
        project: ProjectId | None = None,
        *,
        after: SessionId | None = None,
        limit: int | None = None,
    ) -> list[SessionRow]:
        with self.state.lock:
            rows = [s for s in self.state.sessions.values() if (s.tenant, s.user) == (tenant, user)]
        mine = [s for s in rows if project in (None, s.project) and (after is None or s.session > after)]
        return sorted(mine, key=lambda s: s.session)[:limit]

    def drafted_sessions(self, tenant: TenantId, project: ProjectId) -> list[SessionRow]:
        with self.state.lock:
            rows = self.state.sessions_of(tenant, project)
        return sorted((s for s in rows if s.draft is not None), key=lambda s: (s.user, s.session))

    def expired_sessions(self, over_for: timedelta, *, limit: int = 100) -> list[SessionView]:
        with self.state.lock:
            before = self.state.clock.now() - over_for
            over = [self._view(s) for s in self.state.sessions.values() if s.expires_at <= before]
        return sorted(over, key=lambda view: view.session.expires_at)[:limit]

    def move_session(
        self,
        tenant: TenantId,
        user: UserId,
        session: SessionId,
        *,
        base_generation: Generation,
        base_commit: CommitId | None,
    ) -> None:
        with self.state.lock:
            row = self.state.session(tenant, user, session)
            self.state.sessions[tenant, user, session] = replace(
                row, base_generation=base_generation, base_commit=base_commit
            )

    def prolong_session(self, tenant: TenantId, user: UserId, session: SessionId, ttl: timedelta) -> datetime:
        with self.state.lock:
            row = self.state.session(tenant, user, session)
            expires_at = self.state.clock.now() + ttl
            self.state.sessions[tenant, user, session] = replace(row, expires_at=expires_at)
            return expires_at

    def take_session(self, seen: SessionRow, working_set: WorkingSetId, node: str | None) -> bool:
        with self.state.lock:
            row = self.state.sessions.get((seen.tenant, seen.user, seen.session))
            if row is None or _place(row) != _place(seen):
                return False
            self.state.sessions[seen.tenant, seen.user, seen.session] = replace(
                row, working_set=working_set, node=node, durable_at=self.state.clock.now()
            )
            return True

    def close_session(self, tenant: TenantId, user: UserId, session: SessionId) -> None:
        with self.state.lock:
            row = self.state.sessions.get((tenant, user, session))
            if row is not None:
                self.state.end(row)

    def end_session(self, seen: SessionRow) -> bool:
        name = (seen.tenant, seen.user, seen.session)
        with self.state.lock:
            row = self.state.sessions.get(name)
            if row is None or (_place(row), row.expires_at) != (_place(seen), seen.expires_at):
                return False
            self.state.end(row)
            return True

    def was_ended(self, tenant: TenantId, user: UserId, session: SessionId, opened_at: datetime | None) -> bool:
        with self.state.lock:
            gone = [*(row for row, _ in self.state.ended), *self.state.deleted_sessions]
        return any(
            (row.tenant, row.user, row.session) == (tenant, user, session) and opened_at in (None, row.created_at)
            for row in gone
        )

    def forget_ended(self, ended_for: timedelta) -> None:
        with self.state.lock:
            before = self.state.clock.now() - ended_for
            self.state.ended = [(row, at) for row, at in self.state.ended if at > before]

    def _view(self, row: SessionRow) -> SessionView:
        return SessionView(row, self.state.living(row.tenant, row.project).row.head, self.state.clock.now())


def _place(row: SessionRow) -> tuple[object, ...]:
    draft = row.draft.commit if row.draft else None
    return row.created_at, row.working_set, row.base_generation, draft
