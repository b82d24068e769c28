"""Condemned objects leave the store when their time is over.

Not at once: a dump of the catalog that was taken before may refer to them, and so may whoever was reading as they were
condemned. Order of effects: the object, then the catalog's note of it: a run that is cut off removes again what is gone
already, and forgets nothing. Any number of nodes may do so at once.
"""

from __future__ import annotations

from collections.abc import Callable

from manifold_common.format.layout import project_prefix
from manifold_common.services.collection.tally import Collected, Tally
from manifold_common.services.context import Context

_PAGE = 500
_MOST_AT_ONCE = 10_000
"""In one run, so that a backlog does not keep the store from its other work."""


class Condemned:
    def __init__(self, context: Context, grace_seconds: float, tally: Tally | None = None) -> None:
        self._context = context
        self._grace_seconds = grace_seconds
        self._tally = tally or Tally()

    def sweep(self, *, stop: Callable[[], bool] = lambda: False) -> int:
        """Remove objects whose time is over; return how many. ``stop`` is asked before each few hundred.

        Raises StoreUnavailable, CatalogUnavailable: the next run goes on.
        """
        context, removed = self._context, 0
        while removed < _MOST_AT_ONCE and not stop():
            found = context.catalog.condemned_objects(self._grace_seconds, limit=_PAGE)
            if found:
                context.objects.discard([f"{project_prefix(one.tenant, one.project)}/{one.object}" for one in found])
                context.catalog.forget_condemned(found)
                removed += len(found)
                size = sum(one.bytes for one in found)
                self._tally.add(Collected(removed_objects=len(found), removed_bytes=size))
            if len(found) < _PAGE:
                break
        return removed
