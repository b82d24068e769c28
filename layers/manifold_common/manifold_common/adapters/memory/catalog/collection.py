"""Generations that are removed, and objects that are suspected, condemned and forgotten."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from manifold_common.adapters.memory.catalog.state import State
from manifold_common.adapters.memory.catalog.tables import Project
from manifold_common.domain.garbage import Cause, Garbage, starts_of
from manifold_common.errors import NotFound
from manifold_common.ids import PLAIN, Generation, ProjectId, TenantId, TenantProject
from manifold_common.ports.catalog import Condemned, GarbageTotal, Holdings, Member, Moment, OutboxEvent, Standing


class Collection:
    state: State

    def fork_families(self, *, after: TenantProject | None = None, limit: int = 100) -> list[TenantProject]:
        with self.state.lock:
            leaders = sorted(key for key, one in self.state.projects.items() if one.fork_of is None)
        return [key for key in leaders if after is None or key > after][:limit]

    def family_of(self, tenant: TenantId, project: ProjectId) -> ProjectId:
        with self.state.lock:
            while (source := self._any(tenant, project).fork_of) is not None:
                project = source[0]
            return project

    def fork_family(self, tenant: TenantId, leader: ProjectId) -> list[Member]:
        with self.state.lock:
            found = [key for key in self.state.projects if key[0] == tenant and self.family_of(*key) == leader]
            members = [(project, self.state.projects[tenant, project]) for _, project in sorted(found)]
            return [Member(project, _standing(one), one.row.head) for project, one in members]

    def holdings(self, tenant: TenantId, project: ProjectId) -> Holdings:
        with self.state.lock:
            found, state = self._any(tenant, project), self.state
            sessions = state.sessions_of(tenant, project) + state.deleted_sessions_of(tenant, project)
            drafts = [row.draft for row in sessions if row.draft is not None]
            listed = [value for key, value in state.condemned.items() if key[:2] == (tenant, project)]
            resumable = [(key, one) for key, one in state.resumable.items() if key[:2] == (tenant, project)]
            return Holdings(
                tenant=tenant,
                project=project,
                standing=_standing(found),
                head=found.row.head,
                removals=found.removals,
                retention=found.retention,
                collected=found.collected,
                now=state.clock.now(),
                commits=list(found.commits.values()),
                checkpoints=list(found.checkpoints.values()),
                drafts=drafts,
                pinned=frozenset(
                    [tag.generation for tag in found.tags.values()]
                    + [row.base_generation for row in sessions]
                    + [draft.base.generation for draft in drafts]
                ),
                keys=sorted(found.keys, key=lambda key: key.epoch)[::-1],
                uploads=[one for key, one in state.uploads.items() if key[:2] == (tenant, project)],
                resumable=[
                    (one, [part for _, part in sorted(state.resumable_parts.get(key, {}).items())])
                    for key, one in resumable
                ],
                superseded=frozenset(
                    (one.generation, one.commit)
                    for key, (_, one) in state.superseded.items()
                    if key[:2] == (tenant, project)
                ),
                listed=frozenset(one.object for one, since in listed if since is not None),
                suspected=[one for one, since in listed if since is None],
            )

    def remove_generations(
        self,
        tenant: TenantId,
        project: ProjectId,
        generations: Sequence[Generation],
        event: OutboxEvent,
    ) -> bool:
        with self.state.lock:
            found = self.state.living_or_none(tenant, project)
            if found is None or found.row.head.generation in generations:
                return False
            if not self.holdings(tenant, project).pinned.isdisjoint(generations):
                return False
            for successor in {Generation(one + 1) for one in generations}.difference(
                generations
            ) & found.commits.keys():
                checkpoint = found.checkpoints.get(successor)
                if checkpoint is None or (checkpoint.dek == PLAIN and found.epoch):
                    return False
            found.removals += 1
            gone = [row for generation in generations if (row := found.commits.pop(generation, None)) is not None]
            for row in gone:
                del found.by_id[row.commit]
                found.checkpoints.pop(row.generation, None)
                found.removed[row.generation] = row
            if gone:
                self.state.emit(tenant, project, found.row.head.generation, event, self.state.clock.now())
            return True

    def history_starts(self, tenant: TenantId, project: ProjectId) -> tuple[int, list[Generation]]:
        with self.state.lock:
            found = self.state.living(tenant, project)
            return found.removals, starts_of(list(found.commits))

    def record_hashes(self, tenant: TenantId, project: ProjectId, generation: Generation) -> list[bytes]:
        with self.state.lock:
            found = self._any(tenant, project)
            every = sorted((found.removed | found.commits).items())
            return [row.record_hash for number, row in every if number <= generation]

    def was_removed(self, tenant: TenantId, project: ProjectId, since: datetime) -> bool:
        with self.state.lock:
            removed = self._any(tenant, project).removed.values()
            return any(row.recorded_at is not None and row.recorded_at >= since for row in removed)

    def suspect(
        self, tenant: TenantId, family: Sequence[ProjectId], found: Sequence[tuple[ProjectId, Garbage]]
    ) -> dict[ProjectId, int]:
        with self.state.lock:
            members = [one for project in family if (one := self.state.projects.get((tenant, project))) is not None]
            for one in members:
                one.move_epoch()
            for project, garbage in found:
                self.state.condemned.setdefault((tenant, project, garbage.object), (garbage, None))
            return {one.row.project: one.row.head.gc_epoch for one in members}

    def settle(
        self,
        tenant: TenantId,
        family: Mapping[ProjectId, Moment],
        cleared: Sequence[tuple[ProjectId, str]],
        condemned: Sequence[tuple[ProjectId, str]],
    ) -> bool:
        with self.state.lock:
            for project, moment in family.items():
                found = self.state.projects.get((tenant, project))
                if found is None or (found.row.head.gc_epoch, found.removals) != moment:
                    return False
            listed, now = self.state.condemned, self.state.clock.now()
            suspected = [(tenant, *one) for one in (*cleared, *condemned)]
            suspected = [key for key in suspected if key in listed and listed[key][1] is None]
            for key in suspected:
                garbage, _ = listed.pop(key)
                if key[1:] in condemned:
                    listed[key] = (garbage, now)
            return True

    def note_collected(self, tenant: TenantId, leader: ProjectId, state: bytes) -> None:
        with self.state.lock:
            self._any(tenant, leader).collected = state

    def condemned_among(
        self, tenant: TenantId, project: ProjectId, objects: Sequence[tuple[ProjectId, str]]
    ) -> tuple[int, set[tuple[ProjectId, str]]]:
        with self.state.lock:
            head = self.state.living(tenant, project).row.head
            return head.gc_epoch, {one for one in objects if (tenant, *one) in self.state.condemned}

    def condemned_objects(self, older_than_seconds: float, *, limit: int = 100) -> list[Condemned]:
        with self.state.lock:
            until = self.state.clock.now() - timedelta(seconds=older_than_seconds)
            listed = self.state.condemned.items()
            dated = sorted((since, key, one.bytes) for key, (one, since) in listed if since is not None)
            over = [(key, size) for since, key, size in dated if since <= until and not self.state.is_held(since)]
        return [Condemned(*key, size) for key, size in over[:limit]]

    def forget_condemned(self, objects: Sequence[Condemned]) -> None:
        with self.state.lock:
            for one in objects:
                listed = self.state.condemned.get((one.tenant, one.project, one.object))
                if listed is not None and listed[1] is not None:
                    del self.state.condemned[one.tenant, one.project, one.object]

    def garbage_of(self, tenant: TenantId, projects: Sequence[ProjectId]) -> list[GarbageTotal]:
        objects: Counter[tuple[ProjectId, Cause]] = Counter()
        sizes: Counter[tuple[ProjectId, Cause]] = Counter()
        with self.state.lock:
            for (owner, project, _), (garbage, since) in self.state.condemned.items():
                if owner == tenant and project in projects and since is not None:
                    objects[project, garbage.reason] += 1
                    sizes[project, garbage.reason] += garbage.bytes
        every = sorted(objects, key=lambda key: (key[0], key[1].value))
        return [GarbageTotal(*key, objects[key], sizes[key]) for key in every]

    def _any(self, tenant: TenantId, project: ProjectId) -> Project:
        found = self.state.projects.get((tenant, project))
        if found is None:
            raise NotFound(f"there is no project {project}")
        return found


def _standing(project: Project) -> Standing:
    if project.is_purged:
        return Standing.PURGED
    return Standing.ALIVE if project.alive else Standing.DELETED
