"""The commit protocol, from changes that are stored to a generation (docs/commit-protocol.md).

Order of effects: packs are stored already; then the commit object (one PUT); then the commit point
(services/commit_point.py). When the head has moved meanwhile, the changes are rebased by metadata alone and tried
again, in turn with other writers. A request that has a name is answered once: whoever comes again with the same one
gets the commit that it made. Other nodes are told after the commit point, where they can be; nothing depends on that.
"""

from __future__ import annotations

import threading
from contextlib import ExitStack
from dataclasses import dataclass

from manifold_common.domain.conflict import Strategy, commit_conflict, dropped, rebase
from manifold_common.domain.history import Seen, point_of, require_expected
from manifold_common.domain.named_request import NamedRequest
from manifold_common.domain.paths import to_display
from manifold_common.domain.patience import patience
from manifold_common.domain.tree import Changes, between, is_significant, misfit
from manifold_common.engine.commit_writer import StoredCommit, UseStored, decode_note
from manifold_common.engine.session_scope import scope_of
from manifold_common.engine.tree_log import Snapshot
from manifold_common.errors import (
    CatalogUnavailable,
    GenerationMismatch,
    InvalidInput,
    ManifoldError,
    RequestNameReused,
)
from manifold_common.ids import ProjectId, SessionId, TenantId, TenantProject
from manifold_common.ports.catalog import CommitRow
from manifold_common.ports.generation_cache import Invalidation
from manifold_common.services.commit_point import CommitPoint, PendingCommit
from manifold_common.services.context import Context
from manifold_common.services.kept_work import KeptWork
from manifold_common.services.renewal import renewed

_CONTENDED_SECONDS = 5.0
_POLITE_SECONDS = 0.25
_ATTEMPTS = 50


@dataclass(frozen=True, slots=True)
class Hooks:
    """What whoever publishes does meanwhile."""

    announce: UseStored | None = None
    """Called with each commit that is about to be published, right before the commit point."""
    announce_kept: UseStored | None = None
    """Called with each draft that is about to keep what ``THEIRS`` drops."""
    keep_draft: UseStored | None = None
    """Called with the stored work when it cannot be published. ``None``: it is not stored then."""


NO_HOOKS = Hooks()


@dataclass(frozen=True, slots=True)
class Published:
    head: Snapshot
    commit: CommitRow | None
    """``None`` when, after a rebase, nothing was left to change."""
    changes: Changes
    """As published, on top of whatever others had committed."""
    rebased: bool
    conflicts: list[bytes]
    """Paths on which a strategy decided."""
    kept: list[SessionId]
    """The sessions that keep, as their drafts, what it dropped of the work."""
    repeated: bool = False
    """Done by an earlier request of the same name, and not again."""


class Publisher:
    def __init__(self, context: Context) -> None:
        self._context = context
        self.point = CommitPoint(context)
        self.kept = KeptWork(context)
        self._contended: dict[TenantProject, float] = {}
        self._lock = threading.Lock()

    def store(self, pending: PendingCommit) -> StoredCommit:
        """Store the commit object that would follow ``pending.base``, without publishing it."""
        return self.point.store(pending, pending.base, pending.changes)

    def publish(self, pending: PendingCommit, hooks: Hooks = NO_HOOKS) -> Published:
        """Make ``pending`` the next generation, as its intent says.

        What ``THEIRS`` drops is kept as the draft of a new session, before anything is published.

        Raises:
            CommitConflict: others changed the same paths. GenerationMismatch: the head is not what the intent expects.
            SessionMoved: the session is not at ``pending.working_set``. InvalidInput: the changes do not fit together.
            StaleStore: the history that ``pending`` was done on was replaced by another one.
            QuotaExceeded: the project would grow too large.
            ContentCollected: content that is stored already was collected meanwhile.
        """
        return _Attempt(self, self._context, pending, hooks).run()

    def check_expected(self, tenant: TenantId, project: ProjectId, expected: Seen) -> None:
        """For work that there is nothing of. Raises GenerationMismatch: the head is not ``expected``."""
        require_expected(self._context.catalog.head(tenant, project).point, expected)

    def earlier(self, tenant: TenantId, project: ProjectId, request: NamedRequest | None) -> Published | None:
        """Return what this very request has published already, or ``None``.

        Raises:
            RequestNameReused: another request of that name has published something.
        """
        if request is None:
            return None
        row = self._context.catalog.find_request(tenant, project, request.name)
        if row is None:
            return None
        made_by = decode_note(self._context.keys.of(tenant, project), tenant, project, row).request
        asked = request.fingerprint() if made_by else b""
        if asked and asked != made_by:
            raise RequestNameReused(
                f"another request of the name {request.name!r} has made generation {row.generation} already",
                hint="give this request a name of its own, or send the earlier one again as it was",
                generation=row.generation,
                commit=row.commit,
            )
        log = self._context.log
        changes = log.read_commit(tenant, project, row).changes
        request.on_replay()
        return Published(log.load(tenant, project, row.generation), row, changes, False, [], [], repeated=True)

    def is_contended(self, tenant: TenantId, project: ProjectId) -> bool:
        with self._lock:
            return self._contended.get((tenant, project), 0.0) > self._context.clock.monotonic()

    def note_contention(self, tenant: TenantId, project: ProjectId) -> None:
        now = self._context.clock.monotonic()
        with self._lock:
            self._contended = {owner: until for owner, until in self._contended.items() if until > now}
            self._contended[(tenant, project)] = now + _CONTENDED_SECONDS


