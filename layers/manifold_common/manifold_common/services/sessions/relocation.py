"""A session arrives at a working set: one that is built from what is durable, or one that the session had left before.

Order of effects: the files, the working set's state, then the session's row, in a statement that does nothing if the
session has gone on elsewhere meanwhile; then all is looked at again. Until that statement, nothing is the session's.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

from manifold_common.domain.conflict import Strategy
from manifold_common.domain.tree import Changes, between
from manifold_common.domain.unknown import unknown_session
from manifold_common.engine.session_scope import scope_of
from manifold_common.engine.tree_log import Snapshot, empty_snapshot
from manifold_common.engine.working_set.location import WorkspaceMode
from manifold_common.engine.working_set.materialise import Progress
from manifold_common.engine.working_set.owner import Owner
from manifold_common.engine.working_set.refresh import refresh
from manifold_common.engine.working_set.state import NO_TRUST, DurableChanges, Trust, WorkingState, load_durable
from manifold_common.engine.working_set.working_sets import OpenWorkingSet
from manifold_common.errors import ManifoldError, NotFound, SessionBusy, StaleStore
from manifold_common.ids import WorkingSetId
from manifold_common.ports.catalog import SessionRow
from manifold_common.services.context import Context
from manifold_common.services.kept_work import on_top_of
from manifold_common.services.sessions.lost_drafts import blaming_draft, own_blocks
from manifold_common.services.sessions.session_files import SessionFiles, working_conflict

_TRIES = 3


class _Durable(NamedTuple):
    """What a session would be built from anywhere."""

    base: Snapshot
    snapshot: Snapshot
    """The base with the draft made."""
    draft: DurableChanges | None


class Relocation:
    """Every method works on a working set that is open."""

    def __init__(self, context: Context, files: SessionFiles) -> None:
        self._context = context
        self._files = files
        self._working_sets = files.working_sets

    def new_id(self) -> WorkingSetId | None:
        """Return a name for a working set that is about to be built; ``None`` where folders are shared."""
        return (
            WorkingSetId(self._context.new_id()) if self._working_sets.folders.mode is WorkspaceMode.EPHEMERAL else None
        )

    def arrive(
        self, opened: OpenWorkingSet, row: SessionRow, strategy: Strategy, progress: Progress | None
    ) -> tuple[bool, SessionRow]:
        """Make the session be at this working set.

        Returns:
            Whether it was elsewhere, and its row as it was when that was done.

        Raises:
            CommitConflict: what was left here and what was saved elsewhere have changed the same paths; nothing was
                touched. SessionBusy: the session goes on elsewhere at this moment. DraftLost: what was saved cannot be
                read. NoSpace, QuotaExceeded. StaleStore.
        """
        if opened.location.exists() and row.is_at(opened.id):
            return False, row
        for _ in range(_TRIES):
            row = self._row(opened)
            if not opened.location.exists():
                self._restore(opened, row, progress)
            elif not row.is_at(opened.id):
                self._rejoin(opened, row, strategy)
            if opened.id is None or self._context.catalog.take_session(row, opened.id, self._context.node):
                return True, row
        raise SessionBusy(
            f"session '{row.session}' goes on elsewhere at this very moment", hint="use it in one place at a time"
        )

    def depart(self, opened: OpenWorkingSet) -> None:
        """Note that the session is nowhere: its working set is about to be removed, and holds nothing unsaved."""
        row = self._row(opened)
        if opened.id is not None and row.is_at(opened.id):
            self._context.catalog.take_session(row, WorkingSetId(self._context.new_id()), None)

    def has_own_changes(self, opened: OpenWorkingSet, row: SessionRow | None = None) -> bool:
        """Tell whether a working set that its session has left holds more than what it had then.

        Where that cannot be told, it does. Where its project was deleted, and all work on it, it does not.

        Args:
            row: ``None``: the session has ended.
        """
        owner = opened.owner
        if not opened.location.exists() or self._is_deleted(owner):
            return False
        try:
            state = None if opened.base is None else self._files.standing_state(opened)
            left = self._as_left(opened, row, state)
            at = left.base.head.point
            # Of a generation that the history has no more, this working set may hold the only copy.
            self._context.log.load(owner.tenant, owner.project, at.generation, commit=at.commit)
            return self._files.survey(opened, left, checksum=True).is_significant
        except ManifoldError:
            return True

    def _is_deleted(self, owner: Owner) -> bool:
        try:
            self._context.catalog.head(owner.tenant, owner.project)
        except NotFound:
            return True
        return False

    def _restore(self, opened: OpenWorkingSet, row: SessionRow, progress: Progress | None) -> None:
        base, durable, draft = self._durable(row)
        patterns = scope_of(self._context.keys, row)
        changed = durable if draft else None
        with _blaming_draft(row, base, durable):
            self._files.build(opened, base, patterns, changed, progress, working_set=self.new_id())
        self._working_sets.note_durable(opened, draft)

    def _rejoin(self, opened: OpenWorkingSet, row: SessionRow, strategy: Strategy) -> None:
        """Bring a working set that its session has left to where the session stands now, its draft included.

        What the working set has of its own is kept, and merged with that: all that it did not have when the session
        left it, as far as that is known.
        """
        self._files.refuse_on_disk(opened.owner)
        state = None if opened.base is None else self._files.state_of(opened, strategy)
        left = self._as_left(opened, row, state)
        base, durable, draft = self._durable(row, None if state is None else state.base)
        keys = self._context.keys.of(row.tenant, row.project)
        reader = self._context.block_reader(row.tenant, row.project)
        # No note of the step is needed: what a crash leaves of it agrees with what the next checkout brings.
        with _blaming_draft(row, base, durable):
            done = refresh(
                opened.location,
                left,
                durable,
                reader,
                keys.chunker,
                strategy,
                begin=lambda: None,
                keep=lambda root, lost: self._keep(opened, left, base, durable, lost, root),
            )
        if done.conflicts and strategy is Strategy.FAIL:
            raise working_conflict(opened.owner, done.conflicts, left.base.head.generation, base.head.generation)
        opened.decided += done.conflicts
        trust = done.state.trust
        differing = trust.exceptions | between(base.tree, durable.tree).paths()
        self._working_sets.keep(
            opened, WorkingState(base, Trust(trust.before_ns, differing, trust.folders), left.scope)
        )
        self._working_sets.note_durable(opened, draft)

    def _keep(
        self, opened: OpenWorkingSet, left: WorkingState, base: Snapshot, durable: Snapshot, lost: Changes, root: int
    ) -> None:
        """Keep what is dropped for the sake of what was saved elsewhere: on the base of that, which is a generation."""
        fitted = on_top_of(base, durable, lost)
        if fitted:
            self._files.keep_dropped(opened, left, base, fitted, root)

    def _as_left(self, opened: OpenWorkingSet, row: SessionRow | None, state: WorkingState | None) -> WorkingState:
        """Return the state of a working set as if it stood on what was durable when its session left it."""
        tenant, project = opened.owner.tenant, opened.owner.project
        if state is None:
            # Nobody knows what it was made from: what differs from the session is a conflict, as in legacy mode.
            scope = () if row is None else scope_of(self._context.keys, row)
            return WorkingState(empty_snapshot(tenant, project), NO_TRUST, scope)
        noted = load_durable(opened.location.durable)
        if noted is None or (row is not None and row.gave_up_draft):
            return state
        try:
            known = self._context.log.load(tenant, project, noted.generation, commit=noted.commit)
        except (NotFound, StaleStore):  # it was noted of a history that the catalog has no more
            return state
        trust, tree = state.trust, known.with_changes(noted.changes).tree
        since = between(state.base.tree, tree)
        differing = trust.exceptions | since.paths()
        return WorkingState(
            state.base.with_changes(since), Trust(trust.before_ns, differing, trust.folders), state.scope
        )

    def _durable(self, row: SessionRow, start: Snapshot | None = None) -> _Durable:
        """Args: ``start``: where a working set stands. Raises StaleStore: that is not in the history any more."""
        log = self._context.log
        # A draft was made on the generation before its own, to which the working set may have been refreshed.
        at = row.draft.base if row.draft else row.base
        base = log.load(row.tenant, row.project, at.generation, commit=at.commit, start=start)
        if row.draft is None:
            return _Durable(base, base, None)
        with blaming_draft(row.session, row.project, row.draft.generation, row.draft.commit):
            draft = log.read_commit(row.tenant, row.project, row.draft)
        return _Durable(base, base.with_changes(draft.changes, draft.places), DurableChanges.of(at, draft.changes))

    def _row(self, opened: OpenWorkingSet) -> SessionRow:
        owner = opened.owner
        view = self._context.catalog.view_session(owner.tenant, owner.user, owner.session)
        if view is None:
            raise unknown_session(owner.session)
        return view.session


def _blaming_draft(row: SessionRow, base: Snapshot, durable: Snapshot) -> AbstractContextManager[None]:
    draft = row.draft
    if draft is None:
        return nullcontext()

    def is_its_own(name: str) -> bool:
        return name in {block.container.seal().key for block in own_blocks(durable.places, base.places)}

    return blaming_draft(row.session, row.project, draft.generation, draft.commit, is_its_own)
