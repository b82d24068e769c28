"""A session's changes become the next generation, or are saved as a draft."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from msgspec import structs

from manifold_common.domain.access import Principal
from manifold_common.domain.arguments import checked_flag
from manifold_common.domain.conflict import Strategy
from manifold_common.domain.history import Point
from manifold_common.domain.tree import Changes, tally
from manifold_common.engine.commit_writer import StoredCommit, decode_note
from manifold_common.engine.tree_log import Snapshot
from manifold_common.engine.working_set.scan import Progress, ScanResult
from manifold_common.engine.working_set.state import NO_TRUST, Step, WorkingState
from manifold_common.engine.working_set.working_sets import OpenWorkingSet
from manifold_common.errors import CatalogUnavailable, ContentCollected, ManifoldError, NotFound
from manifold_common.format.places import Places
from manifold_common.ids import CommitId, SessionId
from manifold_common.services.commit_point import PendingCommit
from manifold_common.services.context import Context
from manifold_common.services.publish import Hooks, Published, Publisher
from manifold_common.services.renewal import still_standing
from manifold_common.services.sessions.drafts import Drafts, SavedDraft
from manifold_common.services.sessions.session_files import SessionFiles, Survey, standing_on
from manifold_common.services.sessions.sessions import Sessions
from manifold_common.shapes.intent import NO_INTENT, Intent
from manifold_common.shapes.losses import not_kept
from manifold_common.shapes.path import listed
from manifold_common.shapes.sessions import Committed, Saved

_log = logging.getLogger(__name__)

Answer = TypeVar("Answer")
_ATTEMPTS = 4


class Commits:
    def __init__(
        self, context: Context, files: SessionFiles, sessions: Sessions, drafts: Drafts, publisher: Publisher
    ) -> None:
        self._context = context
        self._files = files
        self._working_sets = files.working_sets
        self._sessions = sessions
        self._drafts = drafts
        self._publisher = publisher

    def commit(
        self,
        principal: Principal,
        session: SessionId,
        intent: Intent = NO_INTENT,
        *,
        checksum: bool = False,
        progress: Progress | None = None,
    ) -> Committed:
        """Publish what the working set has changed. With nothing changed, nothing happens.

        Args:
            checksum: find that by content, not by times: also what was written through a shared memory map.

        Raises:
            CommitConflict: others changed the same paths; the work is kept as the session's draft.
            GenerationMismatch: the project's newest generation is not ``intent.expected``; the work is kept likewise.
            QuotaExceeded: the project would grow too large; nothing was published.
            NotFound: no such session, or no working set here. SessionBusy.
            SessionMoved: the session has gone on elsewhere; a checkout brings that here.
            RamUnavailable: the project is encrypted, and its working set lies on a disk.
        """
        checked_flag(checksum, "checksum")
        owner = self._sessions.owner(principal, session)
        self._files.refuse_on_disk(owner)
        with self._working_sets.open(owner) as opened:
            state = self._files.state_of(opened, intent.strategy)
            intent = intent.of_session(principal.user, session)
            return self._until_kept(
                state, lambda state: self._commit(principal, opened, state, intent, checksum, progress)
            )

    def _commit(
        self,
        principal: Principal,
        opened: OpenWorkingSet,
        state: WorkingState,
        intent: Intent,
        checksum: bool,
        progress: Progress | None,
    ) -> Committed:
        owner, session = opened.owner, opened.owner.session
        earlier = self._publisher.earlier(principal.tenant, owner.project, intent.request)
        if earlier is not None:
            return self.answer_again(earlier)
        pending, seen = self._prepare(opened, state, self._drafts.last(opened), intent, checksum, progress)
        if not seen.is_significant:
            if intent.expected is not None:
                self._publisher.check_expected(principal.tenant, owner.project, intent.expected)
            self._drafts.forget(opened)
            self._sessions.note_use(owner)
            self._working_sets.keep(opened, WorkingState(state.base, seen.trust, state.scope))
            return nothing_committed(opened, state.base.head.point, seen.found)
        try:
            published = self._publisher.publish(pending, self._hooks(opened, pending))
        except CatalogUnavailable:
            raise  # it may have been published: whoever opens the working set next finds out
        except ManifoldError as error:
            self._working_sets.settle(opened)
            if isinstance(error, NotFound):
                self._working_sets.forget(owner)
                self._sessions.view(principal, session)  # which says what is here of one that is closed
            raise
        if published.commit is None:
            self._rest_on(opened, published.head)
        else:
            self._drafts.published(opened)
        behind = None
        try:
            self._advance(opened, seen, published)
        except ManifoldError as error:
            # The commit is made and stays made. The working set finds its place again at the next checkout.
            _log.warning("session %s: committed, but its working set could not follow: %s", session, error.code)
            behind = error.code
        return of_working_set(committed(published, pending), opened, seen.found, behind)

    def answer_again(self, earlier: Published) -> Committed:
        """Return what the request that published this was answered, as far as that was kept."""
        head, row = earlier.head, earlier.commit
        assert row is not None
        note = decode_note(self._context.keys.of(head.tenant, head.project), head.tenant, head.project, row)
        return Committed(
            project=head.project,
            generation=row.generation,
            commit=row.commit,
            added=note.added,
            modified=note.modified,
            deleted=note.deleted,
            new_bytes=note.new_bytes,
            rebased=False,
            conflicts=[],
            kept=[],
            skipped=[],
            unstable=[],
            not_kept=[],
            generation_commit=row.commit,
        )

    def save(self, principal: Principal, session: SessionId, *, checksum: bool = False) -> Saved:
        """Store what the working set has changed, durably, without publishing it. Raises as ``commit``.

        Args:
            checksum: find that by content, not by times.
        """
        checked_flag(checksum, "checksum")
        owner = self._sessions.owner(principal, session)
        with self._working_sets.open(owner) as opened:
            saved = self.save_open(opened, checksum=checksum)
            self._sessions.note_use(owner)
            return saved

    def save_open(self, opened: OpenWorkingSet, *, checksum: bool = False) -> Saved:
        """Like ``save``, for a working set that is open already. Not a use of the session, unless it has changed."""
        return self._until_kept(
            self._files.standing_state(opened), lambda state: self._save(opened, state, checksum=checksum)
        )

    def _until_kept(self, state: WorkingState, do: Callable[[WorkingState], Answer]) -> Answer:
        """Do it again where content that it refers to was collected meanwhile: that is then stored anew."""
        for _ in range(_ATTEMPTS - 1):
            try:
                return do(state)
            except ContentCollected:
                base = state.base
                fresh = self._context.log.load(base.tenant, base.project, base.head.generation, commit=base.head.commit)
                state = replace(state, base=fresh)
        return do(state)

    def _save(self, opened: OpenWorkingSet, state: WorkingState, *, checksum: bool) -> Saved:
        session, last = opened.owner.session, self._drafts.last(opened)
        pending, seen = self._prepare(opened, state, last, NO_INTENT, checksum, None)
        base, changes = pending.base.head, pending.changes
        if not seen.is_significant:
            self._drafts.forget(opened)
            return saved(session, pending.base, None)
        if last is not None and (last.base, last.changes) == (base.point, changes):
            return saved(session, pending.base, last.commit, changes)
        stored = self._publisher.store(pending)
        self._drafts.save(opened, stored, changes)
        return saved(session, pending.base, stored.row.commit, changes)

    def _prepare(
        self,
        opened: OpenWorkingSet,
        state: WorkingState,
        draft: SavedDraft | None,
        intent: Intent,
        checksum: bool,
        progress: Progress | None,
    ) -> tuple[PendingCommit, Survey]:
        """Scan the working set and store its new content."""
        context, base, owner = self._context, state.base, opened.owner
        known = {**base.places, **self._places_of(draft, base)} if draft else base.places
        with context.pack_writer(base, known) as writer:
            seen = self._files.survey(opened, state, checksum=checksum, writer=writer, progress=progress)
            context.policy.limits.check_project(*base.totals_with(seen.changes))
            content = writer.finish()
        pending = PendingCommit(
            base,
            seen.changes,
            content,
            known,
            owner.user,
            session=owner.session,
            intent=intent,
            new_bytes=writer.new_bytes,
            working_set=opened.id,
        )
        return pending, seen

    def _places_of(self, draft: SavedDraft, base: Snapshot) -> Places:
        """Return where content is that the draft refers to, and new work may: a client may take the draft off the
        session before that is stored."""
        if draft.gc_epoch == base.head.gc_epoch:
            return draft.packed
        return still_standing(self._context, base, draft.packed)

    def _hooks(self, opened: OpenWorkingSet, pending: PendingCommit) -> Hooks:
        def announce(stored: StoredCommit) -> None:
            row = stored.row
            self._working_sets.begin(opened, Step("commit", row.generation, row.commit, Strategy.FAIL.value))

        return Hooks(announce, keep_draft=lambda stored: self._drafts.save(opened, stored, pending.changes))

    def _advance(self, opened: OpenWorkingSet, seen: Survey, published: Published) -> None:
        """Make the working set stand on the new generation, and bring in what others had committed."""
        head, state = published.head, seen.state
        if not published.rebased:
            self._working_sets.keep(opened, WorkingState(head, seen.trust, state.scope))
            return
        opened.state = standing_on(state, seen.changes, seen.trust)
        if self._files.move_to(opened, head, Strategy.FAIL):
            # Files that others changed too were edited again since the scan. The working set stays on its old base,
            # against which the next checkout or commit finds that out by itself.
            self._working_sets.keep(opened, WorkingState(state.base, NO_TRUST, state.scope))

    def _rest_on(self, opened: OpenWorkingSet, head: Snapshot) -> None:
        """Others had committed all of it: no publication moves the session's base and takes its draft off its row."""
        owner, base = opened.owner, head.head
        self._drafts.forget(opened)
        self._context.catalog.move_session(
            owner.tenant, owner.user, owner.session, base_generation=base.generation, base_commit=base.commit
        )
        self._sessions.note_use(owner)

    def keep_draft(self, principal: Principal, session: SessionId, stored: StoredCommit) -> None:
        """Make ``stored``, which is in no working set of this machine, the session's draft."""
        self._drafts.put(principal, session, stored)


