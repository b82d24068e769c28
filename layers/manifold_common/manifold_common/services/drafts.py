"""Drafts: what a working set has changed and not published, stored durably, one for each session.

Order of effects: the draft's objects first, then the session's row, which ends the draft before it. That one's object
stays in the store for a while (services/superseded.py). Only the working set that a session is at may do so: one that
was left behind on another machine is refused, so that it cannot replace what was saved since.
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
from manifold_common.engine.working_set.bench import Bench, OpenSet
from manifold_common.engine.working_set.state import DurableChanges
from manifold_common.errors import KeyUnavailable, ManifoldError, NotFound, SessionMoved, StaleStore
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

    @property
    def packed(self) -> Places:
        """Where its content is that a commit may refer to: the draft's own object goes away after the draft."""
        return {chunk: place for chunk, place in self.places.items() if place.block.container.kind is ObjectKind.PACK}


class Drafts:
    """Safe for threads. Working sets that are given are open."""

    def __init__(self, context: Context, bench: Bench) -> None:
        self._context = context
        self._bench = bench
        self._last: OrderedDict[tuple[Principal, SessionId], SavedDraft] = OrderedDict()
        self._lock = threading.Lock()

    def last(self, work: OpenSet) -> SavedDraft | None:
        """Return the draft that this process saved last of the session, if it is the session's draft still."""
        with self._lock:
            found = self._last.get(_key(work))
        if found is None:
            return None
        view = self._context.catalog.view_session(work.owner.tenant, work.owner.user, work.owner.session)
        if view is None or view.session.draft is None or view.session.draft.commit != found.commit:
            return None
        return found

    def save(self, work: OpenSet, stored: StoredCommit, changes: Changes) -> None:
        """Make ``stored`` the session's draft, in place of the one before.

        Raises NotFound, SessionMoved, StaleStore.
        """
        try:
            self.put(work.owner.principal, work.owner.session, stored, working_set=work.id)
        except (NotFound, SessionMoved, StaleStore, KeyUnavailable):
            with suppress(ManifoldError):
                self._context.writer.discard(work.owner.tenant, work.owner.project, stored.row)
            raise
        base = Point(Generation(stored.row.generation - 1), stored.row.parent)
        self._bench.note_durable(work, DurableChanges.of(base, changes))
        with self._lock:
            self._last[_key(work)] = SavedDraft(base, changes, stored.places, stored.row.commit)
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
            )

    def forget(self, work: OpenSet) -> None:
        """Take the draft off a session whose working set no longer differs from its base. Raises SessionMoved."""
        context, owner = self._context, work.owner
        view = context.catalog.view_session(owner.tenant, owner.user, owner.session)
        if view is None:
            return
        row = view.session
        if not row.is_at(work.id):
            raise SessionMoved(owner.session)
        self.published(work)
        if row.draft is not None:
            context.catalog.drop_draft(row.tenant, row.user, row.session, row.draft.commit)

    def published(self, work: OpenSet) -> None:
        """Note that the working set has no draft any more: it was published, under another id."""
        self._bench.note_durable(work, None)
        with self._lock:
            self._last.pop(_key(work), None)


def _key(work: OpenSet) -> tuple[Principal, SessionId]:
    return work.owner.principal, work.owner.session
