"""Collection as a job: an item is a fork family."""

from __future__ import annotations

from collections.abc import Sequence

from manifold_common.domain.job import ItemState
from manifold_common.errors import InvalidInput, NotFound
from manifold_common.ids import TenantProject, parse_project_id, parse_tenant_id
from manifold_common.ports.catalog.collection import Collection
from manifold_common.services.collection.collector import Collector
from manifold_common.services.jobs.kind import Plan, Work

_PAGE = 500
_NAME_PARTS = 2


class CollectJob:
    """Implements JobKind."""

    at_once = 1
    is_open = False

    def __init__(self, catalog: Collection, collector: Collector, only: TenantProject | None) -> None:
        """Args: ``only``: of this project's family."""
        self._catalog = catalog
        self._collector = collector
        self._only = only

    def plan(self, cursor: str | None) -> Plan:
        if self._only is not None:
            tenant, project = self._only
            return Plan([item_of((tenant, self._catalog.family_of(tenant, project)))], None)
        after = None if cursor is None else family_of(cursor)
        items = [item_of(family) for family in self._catalog.fork_families(after=after, limit=_PAGE)]
        return Plan(items, items[-1] if len(items) == _PAGE else None)

    def begin(self, items: Sequence[str]) -> Work:  # noqa: ARG002
        def work(item: str) -> ItemState:
            try:
                return ItemState.DONE if self._collector.collect(*family_of(item)) else ItemState.SKIPPED
            except NotFound:
                return ItemState.SKIPPED  # deleted at this very moment: the next run sees it as that

        return work


def item_of(family: TenantProject) -> str:
    """Return the item that a family is."""
    return "/".join(family)


def family_of(item: str) -> TenantProject:
    """Return which family an item is. Raises InvalidInput."""
    parts = item.split("/")
    if len(parts) != _NAME_PARTS:
        raise InvalidInput("the item is not the name of a project")
    return parse_tenant_id(parts[0]), parse_project_id(parts[1])