def nothing_committed(opened: OpenWorkingSet, base: Point, found: ScanResult) -> Committed:
    """Return the answer to a commit of a working set without changes. Args: ``base``: the generation that it is at."""
    return Committed(
        project=opened.owner.project,
        generation=base.generation,
        commit=None,
        added=0,
        modified=0,
        deleted=0,
        new_bytes=0,
        rebased=False,
        conflicts=listed(sorted(set(opened.decided))),
        kept=list(opened.kept),
        skipped=listed(found.skipped),
        unstable=listed(found.unstable),
        not_kept=not_kept(found.losses),
        generation_commit=base.commit,
    )


def of_working_set(done: Committed, opened: OpenWorkingSet, found: ScanResult, behind: str | None) -> Committed:
    """Return the answer to a commit, with what only its working set knows. Args: ``behind``: as in the answer."""
    return structs.replace(
        done,
        conflicts=listed(sorted({*(path.exact for path in done.conflicts), *opened.decided})),
        kept=[*done.kept, *opened.kept],
        skipped=listed(found.skipped),
        unstable=listed(found.unstable),
        not_kept=not_kept(found.losses),
        behind=behind,
    )


def committed(published: Published, pending: PendingCommit) -> Committed:
    """Return the answer to a commit, without what only a working set knows."""
    counted = tally(pending.base.tree, published.changes)
    return Committed(
        project=pending.base.project,
        generation=published.head.head.generation,
        commit=published.commit.commit if published.commit else None,
        added=counted.added,
        modified=counted.modified,
        deleted=counted.deleted,
        new_bytes=pending.new_bytes,
        rebased=published.rebased,
        conflicts=listed(published.conflicts),
        kept=published.kept,
        skipped=[],
        unstable=[],
        not_kept=[],
        generation_commit=published.head.head.commit,
    )


def saved(session: SessionId, base: Snapshot, draft: CommitId | None, changes: Changes | None = None) -> Saved:
    """Return the answer to a save. Args: ``changes``: those that were saved, to ``base``; ``None``: there were none."""
    return Saved(
        session=session,
        project=base.project,
        base_generation=base.head.generation,
        draft=draft,
        changed=len(changes.upserts) + len(changes.deletes) if changes else 0,
    )
