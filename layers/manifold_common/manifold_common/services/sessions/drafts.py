"""Drafts: what a working set has changed and not published, stored durably, one for each session.

Order of effects: the draft's objects first, then the session's row, which ends the draft before it. That one's object
stays in the store for a while (services/upkeep/superseded.py). Only the working set that a session is at may do so: one
that was left behind on another machine is refused, so that it cannot replace what was saved since.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass

from manifold_common.domain.access import Principal
from manifold_common.domain.history import Point
from manifold_common.domain.tree import Changes
from manifold_common.engine.commit_writer import StoredCommit
from manifold_common.engine.working_set.state import DurableChanges
from manifold_common.engine.working_set.working_sets import OpenWorkingSet, WorkingSets
from manifold_common.errors import ContentCollected, KeyUnavailable, ManifoldError, NotFound, SessionMoved, StaleStore
from manifold_common.format.places import Places
from manifold_common.format.sealed import ObjectKind
from manifold_common.ids import CommitId, Generation, SessionId, WorkingSetId
from manifold_common.services.context import Context

_REMEMBERED = 32


@dataclass(frozen=True, slots=True)
class SavedDraft:
    """A draft as this process saved it."""

    base: Point
    changes: Changes
    places: Places
    commit: CommitId
    gc_epoch: int
    """At which its places count."""

    @property
    def packed(self) -> Places:
        """Where its content is that a commit may refer to: the draft's own object goes away after the draft."""
        return {chunk: place for chunk, place in self.places.items() if place.block.container.kind is ObjectKind.PACK}


class Drafts:
    """Safe for threads. Working sets that are given are open."""

    def __init__(self, context: Context, working_sets: WorkingSets) -> None:
        self._context = context
        self._working_sets = working_sets
        self._last: OrderedDict[tuple[Principal, SessionId], SavedDraft] = OrderedDict()
        self._lock = threading.Lock()

    def last(self, opened: OpenWorkingSet) -> SavedDraft | None:
        """Return the draft that this process saved last of the session, if it is the session's draft still."""
        with self._lock:
            found = self._last.get(_key(opened))
        if found is None:
            return None
        view = self._context.catalog.view_session(opened.owner.tenant, opened.owner.user, opened.owner.session)
        if view is None or view.session.draft is None or view.session.draft.commit != found.commit:
            return None
        return found

    def save(self, opened: OpenWorkingSet, stored: StoredCommit, changes: Changes) -> None:
        """Make ``stored`` the session's draft, in place of the one before.

        Raises NotFound, SessionMoved, StaleStore, ContentCollected.
        """
        try:
            self.put(opened.owner.principal, opened.owner.session, stored, working_set=opened.id)
        except (NotFound, SessionMoved, StaleStore, KeyUnavailable, ContentCollected):
            with suppress(ManifoldError):
                self._context.writer.discard(opened.owner.tenant, opened.owner.project, stored.row)
            raise
        base = Point(Generation(stored.row.generation - 1), stored.row.parent)
        self._working_sets.note_durable(opened, DurableChanges.of(base, changes))
        with self._lock:
            self._last[_key(opened)] = SavedDraft(base, changes, stored.places, stored.row.commit, stored.gc_epoch)
            while len(self._last) > _REMEMBERED:
                self._last.popitem(last=False)

    def put(
        self,
        principal: Principal,
        session: SessionId,
        stored: StoredCommit,
        *,
        working_set: WorkingSetId | None = None,
    ) -> None:
        """Like ``save``, for work that is in no working set of this machine. ``None``: wherever the session is."""
        context = self._context
        now = context.clock.now()
        with context.keys.writing(principal.tenant, stored.project):
            context.catalog.save_draft(
                principal.tenant,
                principal.user,
                session,
                stored.draft(now),
                ttl=context.policy.session_ttl,
                working_set=working_set,
                gc_epoch=stored.gc_epoch,
            )

    def forget(self, opened: OpenWorkingSet) -> None:
        """Take the draft off a session whose working set no longer differs from its base. Raises SessionMoved."""
        context, owner = self._context, opened.owner
        view = context.catalog.view_session(owner.tenant, owner.user, owner.session)
        if view is None:
            return
        row = view.session
        if not row.is_at(opened.id):
            raise SessionMoved(owner.session)
        self.published(opened)
        if row.draft is not None:
            context.catalog.drop_draft(row.tenant, row.user, row.session, row.draft.commit)

    def published(self, opened: OpenWorkingSet) -> None:
        """Note that the working set has no draft any more: it was published, under another id."""
        self._working_sets.note_durable(opened, None)
        with self._lock:
            self._last.pop(_key(opened), None)


def _key(opened: OpenWorkingSet) -> tuple[Principal, SessionId]:
    return opened.owner.principal, opened.owner.session
