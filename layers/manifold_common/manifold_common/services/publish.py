"""The commit protocol from the commit object to the commit point (docs/commit-protocol.md).

Order of effects: packs are stored already; then the commit object (one PUT); then one statement in the catalog, which
is the commit point. When the head has moved meanwhile, the changes are rebased by metadata alone and tried again, in
turn with other writers. A lost acknowledgement is answered by looking the commit's id up. A request that has a name is
answered once: whoever comes again with the same one gets the commit that it made. Other nodes are told after the commit
point, where they can be; nothing depends on that.
"""

from __future__ import annotations

import threading
from contextlib import ExitStack, suppress
from dataclasses import dataclass

from manifold_common.domain.access import Principal
from manifold_common.domain.conflict import Strategy, commit_conflict, dropped, rebase
from manifold_common.domain.event import PROJECT_COMMIT, commit_event
from manifold_common.domain.history import Seen, point_of, require_expected
from manifold_common.domain.named_request import NamedRequest
from manifold_common.domain.paths import ROOT, to_display
from manifold_common.domain.patience import patience
from manifold_common.domain.skill import touches_skills
from manifold_common.domain.tree import Changes, between, growth, is_significant, misfit, tally
from manifold_common.engine.commit_writer import Authorship, Note, StoredCommit, decode_note
from manifold_common.engine.pack_writer import NewContent
from manifold_common.engine.session_scope import scope_of
from manifold_common.engine.tree_log import Snapshot
from manifold_common.errors import (
    AlreadyExists,
    CatalogUnavailable,
    ErrorKind,
    GenerationMismatch,
    InvalidInput,
    ManifoldError,
    RequestNameReused,
)
from manifold_common.format.places import Places
from manifold_common.ids import Generation, ProjectId, SessionId, TenantId, UserId, WorkingSetId
from manifold_common.ports.catalog import CommitRow, Head, OutboxEvent, Publication
from manifold_common.ports.generation_cache import Invalidation
from manifold_common.services.context import Context
from manifold_common.services.kept_work import KeptWork, UseStored

_CONTENDED_SECONDS = 5.0
_POLITE_SECONDS = 0.25
_ATTEMPTS = 50
_ACKNOWLEDGEMENT_TRIES = 6
_ACKNOWLEDGEMENT_PAUSE_SECONDS = 0.25
_ACKNOWLEDGEMENT_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class PendingCommit:
    """Changes that are ready to be published."""

    base: Snapshot
    """The tree they were made on."""
    changes: Changes
    content: NewContent
    known: Places
    """Places of the chunks that were stored before."""
    by: Authorship
    new_bytes: int = 0


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
        self.kept = KeptWork(context)
        self._contended: dict[tuple[TenantId, ProjectId], float] = {}
        self._lock = threading.Lock()

    def store(self, pending: PendingCommit) -> StoredCommit:
        """Store the commit object that would follow ``pending.base``, without publishing it."""
        return self.store_on(pending, pending.base, pending.changes)

    def publish(
        self,
        pending: PendingCommit,
        *,
        strategy: Strategy = Strategy.FAIL,
        expected: Seen | None = None,
        session_user: UserId | None = None,
        working_set: WorkingSetId | None = None,
        announce: UseStored | None = None,
        announce_kept: UseStored | None = None,
        keep_draft: UseStored | None = None,
    ) -> Published:
        """Make ``pending`` the next generation.

        Args:
            strategy: whose version of a path is published that others changed too. What ``THEIRS`` drops is kept as the
                draft of a new session, before anything is published.
            expected: publish only on top of this very generation, whichever one the work was made on.
            session_user: whose session (``pending.by.session``) moves to the new base.
            working_set: where the session has to be for that.
            announce: called with each commit that is about to be published, right before the commit point.
            announce_kept: called with each draft that is about to keep what ``THEIRS`` drops.
            keep_draft: called with the stored work when it cannot be published.

        Raises:
            CommitConflict: others changed the same paths. GenerationMismatch: the head is not ``expected``.
            SessionMoved: the session is not at ``working_set``. InvalidInput: the changes do not fit together.
            StaleStore: the history that ``pending`` was done on was replaced by another one.
            QuotaExceeded: the project would grow too large.
        """
        attempt = _Attempt(
            self,
            self._context,
            pending,
            strategy,
            expected,
            session_user,
            working_set,
            announce,
            announce_kept,
            keep_draft,
        )
        return attempt.run()

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
        return Published(log.load(tenant, project, row.generation), row, changes, False, [], [], repeated=True)

    def is_contended(self, tenant: TenantId, project: ProjectId) -> bool:
        with self._lock:
            return self._contended.get((tenant, project), 0.0) > self._context.clock.monotonic()

    def note_contention(self, tenant: TenantId, project: ProjectId) -> None:
        now = self._context.clock.monotonic()
        with self._lock:
            self._contended = {owner: until for owner, until in self._contended.items() if until > now}
            self._contended[(tenant, project)] = now + _CONTENDED_SECONDS

    def store_on(self, pending: PendingCommit, target: Snapshot, changes: Changes) -> StoredCommit:
        """Store the commit object that would follow ``target``, which ``pending`` was rebased on as ``changes``."""
        counted = tally(target.tree, changes)
        note = Note(
            message=pending.by.message,
            provenance=dict(pending.by.provenance),
            added=counted.added,
            modified=counted.modified,
            deleted=counted.deleted,
            new_bytes=pending.new_bytes,
            request=pending.by.request.fingerprint() if pending.by.request else b"",
        )
        known = pending.known if target is pending.base else {**target.places, **pending.known}
        return self._context.writer.write(target, changes, pending.content, known, pending.by, note)


