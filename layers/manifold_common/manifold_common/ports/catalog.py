"""What the catalog promises: the one place where commits become order.

The catalog (PostgreSQL) is the only serialisation point. Each method is one transaction: it happens wholly or not
at all. Every row belongs to a tenant, and a method never answers with another tenant's rows: what is not the
tenant's is ``NotFound``, exactly like what does not exist.

Every method may raise ``CatalogUnavailable``. Reads have then been retried already. After a write the caller cannot
know whether it happened: ids are made before the attempt, so the caller looks the id up (``find_commit``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Protocol

from manifold_common.domain.history import Point
from manifold_common.domain.keys import Encryption, Kek, KeyRecord, WrappedKey
from manifold_common.errors import InternalError, KeyUnavailable
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
from manifold_common.ports.installation import InstallationRecord
from manifold_common.ports.outbox import Outbox
from manifold_common.ports.superseded import Superseded
from manifold_common.ports.uploads import Uploads


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

    @property
    def point(self) -> Point:
        return Point(self.generation, self.commit)


@dataclass(frozen=True, slots=True)
class ProjectRow:
    tenant: TenantId
    project: ProjectId
    owner: UserId
    name: str
    head: Head
    tree_bytes: int
    """Sum of file sizes at the head."""
    tree_files: int
    """Entries of any kind at the head, the root folder not counted."""
    created_at: datetime
    updated_at: datetime
    encryption: Encryption = Encryption.ALL
    """By the project's keys."""
    revision: int = 0
    """Counts the changes to this row that make no generation: renames, and the beginning of encryption."""


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
class CheckpointRow:
    """A whole tree kept as one object, for the generation it names."""

    generation: Generation
    commit: CommitId
    dek: DekId
    object_bytes: int


@dataclass(frozen=True, slots=True)
class DraftRef:
    """A commit object that is stored but not published."""

    generation: Generation
    """The generation it would have become: its base + 1."""
    commit: CommitId
    parent: CommitId | None
    dek: DekId
    object_bytes: int
    saved_at: datetime

    @property
    def base(self) -> Point:
        """What it was made on."""
        return Point(Generation(self.generation - 1), self.parent)


@dataclass(frozen=True, slots=True)
class SessionRow:
    tenant: TenantId
    user: UserId
    session: SessionId
    project: ProjectId
    base_generation: Generation
    base_commit: CommitId | None
    draft: DraftRef | None
    scope: bytes
    """Sealed list of path patterns of a sparse session; ``b""`` for a whole one."""
    created_at: datetime
    expires_at: datetime
    working_set: WorkingSetId | None = None
    """Where the session is. Others may have been left behind; they must not change it. ``None``: any may."""
    node: str | None = None
    """The machine that its working set is on. ``None``: that is not known."""
    durable_at: datetime | None = None
    """Up to then, what was changed in its working set is durable. ``None``: not opened yet."""
    gave_up_draft: bool = False
    """A draft of it was lost, and given up: what a working set was told to be durable may not be."""

    @property
    def base(self) -> Point:
        return Point(self.base_generation, self.base_commit)

    def is_at(self, working_set: WorkingSetId | None) -> bool:
        return self.working_set is None or self.working_set == working_set


class PlainObjects(NamedTuple):
    """Commit objects and checkpoints that are not sealed. Packs, which no row names, are not among them."""

    objects: int
    stored_bytes: int


class SessionView(NamedTuple):
    """What a warm checkout needs, in one round trip."""

    session: SessionRow
    head: Head
    now: datetime
    """What the catalog's clock says, by which sessions end. A node's own may be off."""

    @property
    def left(self) -> timedelta:
        """How long the session goes on if nobody uses it."""
        return self.session.expires_at - self.now


class ReadPlan(NamedTuple):
    """What has to be read to know the tree of a generation."""

    head: Head
    generation: Generation
    """The one asked for, or the head's."""
    checkpoint: CheckpointRow | None
    """The newest at or before ``generation``, and after all that is known of it. Once an epoch has begun, unsealed ones
    do not count."""
    commits: Sequence[CommitRow]
    """Those after the checkpoint (or after what is known, or from the first), oldest first, up to ``generation``."""
    committed_at: datetime | None = None
    """Of the commit of ``generation``; ``None`` at 0."""
    known: Sequence[Point] = ()
    """Those points asked with that are in this history. The others are of one that was replaced."""


