"""The catalog's drafts: work of sessions that is stored and not published.

A session has one draft at most. It goes when the session publishes, when another one is saved, and when the session
ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from manifold_common.domain.history import Point
from manifold_common.ids import CommitId, DekId, Generation, ProjectId, SessionId, TenantId, UserId, WorkingSetId


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


class Drafts(Protocol):
    def save_draft(
        self,
        tenant: TenantId,
        user: UserId,
        session: SessionId,
        draft: DraftRef,
        *,
        ttl: timedelta,
        working_set: WorkingSetId | None = None,
        gc_epoch: int = 0,
        replaces: CommitId | None = None,
    ) -> bool:
        """Replace the session's draft, which is saved now, and let it end ``ttl`` from now.

        Args:
            gc_epoch: at which the places were read that the draft refers to.
            replaces: the draft that the session has to have still. ``None``: whatever it has.

        Returns whether that was done: else it has another draft by now, or none.

        Raises:
            ContentCollected: it is another one by now.
            NotFound. SessionMoved: it is not at ``working_set``.
            StaleStore: what the draft was made on is not in the project's history, so that nobody could bring it back.
        """

    def drop_draft(
        self, tenant: TenantId, user: UserId, session: SessionId, commit: CommitId, *, given_up: bool = False
    ) -> bool:
        """Take the draft ``commit`` off the session; tell whether it was still the session's draft. Raises NotFound.

        Args:
            given_up: it could not be read.
        """

    def project_drafts(self, tenant: TenantId, project: ProjectId) -> list[DraftRef]:
        """Return the drafts of all sessions of the project, those saved last first. Raises NotFound."""
