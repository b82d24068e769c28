"""Deleted projects whose time to be brought back is over give up what they held: a collection then removes it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from manifold_common.services.context import Context

_PAGE = 20


class Purge:
    def __init__(self, context: Context, kept_days: int) -> None:
        """
        Args:
            kept_days: for how long a deleted project can be brought back.
        """
        self._context = context
        self._kept = timedelta(days=kept_days)

    def sweep(self, *, stop: Callable[[], bool] = lambda: False) -> int:
        """Purge projects whose time is over; return how many. ``stop`` is asked before each few.

        Raises CatalogUnavailable: the next run goes on.
        """
        purged = 0
        while not stop():
            some = self._context.catalog.purge_projects(self._kept, limit=_PAGE)
            purged += len(some)
            if len(some) < _PAGE:
                break
        return purged
