"""The working set of a session: built, found again after a crash, moved to another generation.

Every method works on a working set that is open, which means locked. Order of effects when one is built: files aside,
then its state, then a rename that makes it appear; so it is never seen half made. When one is moved: a note of the
step, then the files, then the state, which ends the step; so whoever opens it after a crash can go on.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from manifold_common.domain.conflict import Strategy, commit_conflict
from manifold_common.domain.history import Point
from manifold_common.domain.quota import UNLIMITED
from manifold_common.domain.tree import Changes, Difference, Tree, between, differences, is_significant, totals
from manifold_common.domain.unknown import not_here, reopened
from manifold_common.domain.wording import plural
from manifold_common.engine.pack_writer import PackWriter
from manifold_common.engine.staleness import refuse_stale
from manifold_common.engine.tree_log import Snapshot, empty_snapshot
from manifold_common.engine.working_set.folders import open_root, translate
from manifold_common.engine.working_set.location import WorkspaceMode
from manifold_common.engine.working_set.materialise import Progress, materialise, room_for
from manifold_common.engine.working_set.owner import Owner
from manifold_common.engine.working_set.refresh import refresh
from manifold_common.engine.working_set.scan import ScanResult, scan
from manifold_common.engine.working_set.scope import Scope, within_scope
from manifold_common.engine.working_set.state import NO_TRUST, Step, Trust, WorkingState, file_clock_ns, next_tick_ns
from manifold_common.engine.working_set.working_sets import OpenWorkingSet, WorkingSets
from manifold_common.errors import CommitConflict, NoSpace, NotFound
from manifold_common.ids import Generation, WorkingSetId
from manifold_common.ports.catalog import SessionRow
from manifold_common.services.kept_work import Keeper
from manifold_common.services.sessions.generation_source import GenerationSource


class Survey(NamedTuple):
    """What a working set has changed."""

    state: WorkingState
    """Since when."""
    changes: Changes
    """Within its scope."""
    found: ScanResult
    trust: Trust
    """What to go by, once its state has these changes."""

    @property
    def is_significant(self) -> bool:
        return is_significant(self.state.base.tree, self.changes)

    def differences(self) -> list[Difference]:
        """Return the differences from the base, by path."""
        tree = self.state.base.tree
        return differences(tree, self.state.base.with_changes(self.changes).tree)


class SessionFiles:
    """Args: ``keeper``: keeps what a strategy drops."""

    def __init__(self, generations: GenerationSource, working_sets: WorkingSets, keeper: Keeper) -> None:
        self._generations = generations
        self._keeper = keeper
        self.working_sets = working_sets

    def refuse_on_disk(self, owner: Owner) -> None:
        """Raises RamUnavailable: the project is encrypted, and its working set lies, or would lie, on a disk."""
        self._generations.refuse_on_disk(owner, self.working_sets.folders.locate(owner).work)

    def state_of(self, opened: OpenWorkingSet, strategy: Strategy = Strategy.FAIL) -> WorkingState:
        """Return the state of an open working set; where it was lost, one under which everything is compared.

        A step that a crash cut off is finished first.

        Args:
            strategy: decides conflicts with what was edited since the crash.

        Raises:
            NotFound: there is no working set on this machine. CommitConflict: the step cannot be finished.
        """
        state = self.standing_state(opened)
        if opened.step is not None:
            state = self._finish_step(opened, state, opened.step, strategy)
        return state

    def standing_state(self, opened: OpenWorkingSet) -> WorkingState:
        """Like ``state_of``, with a step that was cut off left as it is: what it changed counts as uncommitted changes
        of the base before it. Good enough to save everything, never to commit."""
        if opened.state is None:
            opened.state = self._lost_state(opened)
        return opened.state

    def _lost_state(self, opened: OpenWorkingSet) -> WorkingState:
        """Return the state as stored, or one under which everything is compared by content."""
        generations, owner, stored = self._generations, opened.owner, opened.stored
        if not opened.location.exists():
            way = f"'manifold checkout {owner.project} --session {owner.session}' brings it here"
            raise not_here(owner.session, way)
        if stored is not None:
            base = self._load_seen(owner, stored.base)
            return WorkingState(base, stored.trust, tuple(stored.scope))
        if self.working_sets.folders.mode is WorkspaceMode.LEGACY:
            # Nobody knows which generation the folder came from. On an empty base, what equals the head agrees with
            # it, and what differs is a conflict: nothing is taken for an edit or a deletion that may be neither.
            return WorkingState(empty_snapshot(owner.tenant, owner.project))
        standing = generations.standing(owner)
        if standing.project != owner.project:
            self.working_sets.forget(owner)
            raise reopened(owner.session)
        base = generations.load(owner.tenant, owner.project, standing.base.generation, commit=standing.base.commit)
        return WorkingState(base, NO_TRUST, standing.patterns)

    def _load_seen(self, owner: Owner, seen: Point, start: Snapshot | None = None) -> Snapshot:
        """Return the tree of a point at which this working set was, or was about to be.

        Raises:
            StaleStore: the project's history has it no more.
        """
        generations = self._generations
        try:
            return generations.load(owner.tenant, owner.project, seen.generation, commit=seen.commit, start=start)
        except NotFound:
            refuse_stale(generations.head(owner.tenant, owner.project), seen)
            raise

    def _finish_step(self, opened: OpenWorkingSet, state: WorkingState, step: Step, strategy: Strategy) -> WorkingState:
        """Bring to its end what a process was in the middle of when it died.

        Raises:
            CommitConflict: files were edited since, which others had changed as well. StaleStore: as ``_load_seen``.
        """
        generations, owner = self._generations, opened.owner
        if step.kind == "commit":
            assert step.commit is not None
            changes = generations.published(owner.tenant, owner.project, step.commit)
            if changes is None:
                self.working_sets.settle(opened)
                return state
            # The files are already as that commit has them: stand on the base with its changes made.
            opened.state = standing_on(state, changes, NO_TRUST)
        if strategy is Strategy.FAIL:
            strategy = Strategy(step.strategy)
        target = self._load_seen(owner, Point(step.generation, step.commit), state.base)
        conflicts = self.move_to(opened, target, strategy)
        if conflicts and strategy is Strategy.FAIL:
            opened.state = state
            raise working_conflict(owner, conflicts, state.base.head.generation, step.generation)
        return opened.state or state

    def move_to(self, opened: OpenWorkingSet, target: Snapshot, strategy: Strategy) -> list[bytes]:
        """Refresh an open working set. Returns conflicts; with ``Strategy.FAIL`` these mean nothing was done.

        With another strategy they are noted in ``opened.decided``; what it dropped is kept, by the sessions in
        ``opened.kept``.
        """
        assert opened.state is not None
        self.refuse_on_disk(opened.owner)
        state = opened.state
        keys = self._generations.keys(target.tenant, target.project)
        reader = self._generations.block_reader(target.tenant, target.project)
        step = Step("move", target.head.generation, target.head.commit, strategy.value)
        done = refresh(
            opened.location,
            state,
            target,
            reader,
            keys.chunker,
            strategy,
            begin=lambda: self.working_sets.begin(opened, step),
            keep=lambda root, lost: self.keep_dropped(opened, state, target, lost, root),
        )
        if not (done.conflicts and strategy is Strategy.FAIL):
            opened.decided += done.conflicts
            self.working_sets.keep(opened, done.state)
        return done.conflicts

    def keep_dropped(
        self, opened: OpenWorkingSet, state: WorkingState, target: Snapshot, lost: Changes, root: int
    ) -> None:
        """Keep what is about to be dropped of a working set. Args: as ``Keeper.keep``."""
        opened.kept.append(self._keeper.keep(opened, state, target, lost, root))

    def build(
        self,
        opened: OpenWorkingSet,
        base: Snapshot,
        patterns: tuple[str, ...],
        changed: Snapshot | None = None,
        progress: Progress | None = None,
        *,
        working_set: WorkingSetId | None = None,
    ) -> None:
        """Fill an empty working set with ``base``, or with ``changed``, which then counts as uncommitted changes.

        Args:
            working_set: what it is to be called.
        """
        self.refuse_on_disk(opened.owner)
        standing = changed or base
        wanted = Scope(patterns).select(standing.tree)
        self.check_room(wanted)
        opened.id = working_set
        with self.working_sets.folders.building(opened.owner, working_set) as folder:
            root = open_root(folder)
            try:
                reader = self._generations.block_reader(base.tenant, base.project)
                folders = materialise(root, wanted, standing.places, reader, progress)
                trusted_before_ns = next_tick_ns(opened.location.meta)
            except OSError as error:
                raise translate(error, os.fsencode(folder)) from None
            finally:
                os.close(root)
            drafted = between(base.tree, standing.tree).paths() if changed is not None else set()
            trust = Trust(trusted_before_ns, frozenset(drafted), folders)
            self.working_sets.keep(opened, WorkingState(base, trust, patterns))

    def survey(
        self,
        opened: OpenWorkingSet,
        state: WorkingState,
        *,
        checksum: bool,
        writer: PackWriter | None = None,
        progress: Progress | None = None,
    ) -> Survey:
        """Find what an open working set has changed since ``state``.

        Args:
            checksum: by content, not by times.
            writer: takes the new content. ``None``: nothing is stored.

        Raises:
            QuotaExceeded: there is more to store than may be. Others as ``scan``.
        """
        base, generations = state.base, self._generations
        scope = Scope(state.scope).select(base.tree)
        chunker = generations.keys(base.tenant, base.project).chunker
        root = open_root(opened.location.work)
        try:
            trusted_before_ns = file_clock_ns(opened.location.meta)
            found = scan(
                root,
                scope,
                state.trusted(checksum=checksum),
                chunker=chunker,
                add=chunker.chunk_id if writer is None else writer.add,
                limits=UNLIMITED if writer is None else generations.limits,
                progress=progress,
            )
        finally:
            os.close(root)
        trust = Trust(trusted_before_ns, frozenset(found.unstable), found.folders)
        return Survey(state, within_scope(found.changes, scope, base.tree), found, trust)

    def check_room(self, tree: Tree) -> None:
        """Raises QuotaExceeded; NoSpace: it would not fit, even if every copy in the cache made way."""
        self._generations.limits.check_session(totals(tree)[0])
        need, root = room_for(tree), self.working_sets.folders.root
        free = self._generations.objects.make_room(root, need)
        if need > free:
            raise NoSpace(
                f"the working set needs about {plural(need, 'byte')} and {root} has {free} left",
                hint="close sessions, enlarge it (Lambda: the ephemeral storage), or check out fewer paths with --path",
                needed=need,
                free=free,
            )

    def check_growth(self, state: WorkingState, target: Snapshot) -> None:
        """Raises QuotaExceeded when going on to ``target`` takes a working set over a session's share of RAM."""
        size = _size_in_scope(target, state.scope)
        if size > _size_in_scope(state.base, state.scope):
            self._generations.limits.check_session(size)


def standing_on(state: WorkingState, changes: Changes, trust: Trust) -> WorkingState:
    """Return the state of a working set whose files are as its base with ``changes`` made."""
    return WorkingState(state.base.with_changes(changes), trust, state.scope)


def working_conflict(owner: Owner, paths: list[bytes], base: Generation, head: Generation) -> CommitConflict:
    """Return what a checkout says of a working set that others' changes do not fit into."""
    return commit_conflict(
        paths,
        of="of the working set",
        how="by others",
        base=base,
        head=head,
        project=owner.project,
        session=owner.session,
    )


def owner_of(row: SessionRow) -> Owner:
    return Owner(row.tenant, row.user, row.session, row.project, row.created_at)


def _size_in_scope(snapshot: Snapshot, patterns: tuple[str, ...]) -> int:
    """Return the bytes of all files that a working set with these patterns has."""
    scope = Scope(patterns)
    return snapshot.tree_bytes if scope.is_whole else totals(scope.select(snapshot.tree))[0]
