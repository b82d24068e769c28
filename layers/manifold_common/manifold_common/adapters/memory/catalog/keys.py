"""Wrapped keys, and what of a project is under none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from manifold_common.adapters.memory.catalog.state import State
from manifold_common.domain.keys import NO_PROVIDER, Encryption, Kek, KeyCursor, KeyRecord, WrappedKey
from manifold_common.errors import AlreadyExists, InternalError
from manifold_common.ids import PLAIN, CommitId, ProjectId, TenantId
from manifold_common.ports.catalog import CheckpointRow, Head, PlainObjects


class Keys:
    state: State

    def project_keys(self, tenant: TenantId, project: ProjectId) -> list[KeyRecord]:
        with self.state.lock:
            return sorted(self.state.living(tenant, project).keys, key=lambda key: key.epoch)[::-1]

    def begin_epoch(
        self,
        key: KeyRecord,
        head: Head,
        *,
        drafts: Sequence[CommitId] | None = None,
        removals: int = 0,
        checkpoints: Sequence[CheckpointRow] = (),
    ) -> bool:
        with self.state.lock:
            found = self.state.living(key.tenant, key.project)
            if key.epoch < 1 or key.dek == PLAIN:
                raise InternalError(f"key {key.dek} cannot begin epoch {key.epoch}")
            if found.holds_key(key.dek):
                raise AlreadyExists(f"project {key.project} has a key {key.dek} already")
            standing = found.row.head
            if (*standing.point, standing.gc_epoch, found.removals) != (*head.point, head.gc_epoch, removals):
                return False
            if found.epoch >= key.epoch:
                return False
            saved = [row.draft for row in self.state.sessions_of(key.tenant, key.project) if row.draft is not None]
            plain = {draft.commit for draft in saved if draft.dek == PLAIN}
            if drafts is not None and not plain <= set(drafts):
                return False
            found.keys.append(key)
            found.removals += 1
            found.checkpoints |= {row.generation: row for row in checkpoints}
            revision = found.row.revision + 1
            found.row = replace(found.row, encryption=Encryption.of(found.keys), revision=revision)
            return True

    def plain_objects(self, tenant: TenantId, projects: Sequence[ProjectId]) -> dict[ProjectId, PlainObjects]:
        found = {}
        with self.state.lock:
            for project in projects:
                one = self.state.living_or_none(tenant, project)
                if one is None:
                    continue
                sizes = [commit.object_bytes for commit in one.commits.values() if commit.dek == PLAIN]
                sizes += [row.object_bytes for row in one.checkpoints.values() if row.dek == PLAIN]
                if sizes:
                    found[project] = PlainObjects(len(sizes), sum(sizes))
        return found

    def count_plain_projects(self) -> int:
        with self.state.lock:
            return sum(one.alive and one.holds_key(PLAIN) for one in self.state.projects.values())

    def keys_not_under(self, kek: Kek, *, after: KeyCursor | None = None, limit: int = 100) -> list[KeyRecord]:
        with self.state.lock:
            found = [
                key
                for project in self.state.projects.values()
                for key in project.keys
                if key.wrapped.provider != NO_PROVIDER and key.wrapped.kek != kek
            ]
        found.sort(key=lambda key: key.context)
        return [key for key in found if after is None or tuple(key.context)[:3] > after][:limit]

    def find_keys(self, names: Sequence[KeyCursor]) -> list[KeyRecord]:
        wanted = set(names)
        with self.state.lock:
            return [
                key
                for project in self.state.projects.values()
                for key in project.keys
                if tuple(key.context)[:3] in wanted
            ]

    def replace_wrapped_key(self, before: KeyRecord, wrapped: WrappedKey) -> WrappedKey | None:
        with self.state.lock:
            project = self.state.projects.get((before.tenant, before.project))
            for index, key in enumerate(project.keys if project else []):
                if project is not None and key.dek == before.dek:
                    if key.wrapped == before.wrapped:
                        project.keys[index] = replace(key, wrapped=wrapped)
                    return project.keys[index].wrapped
            return None
