"""Objects that nothing refers to any more leave the store when their time is over.

Not at once: a dump of the catalog that was taken before still refers to them, and a copy of the store that is made
after the dump has to have them. Order of effects: the object, then the catalog's note of it; so a run that is cut off
removes again what is gone already, and forgets nothing. Any number of nodes may do so at once.
"""

from __future__ import annotations

from collections.abc import Callable

from manifold_common.format.layout import commit_key
from manifold_common.services.context import Context

_PAGE = 500
_MOST_AT_ONCE = 10_000
"""In one run, so that a backlog does not keep the store from its other work."""


class Superseded:
    def __init__(self, context: Context, grace_seconds: float) -> None:
        """
        Args:
            grace_seconds: how long an object stays after the last reference to it has gone.
        """
        self._context = context
        self._grace_seconds = grace_seconds

    def sweep(self, *, stop: Callable[[], bool] = lambda: False) -> int:
        """Remove objects whose time is over; return how many. ``stop`` is asked before each few hundred.

        Raises StoreUnavailable, CatalogUnavailable: the next run goes on.
        """
        context, removed = self._context, 0
        while removed < _MOST_AT_ONCE and not stop():
            found = context.catalog.superseded_objects(self._grace_seconds, limit=_PAGE)
            gone = [one for one in found if not one.is_named]
            if gone:
                keys = [commit_key(one.tenant, one.project, one.generation, one.commit) for one in gone]
                context.objects.discard(keys)
            if found:
                context.catalog.forget_superseded(found)
            removed += len(gone)
            if len(found) < _PAGE:
                break
        return removed
