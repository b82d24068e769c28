"""A session's changes become the next generation, or are saved as a draft."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from manifold_common.domain.access import Principal
from manifold_common.domain.arguments import (
    checked_flag,
    checked_text,
    json_facts,
    optional_request,
    optional_seen,
    settle,
)
from manifold_common.domain.conflict import Strategy
from manifold_common.domain.history import Seen
from manifold_common.domain.losses import Losses
from manifold_common.domain.paths import ROOT
from manifold_common.domain.tree import Changes, growth, is_significant, tally
from manifold_common.engine.commit_writer import Authorship, StoredCommit, decode_note
from manifold_common.engine.tree_log import Snapshot
from manifold_common.engine.working_set.bench import OpenSet
from manifold_common.engine.working_set.folders import open_root
from manifold_common.engine.working_set.scan import Progress, ScanResult, scan
from manifold_common.engine.working_set.scope import Scope, within_scope
from manifold_common.engine.working_set.state import NO_TRUST, Step, Trust, WorkingState, file_clock_ns
from manifold_common.errors import CatalogUnavailable, ManifoldError, NotFound
from manifold_common.ids import CommitId, Generation, ProjectId, RequestId, SessionId
from manifold_common.services.context import Context
from manifold_common.services.drafts import Drafts, SavedDraft
from manifold_common.services.publish import Published, Publisher, Work
from manifold_common.services.sessions import Sessions
from manifold_common.services.workspaces import Workspaces, standing_on

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CommitRequest:
    """Raises InvalidInput: a field is not what it is said to be. The strategy may be named, as in ``"ours"``."""

    message: str = ""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """What made the change: agent run, model, tool calls, cost. JSON-compatible."""
    strategy: Strategy = Strategy.FAIL
    expected: Seen | None = None
    """Commit only on top of this very generation: the project's newest, whichever one the session is based on."""
    request: RequestId | None = None
    """A name for this request: a second one of that name changes nothing, and is answered like the first."""
    checksum: bool = False
    """Find what has changed by content, not by times: also what was written through a shared memory map."""

    def __post_init__(self) -> None:
        settle(
            self,
            message=checked_text(self.message, "message"),
            provenance=json_facts(self.provenance, "provenance"),
            strategy=Strategy.of(self.strategy),
            expected=optional_seen(self.expected, "expected"),
            request=optional_request(self.request),
            checksum=checked_flag(self.checksum, "checksum"),
        )


NO_REQUEST = CommitRequest()


@dataclass(frozen=True, slots=True)
class Committed:
    project: ProjectId
    generation: Generation
    commit: CommitId | None
    """``None`` when there was nothing to commit; ``generation`` is then the working set's base."""
    added: int
    modified: int
    deleted: int
    new_bytes: int
    """Raw bytes of content that was not stored before."""
    rebased: bool
    conflicts: list[bytes]
    """Paths on which the strategy decided."""
    kept: list[SessionId]
    """Sessions that keep, as their drafts, what it dropped of the working set."""
    skipped: list[bytes]
    """Sockets, FIFOs and devices."""
    unstable: list[bytes]
    """Files that were being written to; committed as they were read."""
    losses: Losses = field(default_factory=Losses)
    """What of changed files and new folders no project keeps."""


@dataclass(frozen=True, slots=True)
class Saved:
    session: SessionId
    project: ProjectId
    base_generation: Generation
    commit: CommitId | None
    """The draft's id, or ``None`` when there was nothing to save."""
    changed: int


