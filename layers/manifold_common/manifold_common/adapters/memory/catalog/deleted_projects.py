"""Deleted projects: brought back, or purged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from manifold_common.adapters.memory.catalog.state import State
from manifold_common.adapters.memory.catalog.tables import Project
from manifold_common.domain.listing import EVERY_PROJECT, ProjectFilter
from manifold_common.ids import ProjectId, SessionId, TenantId, TenantProject, UserId
from manifold_common.ports.catalog import DeletedPlace, DeletedProject, OutboxEvent, ProjectRow, SessionRow, name_taken


class DeletedProjects:
    state: State

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
        with self.state.lock:
            found = [one for p in self.state.projects.values() if (one := self._restorable(p, grace)) is not None]
        rows = [one for one in found if (one.row.tenant, one.row.owner) == (tenant, owner)]
        mine = [one for one in rows if wanted.takes(one.row.name, one.row.created_at, one.row.updated_at)]
        return sorted((one for one in mine if after is None or _place(one) > after), key=_place)[:limit]

    def find_deleted(self, tenant: TenantId, project: ProjectId, grace: timedelta) -> DeletedProject | None:
        with self.state.lock:
            found = self.state.projects.get((tenant, project))
            return None if found is None else self._restorable(found, grace)

    def deleted_sessions(self, tenant: TenantId, project: ProjectId) -> list[SessionRow]:
        with self.state.lock:
            rows = self.state.deleted_sessions_of(tenant, project)
        return sorted(rows, key=lambda s: (s.user, s.session))

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
        tenant, project = deleted.row.tenant, deleted.row.project
        with self.state.lock:
            found = self.state.projects.get((tenant, project))
            if found is None or self._restorable(found, grace) != deleted:
                return None
            living = (p.row for p in self.state.projects.values() if p.alive)
            if any((row.tenant, row.owner, row.name) == (tenant, found.row.owner, name) for row in living):
                raise name_taken(name)
            now = self.state.clock.now()
            renamed_at = found.row.updated_at if name == found.row.name else max(now, found.row.updated_at)
            found.row = replace(found.row, name=name, updated_at=renamed_at, revision=found.row.revision + 1)
            found.deleted_at = None
            for row in self.state.deleted_sessions_of(tenant, project):
                self._bring_back(row, others[row.user, row.session], now + ttl)
            self.state.emit(tenant, project, found.row.head.generation, event, now)
            return found.row

    def purge_projects(self, grace: timedelta, *, limit: int = 1) -> list[TenantProject]:
        with self.state.lock:
            now = self.state.clock.now()
            due = [
                (p.deleted_at, key)
                for key, p in self.state.projects.items()
                if p.deleted_at is not None and p.deleted_at <= now - grace and not self._may_be_stored_into(key, now)
                if not p.is_purged
            ]
            purged = sorted(key for _, key in sorted(due)[:limit])
            for key in purged:
                self._purge(key)
            return purged

    def _restorable(self, project: Project, grace: timedelta) -> DeletedProject | None:
        if project.deleted_at is None or project.is_purged:
            return None
        is_over = project.deleted_at <= self.state.clock.now() - grace
        return None if is_over else DeletedProject(project.row, project.deleted_at)

    def _bring_back(self, row: SessionRow, other: SessionId, expires_at: datetime) -> None:
        state, back = self.state, replace(row, expires_at=expires_at)
        if (row.tenant, row.user, row.session) in state.sessions:
            back = replace(back, session=other, scope_session=row.scope_session or row.session)
            state.ended.append((row, state.clock.now()))
        state.deleted_sessions.remove(row)
        state.supersede(row)
        state.sessions[back.tenant, back.user, back.session] = back

    def _may_be_stored_into(self, key: TenantProject, now: datetime) -> bool:
        state = self.state
        return any(one.expires_at > now for at, one in state.uploads.items() if at[:2] == key) or any(
            one.writing_until is not None and one.writing_until > now
            for at, one in state.resumable.items()
            if at[:2] == key
        )

    def _purge(self, key: TenantProject) -> None:
        state, project = self.state, self.state.projects[key]
        for row in state.deleted_sessions_of(*key):
            state.deleted_sessions.remove(row)
            state.supersede(row)
            state.ended.append((row, state.clock.now()))
        project.is_purged = True
        project.removals += 1
        project.row = replace(project.row, head=project.row.head._replace(commit=None))
        project.keys.clear()
        for rows in (project.commits, project.removed, project.checkpoints):
            rows.clear()
        project.by_id.clear()
        project.tags.clear()
        state.uploads = {at: one for at, one in state.uploads.items() if at[:2] != key}
        state.removing = {at for at in state.removing if at[:2] != key}
        state.resumable = {at: one for at, one in state.resumable.items() if at[:2] != key}
        state.resumable_parts = {at: one for at, one in state.resumable_parts.items() if at[:2] != key}


def _place(deleted: DeletedProject) -> DeletedPlace:
    return deleted.row.name, deleted.row.project
