"""The catalog's commits: the commit point, and the history that it leaves.

``publish_commit`` is the commit point. What a commit refers to has been stored before; everything before the commit
point may be lost, nothing after it is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol

from manifold_common.domain.history import Point
from manifold_common.domain.listing import EVERY_COMMIT, CommitFilter
from manifold_common.errors import InternalError, NotFound
from manifold_common.ids import (
    CommitId,
    DekId,
    Generation,
    ProjectId,
    RequestId,
    SessionId,
    TenantId,
    UserId,
    WorkingSetId,
)
from manifold_common.ports.catalog.outbox import OutboxEvent


class Head(NamedTuple):
    """Where a project stands."""

    generation: Generation
    commit: CommitId | None
    """``None`` at generation 0."""
    record_hash: bytes
    """Keyed hash of the head's commit record, ``b""`` at generation 0."""
    skills_generation: Generation
    committed_at: datetime | None = None
    """When its commit says that it was made: no commit that follows may say an earlier time. ``None`` at generation 0,
    and where a client does not know."""
    gc_epoch: int = 0
    """How often objects of its project's fork family have been condemned: what was read of it refers to none of those
    that were condemned up to then."""
    is_damaged: bool = False
    """Objects of its project were found damaged, and not found whole since. Nothing new may rely on them."""

    @property
    def point(self) -> Point:
        return Point(self.generation, self.commit)


@dataclass(frozen=True, slots=True)
class CommitRow:
    """One generation. ``note`` is sealed when the project is encrypted: message, provenance and counts."""

    generation: Generation
    commit: CommitId
    parent: CommitId | None
    record_hash: bytes
    dek: DekId
    """The key of the commit object (PLAIN when unsealed)."""
    object_bytes: int
    author: UserId
    session: SessionId | None
    note: bytes
    created_at: datetime
    """By the clock of whoever made it, and after its parent's."""
    request: RequestId | None = None
    """The request that made it, where that has a name: unique in the project."""
    recorded_at: datetime | None = field(default=None, compare=False)
    """By the catalog's own clock, when it was published. Nobody else sets it: what retention goes by."""

    @property
    def point(self) -> Point:
        return Point(self.generation, self.commit)


@dataclass(frozen=True, slots=True)
class Publication:
    """Everything the commit point writes."""

    tenant: TenantId
    project: ProjectId
    base: Head
    """The head this commit was built on; the publication happens only if it still is, and at the same ``gc_epoch``."""
    commit: CommitRow
    touches_skills: bool
    tree_bytes: int
    tree_files: int
    event: OutboxEvent
    session_user: UserId | None = None
    """With ``commit.session``: whose session to move to the new base, dropping its draft."""
    working_set: WorkingSetId | None = None
    """Where the session must be for that. ``None``: anywhere."""
    session_ttl: timedelta = timedelta(0)
    """The session lives at least that long from now on."""

    def __post_init__(self) -> None:
        if (self.commit.generation, self.commit.parent) != (self.base.generation + 1, self.base.commit):
            raise InternalError(
                f"commit {self.commit.commit} does not follow the head it is built on",
                generation=self.commit.generation,
                base_generation=self.base.generation,
            )


class Commits(Protocol):
    def publish_commit(self, publication: Publication) -> Head | None:
        """Advance the head, add the commit, write the outbox row and move the session, in one statement.

        Returns:
            The new head, or ``None`` when the head is no longer ``publication.base``, or objects have been condemned
            since that was read, as also where the project is deleted at the same moment (nothing was changed).

        Raises:
            NotFound: the project is gone, or the named session is, or it works on another project.
            SessionMoved: it is not at ``publication.working_set``.
            AlreadyExists: the head is ``publication.base``, but the commit id is published already, or the request is.
            InternalError: the commit's key is not one of the project's (the same for checkpoints and drafts).
            KeyUnavailable: the commit is unsealed, and an epoch has begun (the same for checkpoints and drafts).
        """

    def head(self, tenant: TenantId, project: ProjectId) -> Head:
        """Raises NotFound."""

    def commit_at(self, tenant: TenantId, project: ProjectId, generation: Generation) -> CommitRow:
        """Raises NotFound."""

    def find_commit(self, tenant: TenantId, project: ProjectId, commit: CommitId) -> CommitRow | None:
        """Return the published commit of that id."""

    def find_request(self, tenant: TenantId, project: ProjectId, request: RequestId) -> CommitRow | None:
        """Return the commit that a request of that name has made."""

    def list_commits(
        self,
        tenant: TenantId,
        project: ProjectId,
        *,
        wanted: CommitFilter = EVERY_COMMIT,
        before: Generation | None = None,
        limit: int = 100,
    ) -> list[CommitRow]:
        """Return up to ``limit`` commits, newest first, those before ``before``. The time does not
        grow with the history.

        Args:
            wanted: by author, session and time. What it says of paths and provenance, which are sealed, is the caller's
                to look at.

        Raises:
            NotFound: no such project.
        """


def removed_generation(project: ProjectId, generation: Generation) -> NotFound:
    return NotFound(
        f"generation {generation} of project {project} was removed by retention",
        hint="'manifold log PROJECT' lists the generations that are kept; a tag keeps one for good",
    )