class Commits:
    def __init__(
        self, context: Context, workspaces: Workspaces, sessions: Sessions, drafts: Drafts, publisher: Publisher
    ) -> None:
        self._context = context
        self._workspaces = workspaces
        self._bench = workspaces.bench
        self._sessions = sessions
        self._drafts = drafts
        self._publisher = publisher

    def commit(
        self,
        principal: Principal,
        session: SessionId,
        request: CommitRequest = NO_REQUEST,
        *,
        progress: Progress | None = None,
    ) -> Committed:
        """Publish what the working set has changed. With nothing changed, nothing happens.

        Raises:
            CommitConflict: others changed the same paths; the work is kept as the session's draft.
            GenerationMismatch: the project's newest generation is not ``request.expected``; the work is kept likewise.
            QuotaExceeded: the project would grow too large; nothing was published.
            NotFound: no such session, or no working set here. SessionBusy.
            SessionMoved: the session has gone on elsewhere; a checkout brings that here.
            RamUnavailable: the project is encrypted, and its working set lies on a disk.
        """
        owner = self._sessions.owner(principal, session)
        self._workspaces.refuse_on_disk(owner)
        with self._bench.open(owner) as work:
            state = self._workspaces.state_of(work, strategy=request.strategy)
            earlier = self._publisher.earlier(principal.tenant, owner.project, request.request)
            if earlier is not None:
                return self.answer_again(earlier)
            by = Authorship(principal.user, session, request.message, request.provenance, request.request)
            prepared, found, trust = self._prepare(work, state, by, self._drafts.last(work), progress, request.checksum)
            if not is_significant(state.base.tree, prepared.changes):
                if request.expected is not None:
                    self._publisher.check_expected(principal.tenant, owner.project, request.expected)
                self._drafts.forget(work)
                self._sessions.note_use(owner)
                self._bench.keep(work, WorkingState(state.base, trust, state.scope))
                return nothing_committed(work, state.base.head.generation, found)
            try:
                published = self._publisher.publish(
                    prepared,
                    strategy=request.strategy,
                    expected=request.expected,
                    session_user=principal.user,
                    working_set=work.id,
                    announce=lambda stored: self._bench.begin(
                        work, Step("commit", stored.row.generation, stored.row.commit, Strategy.FAIL.value)
                    ),
                    keep_draft=lambda stored: self._drafts.save(work, stored, prepared.changes),
                )
            except CatalogUnavailable:
                raise  # it may have been published: whoever opens the working set next finds out
            except ManifoldError as error:
                self._bench.settle(work)
                if isinstance(error, NotFound):
                    self._bench.forget(owner)
                raise
            if published.commit is None:
                self._rest_on(work, published.head)
            else:
                self._drafts.published(work)
            try:
                self._advance(work, state, prepared.changes, trust, published)
            except ManifoldError as error:
                # The commit is made and stays made. The working set finds its place again at the next checkout.
                _log.warning("session %s: committed, but its working set could not follow: %s", session, error.code)
            done = committed(published, prepared, found)
            return replace(done, conflicts=sorted({*done.conflicts, *work.decided}), kept=[*done.kept, *work.kept])

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
        )

    def save(self, principal: Principal, session: SessionId, *, checksum: bool = False) -> Saved:
        """Store what the working set has changed, durably, without publishing it. Raises as ``commit``.

        Args:
            checksum: find that by content, not by times.
        """
        checked_flag(checksum, "checksum")
        owner = self._sessions.owner(principal, session)
        with self._bench.open(owner) as work:
            saved = self.save_open(principal, work, checksum=checksum)
            self._sessions.note_use(owner)
            return saved

    def save_open(self, principal: Principal, work: OpenSet, *, checksum: bool = False) -> Saved:
        """Like ``save``, for a working set that is open already. Not a use of the session, unless it has changed."""
        session, state = work.owner.session, self._workspaces.standing_state(work)
        last = self._drafts.last(work)
        prepared, _, _ = self._prepare(work, state, Authorship(principal.user, session), last, None, checksum)
        generation = state.base.head.generation
        changed = len(prepared.changes.upserts) + len(prepared.changes.deletes)
        if not is_significant(state.base.tree, prepared.changes):
            self._drafts.forget(work)
            return Saved(session, work.owner.project, generation, None, 0)
        if last is not None and (last.base, last.changes) == (state.base.head.point, prepared.changes):
            return Saved(session, work.owner.project, generation, last.commit, changed)
        stored = self._save_work(work, prepared)
        return Saved(session, work.owner.project, generation, stored.row.commit, changed)

    def _prepare(
        self,
        work: OpenSet,
        state: WorkingState,
        by: Authorship,
        draft: SavedDraft | None,
        progress: Progress | None,
        checksum: bool,
    ) -> tuple[Work, ScanResult, Trust]:
        """Scan the working set and store its new content."""
        context, base = self._context, state.base
        known = {**base.places, **draft.packed} if draft else base.places
        keys = context.keys.of(base.tenant, base.project)
        scope = Scope(state.scope).select(base.tree)
        root = open_root(work.location.work)
        try:
            trusted_before_ns = file_clock_ns(work.location.meta)
            with context.pack_writer(base, known) as writer:
                found = scan(
                    root,
                    scope,
                    state.trusted(checksum=checksum),
                    chunker=keys.chunker,
                    add=writer.add,
                    limits=context.policy.limits,
                    progress=progress,
                )
                changes = within_scope(found.changes, scope, base.tree)
                more_bytes, more_files = growth(base.tree, changes)
                context.policy.limits.check_project(
                    base.tree_bytes + more_bytes, len(base.tree) - (ROOT in base.tree) + more_files
                )
                content = writer.finish()
        finally:
            os.close(root)
        prepared = Work(base, changes, content, known, by, writer.new_bytes)
        trust = Trust(trusted_before_ns, frozenset(found.unstable), found.folders)
        return prepared, found, trust

    def _advance(
        self,
        work: OpenSet,
        state: WorkingState,
        mine: Changes,
        trust: Trust,
        published: Published,
    ) -> None:
        """Make the working set stand on the new generation, and bring in what others had committed."""
        head = published.head
        if not published.rebased:
            self._bench.keep(work, WorkingState(head, trust, state.scope))
            return
        work.state = standing_on(state, mine, trust)
        if self._workspaces.move_to(work, head, Strategy.FAIL):
            # Files that others changed too were edited again since the scan. The working set stays on its old base,
            # against which the next checkout or commit finds that out by itself.
            self._bench.keep(work, WorkingState(state.base, NO_TRUST, state.scope))

    def _rest_on(self, work: OpenSet, head: Snapshot) -> None:
        """Others had committed all of it: no publication moves the session's base and takes its draft off its row."""
        owner, base = work.owner, head.head
        self._drafts.forget(work)
        self._context.catalog.move_session(
            owner.tenant, owner.user, owner.session, base_generation=base.generation, base_commit=base.commit
        )
        self._sessions.note_use(owner)

    def keep_draft(self, principal: Principal, session: SessionId, stored: StoredCommit) -> None:
        """Make ``stored``, which is in no working set of this machine, the session's draft."""
        self._drafts.put(principal, session, stored)

    def _save_work(self, work: OpenSet, prepared: Work) -> StoredCommit:
        stored = self._publisher.store(prepared)
        self._drafts.save(work, stored, prepared.changes)
        return stored


def nothing_committed(work: OpenSet, generation: Generation, found: ScanResult) -> Committed:
    """Return what is to be said of a working set that has changed nothing."""
    return Committed(
        project=work.owner.project,
        generation=generation,
        commit=None,
        added=0,
        modified=0,
        deleted=0,
        new_bytes=0,
        rebased=False,
        conflicts=sorted(set(work.decided)),
        kept=list(work.kept),
        skipped=found.skipped,
        unstable=found.unstable,
        losses=found.losses,
    )


def committed(published: Published, work: Work, found: ScanResult | None = None) -> Committed:
    """Return what is to be said of a publication."""
    counted = tally(work.base.tree, published.changes)
    return Committed(
        project=work.base.project,
        generation=published.head.head.generation,
        commit=published.commit.commit if published.commit else None,
        added=counted.added,
        modified=counted.modified,
        deleted=counted.deleted,
        new_bytes=work.new_bytes,
        rebased=published.rebased,
        conflicts=published.conflicts,
        kept=published.kept,
        skipped=found.skipped if found else [],
        unstable=found.unstable if found else [],
        losses=found.losses if found else Losses(),
    )