class _DoneBefore(Exception):
    def __init__(self, published: Published) -> None:
        self.published = published


class _Attempt:
    """One publication, through as many rounds as others' commits force on it."""

    def __init__(self, publisher: Publisher, context: Context, pending: PendingCommit, hooks: Hooks) -> None:
        self._publisher = publisher
        self._context = context
        self._pending = pending
        self._intent = pending.intent
        self._hooks = hooks
        self._target = pending.base
        self._changes = pending.changes
        self._conflicts: list[bytes] = []
        self._lost = Changes({}, set())
        self._kept: list[SessionId] = []

    def run(self) -> Published:
        try:
            self._look_for_earlier()
            with ExitStack() as leases:
                published = self._publish(leases)
        except _DoneBefore as done:
            self._keep_nothing()
            published = done.published
        except CatalogUnavailable:
            raise  # it may have been published
        except ManifoldError:
            self._keep_nothing()
            raise
        if published.commit is not None:
            head = published.head
            self._context.nudge.give()
            self._context.generations.announce(
                Invalidation(head.tenant, head.project, head.head.generation, head.head.skills_generation)
            )
        return published

    def _publish(self, leases: ExitStack) -> Published:
        tenant, project = self._pending.base.tenant, self._pending.base.project
        policy, point = self._context.policy, self._publisher.point
        waited = False
        expected = self._intent.expected
        if expected is not None and not point_of(expected).is_at(self._target.head.point):
            self._catch_up()
        for number in range(_ATTEMPTS):
            if not waited and self._publisher.is_contended(tenant, project):
                # Others are at it: queue up, and look first, rather than store an object that will be too late.
                longest = patience(policy.commit_lease_wait_seconds)
                leases.enter_context(self._context.catalog.commit_lease(tenant, project, timeout_seconds=longest))
                if number == 0:  # for writers of other nodes to see; those in the queue need it no more
                    leases.enter_context(self._context.generations.writer_lease(tenant, project, wait_seconds=0))
                waited = True
                self._catch_up()
            elif number == 0:
                self._give_way(leases)
            if not is_significant(self._target.tree, self._changes) and self._is_rebased:
                return Published(self._target, None, Changes({}, set()), True, self._conflicts, self._kept)
            self._check()
            stored = point.store(self._pending, self._target, self._changes)
            head = point.reach(self._pending, self._target, self._changes, stored, self._hooks.announce)
            if head is not None:
                after = self._target.with_changes(self._changes, stored.places, head=head)
                self._context.log.remember(after)
                return Published(after, stored.row, self._changes, self._is_rebased, self._conflicts, self._kept)
            self._publisher.note_contention(tenant, project)
            point.discard(stored, tenant)
            if waited:
                self._catch_up()
        raise CatalogUnavailable(
            f"project {project} had {_ATTEMPTS} other commits while this one was being made",
            hint="try again; the work is kept in its session",
        )

    @property
    def _is_rebased(self) -> bool:
        return self._target.head.commit != self._pending.base.head.commit

    def _give_way(self, leases: ExitStack) -> None:
        """Let a writer of another node finish, and look at the head first if it is said to have moved: what is stored
        on an old head is stored in vain."""
        generations, target = self._context.generations, self._target
        if not leases.enter_context(generations.writer_lease(target.tenant, target.project, wait_seconds=0)):
            self._publisher.note_contention(target.tenant, target.project)  # the next commits join the queue at once
            leases.enter_context(generations.writer_lease(target.tenant, target.project, wait_seconds=_POLITE_SECONDS))
        hint = generations.hint(target.tenant, target.project)
        if hint is not None and hint.generation > target.head.generation:
            self._catch_up()

    def _check(self) -> None:
        self._context.policy.limits.check_project(*self._target.totals_with(self._changes))
        stray = misfit(self._target.tree, self._changes)
        if stray is not None:
            raise InvalidInput(
                f"{to_display(stray)!r} would stand where there is no folder",
                hint="create the folder in the same commit, or delete what is below it as well",
            )

    def _catch_up(self) -> None:
        """Rebase the work on the head, if that has moved.

        Raises:
            CommitConflict, GenerationMismatch: it cannot be; the work is kept as a draft.
            StaleStore: what it was done on is not in the project's history any more.
            ContentCollected: it has to be stored anew.
        """
        base = self._pending.base
        self._look_for_earlier()
        head = self._context.log.load(base.tenant, base.project, start=self._target)
        if head.head.gc_epoch != base.head.gc_epoch:
            self._pending = renewed(self._context, self._pending, head)
        try:
            require_expected(head.head.point, self._intent.expected)
        except GenerationMismatch:
            self._keep()
            raise
        if head.head.commit == self._target.head.commit:
            self._target = head
            return
        theirs = between(base.tree, head.tree)
        merge = rebase(base.tree, self._pending.changes, theirs, self._intent.strategy)
        if merge.conflicts and self._intent.strategy is Strategy.FAIL:
            self._keep()
            raise commit_conflict(
                merge.conflicts,
                how=f"since generation {base.head.generation}",
                base=base.head.generation,
                head=head.head.generation,
                project=base.project,
                session=self._pending.session,
            )
        if merge.conflicts and self._intent.strategy is Strategy.THEIRS:
            self._keep_dropped(head, dropped(base.tree, self._pending.changes, theirs, head.tree))
        self._target, self._changes, self._conflicts = head, merge.changes, merge.conflicts

    def _keep_dropped(self, head: Snapshot, lost: Changes) -> None:
        """Keep what the strategy drops of the work, on top of ``head``, in place of what was kept before."""
        if lost == self._lost:
            return
        before, self._kept = self._kept, []
        pending = self._pending
        author = pending.principal
        if lost:
            scope: tuple[str, ...] = ()
            view = pending.session and self._context.catalog.view_session(author.tenant, author.user, pending.session)
            if view:
                scope = scope_of(self._context.keys, view.session)
            known = {**head.places, **pending.known}
            keep = self._publisher.kept.open
            announce = self._hooks.announce_kept
            self._kept = [keep(author, pending.session, head, lost, pending.content, known, scope, announce)]
        self._lost = lost
        for kept in before:
            self._publisher.kept.close(author, kept)

    def _keep_nothing(self) -> None:
        """What was kept is not dropped after all."""
        for kept in self._kept:
            self._publisher.kept.close(self._pending.principal, kept)
        self._kept = []

    def _look_for_earlier(self) -> None:
        """Raises _DoneBefore: the request that this is done for has made its commit already."""
        base = self._pending.base
        earlier = self._publisher.earlier(base.tenant, base.project, self._intent.request)
        if earlier is not None:
            raise _DoneBefore(earlier)

    def _keep(self) -> None:
        if self._hooks.keep_draft is not None:
            self._hooks.keep_draft(self._publisher.store(self._pending))
