"""Ways to collect, or to write meanwhile, that lack one of the things that make it safe."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from manifold_common.adapters.memory.catalog import MemoryCatalog
from manifold_common.adapters.memory.catalog.state import State
from manifold_common.adapters.memory.catalog.tables import Project
from manifold_common.domain.keys import KeyRecord
from manifold_common.format.layout import project_prefix
from manifold_common.ids import ProjectId, TenantId
from manifold_common.ports.catalog import Condemned, Head, Holdings, Member, Publication, Standing
from manifold_common.services import renewal
from manifold_common.services.collection.collector import Collector, Found
from manifold_common.services.collection.reach import Reach
from manifold_common.services.projects.edits import Edits, Stored

Naive = Callable[[pytest.MonkeyPatch], None]


def no_epoch_moves(patch: pytest.MonkeyPatch) -> None:
    suspect = MemoryCatalog.suspect

    def stays(self: MemoryCatalog, tenant: TenantId, family: Any, found: Any) -> dict[ProjectId, int]:
        suspect(self, tenant, [], found)
        return {project: self.state.projects[tenant, project].row.head.gc_epoch for project in family}

    patch.setattr(MemoryCatalog, "suspect", stays)


def a_commit_ignores_the_epoch(patch: pytest.MonkeyPatch) -> None:
    publish = MemoryCatalog.publish_commit

    def late(self: MemoryCatalog, publication: Publication) -> Head | None:
        epoch = self.head(publication.tenant, publication.project).gc_epoch
        return publish(self, replace(publication, base=publication.base._replace(gc_epoch=epoch)))

    patch.setattr(MemoryCatalog, "publish_commit", late)


def all_else_ignores_the_epoch(patch: pytest.MonkeyPatch) -> None:
    def agrees(_self: State, _project: Project, _gc_epoch: int) -> None:
        pass

    patch.setattr(State, "require_epoch", agrees)


def nothing_is_looked_for_again(patch: pytest.MonkeyPatch) -> None:
    def at_once(
        self: Collector, tenant: TenantId, leader: ProjectId, _seen: Any, found: Found, _reach: Reach
    ) -> set[str]:
        catalog = self._context.catalog
        every = [(project, one) for project, some in found.items() for one in some]
        catalog.suspect(tenant, [one.project for one in catalog.fork_family(tenant, leader)], every)
        catalog.settle(tenant, {}, [], [(project, one.object) for project, one in every])
        return {f"{project_prefix(tenant, project)}/{one.object}" for project, one in every}

    patch.setattr(Collector, "_condemn", at_once)


def whoever_comes_late_looks_for_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(renewal, "_require_standing", lambda *_: None)


def what_is_suspected_goes(patch: pytest.MonkeyPatch) -> None:
    def every(self: MemoryCatalog, _seconds: float, *, limit: int = 100) -> list[Condemned]:
        return [Condemned(*key, one.bytes) for key, (one, _) in self.state.condemned.items()][:limit]

    def forget(self: MemoryCatalog, objects: list[Condemned]) -> None:
        for one in objects:
            del self.state.condemned[one.tenant, one.project, one.object]

    patch.setattr(MemoryCatalog, "condemned_objects", every)
    patch.setattr(MemoryCatalog, "forget_condemned", forget)


def forks_are_not_looked_at(patch: pytest.MonkeyPatch) -> None:
    family = MemoryCatalog.fork_family

    def alone(self: MemoryCatalog, tenant: TenantId, leader: ProjectId) -> list[Member]:
        return [one for one in family(self, tenant, leader) if one.project == leader]

    patch.setattr(MemoryCatalog, "fork_family", alone)


def references_may_have_gone(patch: pytest.MonkeyPatch) -> None:
    settle = MemoryCatalog.settle

    def now(self: MemoryCatalog, tenant: TenantId, family: Any, cleared: Any, condemned: Any) -> bool:
        moments = {
            project: moment._replace(removals=self.state.projects[tenant, project].removals)
            for project, moment in family.items()
        }
        return settle(self, tenant, moments, cleared, condemned)

    patch.setattr(MemoryCatalog, "settle", now)


def taken_without(patch: pytest.MonkeyPatch, changed: Callable[[Holdings], Holdings]) -> None:
    take = Reach.take
    patch.setattr(Reach, "take", lambda self, held, *rest: take(self, changed(held), *rest))


def drafts_hold_nothing(patch: pytest.MonkeyPatch) -> None:
    taken_without(patch, lambda held: replace(held, drafts=[]))


def only_heads_are_marked(patch: pytest.MonkeyPatch) -> None:
    taken_without(patch, lambda held: replace(held, commits=held.commits[-1:]))


def nothing_is_pinned(patch: pytest.MonkeyPatch) -> None:
    holdings = MemoryCatalog.holdings

    def unpinned(self: MemoryCatalog, tenant: TenantId, project: ProjectId) -> Holdings:
        return replace(holdings(self, tenant, project), pinned=frozenset())

    patch.setattr(MemoryCatalog, "holdings", unpinned)


def what_is_condemned_stays(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Collector, "_condemn", lambda *_: set())


def uploads_hold_nothing(patch: pytest.MonkeyPatch) -> None:
    taken_without(patch, lambda held: replace(held, uploads=[], resumable=[]))


def deleted_projects_hold_nothing(patch: pytest.MonkeyPatch) -> None:
    def as_purged(held: Holdings) -> Holdings:
        return replace(held, standing=Standing.PURGED) if held.standing is Standing.DELETED else held

    taken_without(patch, as_purged)


def backups_hold_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(State, "is_held", lambda *_: False)


def encryption_ignores_the_epoch(patch: pytest.MonkeyPatch) -> None:
    begin = MemoryCatalog.begin_epoch

    def late(self: MemoryCatalog, key: KeyRecord, head: Head, **more: Any) -> bool:
        now = self.state.projects[key.tenant, key.project]
        more["removals"] = now.removals
        return begin(self, key, head._replace(gc_epoch=now.row.head.gc_epoch), **more)

    patch.setattr(MemoryCatalog, "begin_epoch", late)


def an_upload_ignores_the_epoch(patch: pytest.MonkeyPatch) -> None:
    write = Edits.write

    def late(self: Edits, *args: Any, stored: Stored, **more: Any) -> Any:
        return write(self, *args, stored=stored._replace(gc_epoch=None), **more)

    patch.setattr(Edits, "write", late)