class CatalogHealth(NamedTuple):
    ok: bool
    detail: str
    latency_seconds: float
    trouble: str = ""
    """Why writes fail, or are about to, although it answers; ``""``: no reason is known."""


class OutboxEvent(NamedTuple):
    """A fact for the outside world, written in the transaction that made it true."""

    type: str
    """For instance ``manifold.project.commit``."""
    data: Mapping[str, Any]
    """JSON-serialisable."""


@dataclass(frozen=True, slots=True)
class Publication:
    """Everything the commit point writes."""

    tenant: TenantId
    project: ProjectId
    base: Head
    """The head this commit was built on; the publication happens only if it still is."""
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


class Catalog(InstallationRecord, Outbox, Uploads, Superseded, Protocol):
    # --- projects -------------------------------------------------------------------------------------------------

    def create_project(
        self,
        row: ProjectRow,
        keys: Sequence[KeyRecord],
        event: OutboxEvent,
        *,
        fork_of: tuple[ProjectId, Generation] | None = None,
        first: Publication | None = None,
    ) -> None:
        """Add an empty project (its head is generation 0) with its keys, oldest first.

        With ``fork_of``, also record that this project refers to objects of another one of its tenant (alive or
        deleted), which keeps those from being collected. With ``first``, a publication on the empty project that
        moves no session, its first commit becomes visible together with it, as if it had been published right after.

        Raises:
            AlreadyExists: the owner has a project of that name, or the project id is taken.
            NotFound: the tenant has no project ``fork_of``, or that project never reached the generation.
            InternalError: the key of the first commit is not one of ``keys``.
        """

    def get_project(self, tenant: TenantId, project: ProjectId) -> ProjectRow:
        """Raises NotFound: no such project in this tenant, or it was deleted."""

    def find_project(self, tenant: TenantId, owner: UserId, name: str) -> ProjectRow | None:
        """Return the owner's project of that name."""

    def list_projects(
        self, tenant: TenantId, owner: UserId, *, after_name: str = "", limit: int = 100
    ) -> list[ProjectRow]:
        """Return up to ``limit`` projects by name, those after ``after_name``."""

    def rename_project(self, tenant: TenantId, project: ProjectId, name: str, event: OutboxEvent) -> ProjectRow:
        """Raises NotFound; AlreadyExists: the owner has another project of that name."""

    def delete_project(
        self, tenant: TenantId, project: ProjectId, event: OutboxEvent, *, only_unused: bool = False
    ) -> None:
        """Make the project, its sessions and its history invisible; its name is free again at once.

        Args:
            only_unused: only if it is at generation 0 and has no session.

        The row stays as a tombstone, because the stored objects outlive it until they are collected, and forks may
        refer to them.

        Raises:
            NotFound: no such project, or it is deleted already; or it is used, and was to be unused.
        """

    # --- keys -----------------------------------------------------------------------------------------------------

    def project_keys(self, tenant: TenantId, project: ProjectId) -> list[KeyRecord]:
        """Return the keys, those of the highest epoch first. Which of them writes, only unwrapping them can tell.

        Raises NotFound.
        """

    def begin_epoch(self, key: KeyRecord, head: Head, *, drafts: Sequence[CommitId] | None = None) -> bool:
        """Add a sealed key whose epoch no other of the project has reached, if the project still is at ``head``.

        Args:
            drafts: the unsealed drafts that are known of. ``None``: whichever there are.

        From then on the project takes nothing unsealed: neither commit, checkpoint and draft nor upload. All are
        refused with KeyUnavailable; commits even if they were under way.

        Returns:
            Whether it was added: not if the head has moved, another draft was saved unsealed, or the epoch has begun
            already.

        Raises:
            NotFound. AlreadyExists: that DEK id is there already. InternalError: the key is of epoch 0, or PLAIN.
        """

    def project_drafts(self, tenant: TenantId, project: ProjectId) -> list[DraftRef]:
        """Return the drafts of all sessions of the project, those saved last first. Raises NotFound."""

    def plain_objects(self, tenant: TenantId, projects: Sequence[ProjectId]) -> dict[ProjectId, PlainObjects]:
        """Return what the projects' commits and checkpoints are not sealed; those that have none are left out."""

    def count_plain_projects(self) -> int:
        """Return how many living projects, of every tenant, have a record of PLAIN."""

    def keys_not_under(
        self, kek: Kek, *, after: tuple[TenantId, ProjectId, DekId] | None = None, limit: int = 100
    ) -> list[KeyRecord]:
        """Return keys that are wrapped under another KEK than this, by tenant, project and id, those after ``after``.

        Of every tenant, and of deleted projects too, which a KEK may not be retired before. Records of projects that
        are not encrypted are under no KEK and are left out.
        """

    def replace_wrapped_key(self, before: KeyRecord, wrapped: WrappedKey) -> WrappedKey | None:
        """Replace how a key is wrapped, unless somebody else has done so since it was read as ``before``.

        Returns how it is wrapped now: as ``wrapped``, or as the other one did it; ``None`` if the key is gone.
        """

    # --- the commit point -----------------------------------------------------------------------------------------

    def publish_commit(self, publication: Publication) -> Head | None:
        """Advance the head, add the commit, write the outbox row and move the session, in one statement.

        Returns:
            The new head, or ``None`` when the head is no longer ``publication.base`` (nothing was changed).

        Raises:
            NotFound: the project is gone, or the named session is, or it works on another project.
            SessionMoved: it is not at ``publication.working_set``.
            AlreadyExists: the head is ``publication.base``, but the commit id is published already, or the request is.
            InternalError: the commit's key is not one of the project's (the same for checkpoints and drafts).
            KeyUnavailable: the commit is unsealed, and an epoch has begun (the same for checkpoints and drafts).
        """

    def commit_lease(
        self, tenant: TenantId, project: ProjectId, *, timeout_seconds: float
    ) -> AbstractContextManager[bool]:
        """Wait for this project's lease among contending writers of all processes; yields whether it was had.

        A politeness, so that writers queue instead of racing; correctness never depends on it.
        """

    # --- history --------------------------------------------------------------------------------------------------

    def head(self, tenant: TenantId, project: ProjectId) -> Head:
        """Raises NotFound."""

    def read_plan(
        self,
        tenant: TenantId,
        project: ProjectId,
        generation: Generation | None = None,
        *,
        known: Sequence[Point] = (),
    ) -> ReadPlan:
        """Return what to read for ``generation`` (``None``: the head), given the trees of ``known``.

        What to read begins after the newest of them that is in this history and not beyond ``generation``. The catalog
        compares commits, not numbers: after it was restored from a backup, a number may stand for another tree.

        Args:
            known: points with their commits; none of generation 0.

        Raises:
            NotFound: no such project, or ``generation`` is beyond its head.
        """

    def forks_of(self, tenant: TenantId, source: ProjectId) -> list[tuple[ProjectId, Generation]]:
        """Return the living forks of a project (alive or deleted) and the generation each was made from.

        A fork of a fork counts too, even if the one between was deleted, since it still refers to the objects of
        ``source``; the generation is then the one of ``source`` that its line left from.
        """

    def find_commit(self, tenant: TenantId, project: ProjectId, commit: CommitId) -> CommitRow | None:
        """Return the published commit of that id."""

    def find_request(self, tenant: TenantId, project: ProjectId, request: RequestId) -> CommitRow | None:
        """Return the commit that a request of that name has made."""

    def commit_at(self, tenant: TenantId, project: ProjectId, generation: Generation) -> CommitRow:
        """Raises NotFound."""

    def list_commits(
        self, tenant: TenantId, project: ProjectId, *, before: Generation | None = None, limit: int = 100
    ) -> list[CommitRow]:
        """Return up to ``limit`` commits, newest first, those before ``before``. Raises NotFound."""

    def add_checkpoint(self, tenant: TenantId, project: ProjectId, row: CheckpointRow) -> None:
        """Record a checkpoint whose object is stored; a second one for a generation replaces the first.

        Raises NotFound: no such project, or it has no such commit at that generation.
        """

    def list_checkpoints(self, tenant: TenantId, project: ProjectId) -> list[CheckpointRow]:
        """Return all, newest first. Raises NotFound."""

    # --- sessions -------------------------------------------------------------------------------------------------

    def open_session(self, row: SessionRow, *, ttl: timedelta) -> SessionRow:
        """Add a session, and return it with the times that count: it begins now and lasts for ``ttl``, by the
        catalog's clock. Raises NotFound: no such project; AlreadyExists: the user has one of that id.
        """

    def view_session(self, tenant: TenantId, user: UserId, session: SessionId) -> SessionView | None:
        """Return the session and its project's head, or ``None``. A deleted project has no sessions."""

    def list_sessions(self, tenant: TenantId, user: UserId, project: ProjectId | None = None) -> list[SessionRow]:
        """Return the user's sessions, by id."""

    def drafted_sessions(self, tenant: TenantId, project: ProjectId) -> list[SessionRow]:
        """Return the sessions of all users on a project that hold a draft, by user and id."""

    def move_session(
        self,
        tenant: TenantId,
        user: UserId,
        session: SessionId,
        *,
        base_generation: Generation,
        base_commit: CommitId | None,
    ) -> None:
        """Replace the session's base, and nothing else. Raises NotFound."""

    def prolong_session(self, tenant: TenantId, user: UserId, session: SessionId, ttl: timedelta) -> datetime:
        """Let the session end ``ttl`` from now, and return when that is; nothing else is changed. Raises NotFound."""

    def drop_draft(
        self, tenant: TenantId, user: UserId, session: SessionId, commit: CommitId, *, given_up: bool = False
    ) -> bool:
        """Take the draft ``commit`` off the session; tell whether it was still the session's draft. Raises NotFound.

        Args:
            given_up: it could not be read.
        """

    def save_draft(
        self,
        tenant: TenantId,
        user: UserId,
        session: SessionId,
        draft: DraftRef,
        *,
        ttl: timedelta,
        working_set: WorkingSetId | None = None,
    ) -> None:
        """Replace the session's draft, which is saved now, and let it end ``ttl`` from now.

        Raises:
            NotFound. SessionMoved: it is not at ``working_set``.
            StaleStore: what the draft was made on is not in the project's history, so that nobody could bring it back.
        """

    def take_session(self, seen: SessionRow, working_set: WorkingSetId, node: str | None) -> bool:
        """Note that the session is at ``working_set`` now, on that machine.

        Returns:
            Whether it was: not if the session's working set, base or draft are no longer those of ``seen``.
        """

    def close_session(self, tenant: TenantId, user: UserId, session: SessionId) -> None:
        """Remove the session and forget its draft, but for the fact that it was ended. One that is absent already is no
        error."""

    def end_session(self, seen: SessionRow) -> bool:
        """Like ``close_session``, unless somebody has come back to the session.

        Returns:
            Whether it was removed: not if its expiry, working set, base or draft are no longer those of ``seen``.
        """

    def was_ended(self, tenant: TenantId, user: UserId, session: SessionId, opened_at: datetime | None) -> bool:
        """Tell whether a session that was opened at that time (``None``: at any) was closed, or ended.

        A session that is neither there nor was ended is one that the catalog does not know: it may be older than what
        it knows, as after a restore from a backup.
        """

    def forget_ended(self, ended_for: timedelta) -> None:
        """Forget sessions that ended that long ago."""

    def expired_sessions(self, over_for: timedelta, *, limit: int = 100) -> list[SessionView]:
        """Return sessions of every tenant that have been over for that long (for the host's housekeeping)."""

    # --- housekeeping (ports/outbox.py, ports/uploads.py and ports/superseded.py have more of it) --------------------

    def all_projects(self, *, after: tuple[TenantId, ProjectId] | None = None, limit: int = 100) -> list[ProjectRow]:
        """Return living projects of every tenant, by tenant and id (for the host's housekeeping)."""

    def health(self) -> CatalogHealth:
        """Return how one cheap query went, and what is known of writes. Never raises."""

    def rest(self) -> None:
        """Give back the connections that are idle, but perhaps for one: this process may not run for a while."""

    def close(self) -> None:
        """Give connections back. The catalog is not used afterwards."""


def superseded(project: ProjectId) -> KeyUnavailable:
    """Return the error for something unsealed that came too late for its project."""
    return KeyUnavailable(
        f"project {project} has been encrypted since this process read its keys",
        hint="try again: what is new is encrypted then",
        reason="superseded",
    )
