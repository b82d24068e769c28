"""The commit point: one statement in the catalog by which a stored commit object becomes a generation.

A lost acknowledgement is answered by looking the commit's id up, never by a false conflict. Where the head had moved,
the statement does nothing, and the object is one that nothing refers to.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from manifold_common.domain.access import Principal
from manifold_common.domain.event import PROJECT_COMMIT, commit_event
from manifold_common.domain.patience import patience
from manifold_common.domain.skill import touches_skills
from manifold_common.domain.tree import Changes, tally
from manifold_common.engine.commit_writer import Authorship, Note, StoredCommit, UseStored
from manifold_common.engine.pack_writer import NewContent
from manifold_common.engine.tree_log import Snapshot
from manifold_common.errors import AlreadyExists, CatalogUnavailable, ErrorKind, ManifoldError
from manifold_common.format.places import Places
from manifold_common.ids import SessionId, TenantId, UserId, WorkingSetId
from manifold_common.ports.catalog import Head, OutboxEvent, Publication
from manifold_common.services.context import Context
from manifold_common.shapes.intent import NO_INTENT, Intent

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
    """Places of the chunks that were stored before, as they were known at the ``gc_epoch`` of ``base`` or later."""
    author: UserId
    session: SessionId | None = None
    """The author's, in which they were made, and which moves on to the new generation."""
    intent: Intent = NO_INTENT
    new_bytes: int = 0
    working_set: WorkingSetId | None = None
    """Where the session has to be. ``None``: it may be anywhere."""

    @property
    def principal(self) -> Principal:
        return Principal(self.base.tenant, self.author)


class CommitPoint:
    """``target`` is what a pending commit was rebased on, and ``changes`` are its changes to that."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def store(self, pending: PendingCommit, target: Snapshot, changes: Changes) -> StoredCommit:
        """Store the commit object that would follow ``target``."""
        counted, intent = tally(target.tree, changes), pending.intent
        note = Note(
            message=intent.message,
            provenance=dict(intent.provenance),
            added=counted.added,
            modified=counted.modified,
            deleted=counted.deleted,
            new_bytes=pending.new_bytes,
            request=intent.request.fingerprint() if intent.request else b"",
        )
        by = Authorship(pending.author, pending.session, intent.message, intent.provenance, intent.request)
        known = pending.known if target is pending.base else {**pending.known, **target.places}
        return self._context.writer.write(target, changes, pending.content, known, by, note)

    def publication(
        self, pending: PendingCommit, target: Snapshot, changes: Changes, stored: StoredCommit
    ) -> Publication:
        """Return all that becomes visible in one transaction."""
        row, policy = stored.row, self._context.policy
        paths = changes.paths()
        touches = touches_skills(paths)
        tree_bytes, tree_files = target.totals_with(changes)
        event = commit_event(
            target.tenant,
            target.project,
            pending.author,
            pending.session,
            row.generation,
            row.generation if touches else target.head.skills_generation,
            row.commit,
            paths,
            row.created_at,
            listed_paths=policy.listed_paths_of(row),
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
            session_user=None if pending.session is None else pending.author,
            working_set=pending.working_set,
            session_ttl=policy.session_ttl,
        )

    def reach(
        self,
        pending: PendingCommit,
        target: Snapshot,
        changes: Changes,
        stored: StoredCommit,
        announce: UseStored | None,
    ) -> Head | None:
        """Publish ``stored``. Returns the new head, or ``None``: the head has moved away from ``target``.

        Args:
            announce: called right before.

        Raises:
            CatalogUnavailable: it may have been published. Any other error: it was not, and its object is gone.
        """
        publication = self.publication(pending, target, changes, stored)
        if announce is not None:
            announce(stored)
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
                self.discard(stored, tenant)
                raise
            if head is None and lost and self._is_there(tenant, stored):
                # An earlier try got through, and only its answer was lost.
                skills = row.generation if publication.touches_skills else publication.base.skills_generation
                epoch = publication.base.gc_epoch
                head = Head(row.generation, row.commit, row.record_hash, skills, row.created_at, epoch)
            return head
        raise AssertionError("the loop above returns or raises")

    def discard(self, stored: StoredCommit, tenant: TenantId) -> None:
        """Remove an object that lost the race. It is harmless where that fails."""
        with suppress(ManifoldError):
            self._context.writer.discard(tenant, stored.project, stored.row)

    def _is_there(self, tenant: TenantId, stored: StoredCommit) -> bool:
        """Tell whether an earlier try has published the commit. Raises CatalogUnavailable: it is not known."""
        try:
            return self._context.catalog.find_commit(tenant, stored.project, stored.row.commit) is not None
        except ManifoldError as error:
            raise _still_unknown(error) from error


def _still_unknown(error: ManifoldError) -> ManifoldError:
    """Return what to raise for an error that was met after the answer to a commit had been lost: one that is about a
    server's state, such as a grant that is missing by now, says nothing of what was sent before."""
    if error.kind is not ErrorKind.UNAVAILABLE or isinstance(error, CatalogUnavailable):
        return error
    return CatalogUnavailable(
        f"it is not known whether the commit was made: its answer was lost, and now {error.message}", hint=error.hint
    )
