"""What a caller has seen of a project, held against where the project stands.

A catalog that was set back (restored from a backup, or a standby that lags) is noticed by whoever has seen more.
"""

from __future__ import annotations

from manifold_common.domain.history import Point, Seen, history_replaced, point_of
from manifold_common.errors import NotFound
from manifold_common.ids import ProjectId, TenantId
from manifold_common.ports.catalog import Catalog, Head


def refuse_stale(head: Head, seen: Seen | None) -> None:
    """Compare with the head alone, which costs nothing; it may be beyond what was seen, and yet of another history.

    Raises:
        StaleStore: the head is before ``seen``, or is that generation by another commit.
    """
    if seen is None or head.generation > point_of(seen).generation:
        return
    if not point_of(seen).is_at(head.point):
        raise history_replaced(point_of(seen), head.generation)


def refuse_replaced(catalog: Catalog, tenant: TenantId, project: ProjectId, head: Head, seen: Seen | None) -> None:
    """Like ``refuse_stale``, and look up what the history has at ``seen`` where the head is beyond it.

    Raises:
        StaleStore: ``seen`` is not in the project's history.
    """
    refuse_stale(head, seen)
    if not isinstance(seen, Point) or seen.commit is None or seen.generation == head.generation:
        return
    try:
        row = catalog.commit_at(tenant, project, seen.generation)
    except NotFound:
        raise history_replaced(seen, head.generation) from None
    if row.commit != seen.commit:
        raise history_replaced(seen, head.generation)
