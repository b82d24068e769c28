"""The catalog's sessions: what each one is based on, where its working set is, and until when it goes on.

Sessions begin and end by the catalog's clock alone. A deleted project has none: those with a draft are kept aside, and
come back with it (``deleted_projects``).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol

from manifold_common.domain.history import Point
from manifold_common.errors import NotFound
from manifold_common.ids import CommitId, Generation, ProjectId, SessionId, TenantId, UserId, WorkingSetId
from manifold_common.ports.catalog.commits import Head
from manifold_common.ports.catalog.drafts import DraftRef


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
    scope_session: SessionId | None = None
    """The session that ``scope`` was sealed for, where this one has another name by now."""

    @property
    def base(self) -> Point:
        return Point(self.base_generation, self.base_commit)

    def is_at(self, working_set: WorkingSetId | None) -> bool:
        return self.working_set is None or self.working_set == working_set


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


class Sessions(Protocol):
    def open_session(self, row: SessionRow, *, ttl: timedelta, gc_epoch: int = 0) -> SessionRow:
        """Add a session, and return it with the times that count: it begins now and lasts for ``ttl``, by the
        catalog's clock. What it stands on stays in the history.

        Args:
            gc_epoch: at which the places were read that its draft refers to, if it has one.

        Raises:
            NotFound: no such project, or no such commit that it or its draft stands on.
            AlreadyExists: the user has a session of that id.
            ContentCollected: it has a draft, and ``gc_epoch`` is another one by now.
        """

    def view_session(self, tenant: TenantId, user: UserId, session: SessionId) -> SessionView | None:
        """Return the session and its project's head, or ``None``. A deleted project has no sessions."""

    def list_sessions(
        self,
        tenant: TenantId,
        user: UserId,
        project: ProjectId | None = None,
        *,
        after: SessionId | None = None,
        limit: int | None = None,
    ) -> list[SessionRow]:
        """Return the user's sessions, by id."""

    def drafted_sessions(self, tenant: TenantId, project: ProjectId) -> list[SessionRow]:
        """Return the sessions of all users on a project that hold a draft, by user and id."""

    def expired_sessions(self, over_for: timedelta, *, limit: int = 100) -> list[SessionView]:
        """Return sessions of every tenant that have been over for that long (for the host's housekeeping)."""

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
        """Tell whether a session that was opened at that time (``None``: at any) was closed, has ended, or was deleted
        with its project.

        A session that is neither there nor was ended is one that the catalog does not know: it may be older than what
        it knows, as after a restore from a backup.
        """

    def forget_ended(self, ended_for: timedelta) -> None:
        """Forget sessions that ended that long ago."""


def no_base() -> NotFound:
    return NotFound(
        "what the session would stand on is not in the project's history",
        hint="check out the newest generation: retention removes old ones, but for what sessions and tags stand on",
    )
