"""A machine that serves one session after another, each perhaps of another tenant: a function's container.

What belonged to a session is gone before the next one works: its working set, saved as a draft first, and whatever else
lay beside it. Of another tenant, sealed objects in the cache are gone as well. (Keys and trees in memory go with the
services, which ``bootstrap`` then makes anew.)
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from manifold_common.domain.access import Principal
from manifold_common.engine.working_set.location import WorkspaceMode
from manifold_common.engine.working_set.owner import Owner
from manifold_common.engine.working_set.working_sets import OpenWorkingSet, WorkingSets
from manifold_common.errors import ErrorKind, ManifoldError, Unavailable
from manifold_common.ids import SessionId, TenantId
from manifold_common.services.context import Context
from manifold_common.services.sessions.session_files import owner_of

_log = logging.getLogger(__name__)


class Eviction:
    """For a process that is alone on its machine, and does one thing at a time."""

    def __init__(
        self,
        context: Context,
        working_sets: WorkingSets,
        save: Callable[[OpenWorkingSet], object],
        depart: Callable[[OpenWorkingSet], None],
    ) -> None:
        """
        Args:
            save: saves the changes of a working set as its session's draft.
            depart: notes that it is about to go, with nothing unsaved in it.
        """
        self._depart = depart
        self._context = context
        self._working_sets = working_sets
        self._save = save

    def make_way(self, principal: Principal | None, session: SessionId | None) -> int:
        """Remove every working set but that of this session, and whatever lies beside them.

        Returns how many were removed. With none on the machine it asks nobody anything.

        Raises:
            Unavailable: changes of another session cannot be saved now. They are still there: work for nobody else.
        """
        sets = self._working_sets.folders
        if sets.mode is WorkspaceMode.LEGACY:
            return 0  # the plaintext folders are the users'
        kept: list[Owner] = []
        removed = 0
        for owner in sets.found():
            if owner.principal == principal and owner.session == session:
                kept.append(owner)
            else:
                self._remove(owner)
                removed += 1
        sets.clear(kept)
        return removed

    def forget_other_tenants(self, tenant: TenantId) -> None:
        """Remove the sealed objects of other tenants from the cache."""
        self._context.objects.forget_other_tenants(tenant)

    def _remove(self, owner: Owner) -> None:
        with self._working_sets.open(owner, timeout_seconds=0) as opened:
            view = self._context.catalog.view_session(owner.tenant, owner.user, owner.session)
            alive = view is not None and owner_of(view.session) == owner
            if alive and opened.location.exists():
                try:
                    self._save(opened)
                except ManifoldError as error:
                    if error.kind is ErrorKind.UNAVAILABLE:
                        raise
                    # It could never be saved, by anyone: what another session may not see counts more.
                    _log.error("session %s: what it changed is lost, it cannot be saved: %s", owner.session, error.code)
                else:
                    self._depart(opened)
            left = self._working_sets.wipe(opened)
            if left is not None:
                raise Unavailable(f"the working set of another session cannot be removed: {left}", hint="try again")
