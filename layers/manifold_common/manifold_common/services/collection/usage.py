"""What projects take: in the store, as it was measured, and on this machine, as it is now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from manifold_common.domain.access import Principal
from manifold_common.domain.garbage import Kept
from manifold_common.engine.working_set.ram import disk_bytes
from manifold_common.engine.working_set.working_sets import WorkingSets
from manifold_common.format.layout import project_prefix, tenant_prefix
from manifold_common.ids import ProjectId, TenantId, TenantProject
from manifold_common.ports.catalog import UsageSum
from manifold_common.services.collection.collector import Collector
from manifold_common.services.context import Context
from manifold_common.services.projects.projects import Projects
from manifold_common.shapes.projects import Project
from manifold_common.shapes.usage import MachineUsage, ProjectUsage, Stored, UsageTotal


class Usage:
    def __init__(self, context: Context, projects: Projects, collector: Collector, working_sets: WorkingSets) -> None:
        self._context = context
        self._projects = projects
        self._collector = collector
        self._folders = working_sets.folders

    def of(self, principal: Principal, project: ProjectId) -> ProjectUsage:
        """Raises NotFound."""
        return self._told(principal.tenant, [self._projects.get(principal, project)])[0]

    def page(self, principal: Principal, *, after_name: str = "", limit: int = 100) -> list[ProjectUsage]:
        """Return what up to ``limit`` projects take, by name, those after ``after_name``."""
        return self._told(principal.tenant, self._projects.page(principal, after_name=after_name, limit=limit))

    def measure(self, principal: Principal, project: ProjectId) -> ProjectUsage:
        """Measure what a project's fork family has stored, note it, and return what the project takes.

        Raises:
            NotFound. CorruptObject: something of the family cannot be read. KeyUnavailable, StoreUnavailable.
        """
        self._projects.get(principal, project)
        self._collector.measure(principal.tenant, self._context.catalog.family_of(principal.tenant, project))
        return self.of(principal, project)

    def of_user(self, principal: Principal) -> UsageTotal:
        return _total(self._context.catalog.usage_sum(principal.tenant, principal.user))

    def of_tenant(self, principal: Principal) -> UsageTotal:
        return _total(self._context.catalog.usage_sum(principal.tenant))

    def of_machine(self, principal: Principal) -> MachineUsage:
        """Return what all projects of the caller's tenant take on this machine."""
        ram = sum(size for (tenant, _), size in self._ram().items() if tenant == principal.tenant)
        cached = self._context.objects.cached_bytes(tenant_prefix(principal.tenant))
        return MachineUsage(cache_bytes=cached, ram_bytes=ram)

    def _told(self, tenant: TenantId, projects: Sequence[Project]) -> list[ProjectUsage]:
        ids = [project.id for project in projects]
        noted = {row.project: row for row in self._context.catalog.usage_of(tenant, ids)}
        condemned = dict.fromkeys(ids, Kept())
        for one in self._context.catalog.garbage_of(tenant, ids):
            before = condemned[one.project]
            condemned[one.project] = Kept(before.objects + one.objects, before.bytes + one.bytes)
        ram = self._ram()
        found = []
        for project in projects:
            row = noted.get(project.id)
            found.append(
                ProjectUsage(
                    project=project.id,
                    name=project.name,
                    measured_at=row.measured_at if row else None,
                    measured_generation=row.generation if row else None,
                    generation=project.generation,
                    live=Stored.of(row.stored.live) if row else None,
                    history=Stored.of(row.stored.history) if row else None,
                    unreferenced=Stored.of(row.stored.unreferenced) if row else None,
                    condemned=Stored.of(condemned[project.id]),
                    cache_bytes=self._context.objects.cached_bytes(project_prefix(tenant, project.id)),
                    ram_bytes=ram[tenant, project.id],
                )
            )
        return found

    def _ram(self) -> Counter[TenantProject]:
        """Return what working sets take in RAM, by their projects. Plain folders of legacy mode are not in RAM."""
        sizes: Counter[TenantProject] = Counter()
        for owner, folder in self._folders.in_ram():
            sizes[owner.tenant, owner.project] += disk_bytes(folder)
        return sizes


def _total(found: UsageSum) -> UsageTotal:
    return UsageTotal(
        projects=found.projects,
        deleted_projects=found.deleted,
        unmeasured_projects=found.unmeasured,
        oldest_at=found.oldest_at,
        live=Stored.of(found.stored.live),
        history=Stored.of(found.stored.history),
        unreferenced=Stored.of(found.stored.unreferenced),
        condemned=Stored(objects=found.condemned_objects, bytes=found.condemned_bytes),
    )
