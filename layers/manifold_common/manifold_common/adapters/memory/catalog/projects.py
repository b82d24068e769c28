"""Projects. A deleted one stays in the dictionary, no longer alive."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from manifold_common.adapters.memory.catalog.commits import publish
from manifold_common.adapters.memory.catalog.state import State
from manifold_common.adapters.memory.catalog.tables import Project
from manifold_common.domain.history import Version, require_version
from manifold_common.domain.keys import Encryption, KeyRecord
from manifold_common.domain.listing import EVERY_PROJECT, ProjectFilter
from manifold_common.errors import AlreadyExists, NotFound
from manifold_common.ids import Generation, ProjectId, TenantId, TenantProject, UserId
from manifold_common.ports.catalog import OutboxEvent, ProjectRow, Publication, Retention


class Projects:
    state: State

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
        with self.state.lock:
            if fork_of is not None:
                if source is not None:
                    require_version(self.state.living(row.tenant, fork_of[0]).row.version, source)
                forked = self.state.projects.get((row.tenant, fork_of[0]))
                if forked is None or forked.is_purged or forked.row.head.generation < fork_of[1]:
                    raise NotFound(f"there is no generation {fork_of[1]} of project {fork_of[0]} to fork")
                if first is not None:
                    self.state.require_epoch(forked, first.base.gc_epoch)
            if (row.tenant, row.project) in self.state.projects:
                raise AlreadyExists(f"project {row.project} exists already")
            self._refuse_taken_name(row.tenant, row.owner, row.name)
            head = row.head._replace(gc_epoch=first.base.gc_epoch) if first is not None else row.head
            made = Project(replace(row, head=head, encryption=Encryption.of(keys)), list(keys), fork_of)
            if first is not None:
                self.state.require_key(made, first.commit.dek)
            self.state.projects[row.tenant, row.project] = made
            self.state.emit(row.tenant, row.project, row.head.generation, event, row.created_at)
            if first is not None:
                publish(self.state, first)

    def get_project(self, tenant: TenantId, project: ProjectId) -> ProjectRow:
        with self.state.lock:
            return self.state.living(tenant, project).row

    def find_project(self, tenant: TenantId, owner: UserId, name: str) -> ProjectRow | None:
        with self.state.lock:
            rows = (p.row for p in self.state.projects.values() if p.alive)
            return next((r for r in rows if (r.tenant, r.owner, r.name) == (tenant, owner, name)), None)

    def list_projects(
        self,
        tenant: TenantId,
        owner: UserId,
        *,
        wanted: ProjectFilter = EVERY_PROJECT,
        after_name: str = "",
        limit: int = 100,
    ) -> list[ProjectRow]:
        with self.state.lock:
            rows = [p.row for p in self.state.projects.values() if p.alive]
        mine = [r for r in rows if r.tenant == tenant and r.owner == owner and r.name > after_name]
        found = [r for r in mine if wanted.takes(r.name, r.created_at, r.updated_at)]
        return sorted(found, key=lambda r: r.name)[:limit]

    def all_projects(self, *, after: TenantProject | None = None, limit: int = 100) -> list[ProjectRow]:
        with self.state.lock:
            keys = sorted(key for key, p in self.state.projects.items() if p.alive and (after is None or key > after))
            return [self.state.projects[key].row for key in keys[:limit]]

    def rename_project(
        self, tenant: TenantId, project: ProjectId, name: str, event: OutboxEvent, *, expected: Version | None = None
    ) -> ProjectRow:
        with self.state.lock:
            found = self.state.living(tenant, project)
            require_version(found.row.version, expected)
            if found.row.name != name:
                self._refuse_taken_name(tenant, found.row.owner, name)
            now = self.state.clock.now()
            revision = found.row.revision + 1
            found.row = replace(found.row, name=name, updated_at=max(now, found.row.updated_at), revision=revision)
            self.state.emit(tenant, project, found.row.head.generation, event, now)
            return found.row

    def set_retention(
        self,
        tenant: TenantId,
        project: ProjectId,
        retention: Retention,
        event: OutboxEvent,
        *,
        expected: Version | None = None,
    ) -> bool:
        with self.state.lock:
            found = self.state.living(tenant, project)
            require_version(found.row.version, expected)
            if found.retention == retention:
                return False
            found.retention = retention
            found.row = replace(found.row, revision=found.row.revision + 1)
            self.state.emit(tenant, project, found.row.head.generation, event, self.state.clock.now())
            return True

    def delete_project(
        self,
        tenant: TenantId,
        project: ProjectId,
        event: OutboxEvent,
        *,
        expected: Version | None = None,
        only_unused: bool = False,
    ) -> datetime:
        with self.state.lock:
            found = self.state.living(tenant, project)
            require_version(found.row.version, expected)
            open_sessions = self.state.sessions_of(tenant, project)
            if only_unused and (found.row.head.generation or open_sessions):
                raise NotFound(f"project {project} is used")
            found.deleted_at = now = self.state.clock.now()
            for row in open_sessions:
                if row.draft is None:
                    self.state.end(row)
                else:
                    del self.state.sessions[row.tenant, row.user, row.session]
                    self.state.deleted_sessions.append(row)
            self.state.emit(tenant, project, found.row.head.generation, event, now)
            return now

    def forks_of(self, tenant: TenantId, source: ProjectId) -> list[tuple[ProjectId, Generation]]:
        with self.state.lock:
            every = [p for (t, _), p in self.state.projects.items() if t == tenant and p.fork_of is not None]
            reached: dict[ProjectId, Generation] = {}
            frontier: dict[ProjectId, Generation | None] = {source: None}
            while frontier:
                found = {
                    p.row.project: via if (via := frontier[p.fork_of[0]]) is not None else p.fork_of[1]
                    for p in every
                    if p.fork_of is not None and p.fork_of[0] in frontier
                }
                reached |= found
                frontier = dict(found)
            alive = {p.row.project for p in every if p.alive}
            return sorted((project, generation) for project, generation in reached.items() if project in alive)

    def _refuse_taken_name(self, tenant: TenantId, owner: UserId, name: str) -> None:
        if self.find_project(tenant, owner, name) is not None:
            raise AlreadyExists(f"there is a project named {name!r} already", hint="choose another name")