class _DoneBefore(Exception):
    def __init__(self, published: Published) -> None:
        self.published = published


def _still_unknown(error: ManifoldError) -> ManifoldError:
    """Return what to raise for an error that was met after the answer to a commit had been lost: one that is about a
    server's state, such as a grant that is missing by now, says nothing of what was sent before."""
    if error.kind is not ErrorKind.UNAVAILABLE or isinstance(error, CatalogUnavailable):
        return error
    return CatalogUnavailable(
        f"it is not known whether the commit was made: its answer was lost, and now {error.message}", hint=error.hint
    )


class _Attempt:
    """One publication, through as many rounds as others' commits force on it."""

    def __init__(
        self,
        publisher: Publisher,
        context: Context,
        pending: PendingCommit,
        strategy: Strategy,
        expected: Seen | None,
        session_user: UserId | None,
        working_set: WorkingSetId | None,
        announce: UseStored | None,
        announce_kept: UseStored | None,
        keep_draft: UseStored | None,
    ) -> None:
        self._publisher = publisher
        self._context = context
        self._pending = pending
        self._strategy = strategy
        self._expected = expected
        self._session_user = session_user
        self._working_set = working_set
        self._announce = announce
        self._announce_kept = announce_kept
        self._keep_draft = keep_draft
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
        policy = self._context.policy
        waited = False
        if self._expected is not None and not point_of(self._expected).is_at(self._target.head.point):
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
            if not is_significant(self._target.tree, self._changes) and self._target is not self._pending.base:
                return Published(self._target, None, Changes({}, set()), True, self._conflicts, self._kept)
            self._check()
            stored = self._publisher.store_on(self._pending, self._target, self._changes)
            head = self._commit_point(stored)
            if head is not None:
                after = self._target.advanced(head, self._changes, stored.places)
                self._context.log.remember(after)
                rebased = self._target is not self._pending.base
                return Published(after, stored.row, self._changes, rebased, self._conflicts, self._kept)
            self._publisher.note_contention(tenant, project)
            self._discard(stored)
            if waited:
                self._catch_up()
        raise CatalogUnavailable(
            f"project {project} had {_ATTEMPTS} other commits while this one was being made",
            hint="try again; the work is kept in its session",
        )

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

    def _commit_point(self, stored: StoredCommit) -> Head | None:
        publication = self._publication(stored)
        if self._announce is not None:
            self._announce(stored)
        catalog, row = self._context.catalog, stored.row
        tenant, project = publication.tenant, publication.project
        lost = False
        begun = self._context.clock.monotonic()
        for attempt in range(_ACKNOWLEDGEMENT_TRIES):
            try:
                with self._context.keys.writing(tenant, project):
                    head = catalog.publish_commit(publication)
            except AlreadyExists:
                head = None
                lost = True
            except CatalogUnavailable:
                waited = self._context.clock.monotonic() - begun
                if attempt == _ACKNOWLEDGEMENT_TRIES - 1 or waited >= patience(_ACKNOWLEDGEMENT_SECONDS):
                    raise
                lost = True
                self._context.clock.sleep(_ACKNOWLEDGEMENT_PAUSE_SECONDS * 2**attempt)
                continue
            except ManifoldError as error:
                if lost:
                    raise _still_unknown(error) from error
                self._discard(stored)
                raise
            if head is None and lost and self._is_there(row):
                # An earlier try got through, and only its answer was lost.
                skills = self._skills_generation(publication)
                head = Head(row.generation, row.commit, row.record_hash, skills, row.created_at)
            return head
        raise AssertionError("the loop above returns or raises")

    def _is_there(self, row: CommitRow) -> bool:
        """Tell whether an earlier try has published the commit. Raises CatalogUnavailable: it is not known."""
        base = self._pending.base
        try:
            return self._context.catalog.find_commit(base.tenant, base.project, row.commit) is not None
        except ManifoldError as error:
            raise _still_unknown(error) from error

    def _publication(self, stored: StoredCommit) -> Publication:
        target, changes, row = self._target, self._changes, stored.row
        tree_bytes, tree_files = self._totals()
        touches = touches_skills(changes.paths())
        by = self._pending.by
        event = commit_event(
            target.tenant,
            target.project,
            by.author,
            by.session,
            row.generation,
            row.generation if touches else target.head.skills_generation,
            row.commit,
            changes.paths(),
            row.created_at,
            listed_paths=self._context.policy.listed_paths_of(row),
        )
        return Publication(
            tenant=target.tenant,
            project=target.project,
            base=target.head,
            commit=row,
            touches_skills=touches,
            tree_bytes=tree_bytes,
            tree_files=tree_files,
            event=OutboxEvent(PROJECT_COMMIT, event),
            session_user=self._session_user,
            working_set=self._working_set,
            session_ttl=self._context.policy.session_ttl,
        )

    @staticmethod
    def _skills_generation(publication: Publication) -> Generation:
        return publication.commit.generation if publication.touches_skills else publication.base.skills_generation

    def _totals(self) -> tuple[int, int]:
        """Return (bytes, entries) of the tree as it will be."""
        tree = self._target.tree
        more_bytes, more_files = growth(tree, self._changes)
        return self._target.tree_bytes + more_bytes, len(tree) - (ROOT in tree) + more_files

    def _check(self) -> None:
        self._context.policy.limits.check_project(*self._totals())
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
        """
        base = self._pending.base
        self._look_for_earlier()
        head = self._context.log.load(base.tenant, base.project, start=self._target)
        try:
            require_expected(head.head.point, self._expected)
        except GenerationMismatch:
            self._keep()
            raise
        if head.head.commit == self._target.head.commit:
            return
        theirs = between(base.tree, head.tree)
        merge = rebase(base.tree, self._pending.changes, theirs, self._strategy)
        if merge.conflicts and self._strategy is Strategy.FAIL:
            self._keep()
            raise commit_conflict(
                merge.conflicts,
                how=f"since generation {base.head.generation}",
                base=base.head.generation,
                head=head.head.generation,
                project=base.project,
                session=self._pending.by.session,
            )
        if merge.conflicts and self._strategy is Strategy.THEIRS:
            self._keep_dropped(head, dropped(base.tree, self._pending.changes, theirs, head.tree))
        self._target, self._changes, self._conflicts = head, merge.changes, merge.conflicts

    def _keep_dropped(self, head: Snapshot, lost: Changes) -> None:
        """Keep what the strategy drops of the work, on top of ``head``, in place of what was kept before."""
        if lost == self._lost:
            return
        before, self._kept = self._kept, []
        pending, by = self._pending, self._pending.by
        author = Principal(pending.base.tenant, by.author)
        if lost:
            scope: tuple[str, ...] = ()
            view = by.session and self._context.catalog.view_session(author.tenant, author.user, by.session)
            if view:
                scope = scope_of(self._context.keys, view.session)
            known = {**head.places, **pending.known}
            keep = self._publisher.kept.open
            self._kept = [keep(author, by.session, head, lost, pending.content, known, scope, self._announce_kept)]
        self._lost = lost
        for kept in before:
            self._publisher.kept.close(author, kept)

    def _keep_nothing(self) -> None:
        """What was kept is not dropped after all."""
        for kept in self._kept:
            self._publisher.kept.close(Principal(self._pending.base.tenant, self._pending.by.author), kept)
        self._kept = []

    def _look_for_earlier(self) -> None:
        """Raises _DoneBefore: the request that this is done for has made its commit already."""
        base = self._pending.base
        earlier = self._publisher.earlier(base.tenant, base.project, self._pending.by.request)
        if earlier is not None:
            raise _DoneBefore(earlier)

    def _keep(self) -> None:
        if self._keep_draft is not None:
            self._keep_draft(self._publisher.store(self._pending))

    def _discard(self, stored: StoredCommit) -> None:
        """Remove an object that lost the race. It is harmless where that fails."""
        base = self._pending.base
        with suppress(ManifoldError):
            self._context.writer.discard(base.tenant, base.project, stored.row)
