"""Tags: names for generations."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from manifold_common.adapters.memory.catalog.state import State
from manifold_common.domain.history import Point
from manifold_common.domain.tag import MAX_TAGS
from manifold_common.errors import NotFound
from manifold_common.ids import ProjectId, TagName, TenantId, UserId
from manifold_common.ports.catalog import OutboxEvent, TagRow, TagSet, too_many_tags


class Tags:
    state: State

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
        with self.state.lock:
            found = self.state.living(tenant, project)
            if point.commit is None or not found.has(point):
                raise NotFound(f"project {project} has no generation {point}")
            here = found.tags.get(name)
            if here is not None and here.point == point:
                return TagSet(here, is_changed=False)
            if not _is_as_seen(here, expected, moved_at):
                return None
            if here is None and len(found.tags) >= MAX_TAGS:
                raise too_many_tags(project)
            now = self.state.clock.now()
            row = (
                TagRow(tenant, project, name, point.generation, point.commit, user, now, now)
                if here is None
                else replace(
                    here,
                    generation=point.generation,
                    commit=point.commit,
                    user=user,
                    moved_at=max(now, here.moved_at + timedelta(microseconds=1)),
                )
            )
            found.tags[name] = row
            self.state.emit(tenant, project, found.row.head.generation, event, now)
            return TagSet(row, is_changed=True)

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
        with self.state.lock:
            found = self.state.living(tenant, project)
            if not _is_as_seen(found.tags.get(name), expected, moved_at):
                return False
            del found.tags[name]
            self.state.emit(tenant, project, found.row.head.generation, event, self.state.clock.now())
            return True

    def find_tag(self, tenant: TenantId, project: ProjectId, name: TagName) -> TagRow | None:
        with self.state.lock:
            found = self.state.living_or_none(tenant, project)
            return found.tags.get(name) if found is not None else None

    def list_tags(
        self, tenant: TenantId, project: ProjectId, *, after_name: str = "", limit: int = 2 * MAX_TAGS
    ) -> list[TagRow]:
        with self.state.lock:
            tags = self.state.living(tenant, project).tags
            return [tags[name] for name in sorted(tags) if name > after_name][:limit]


def _is_as_seen(here: TagRow | None, expected: Point | None, moved_at: datetime | None) -> bool:
    if here is None:
        return expected is None
    return here.point == expected and moved_at in (None, here.moved_at)
