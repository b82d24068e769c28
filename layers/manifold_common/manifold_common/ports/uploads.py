"""The catalog's list of uploads: objects that a client may store by itself, until a commit refers to them.

An upload is *open* from when its link was given out. It is *claimed* when its bytes were read back and found good; from
then on only garbage collection may remove its object, which a commit or a draft may refer to. One that nobody claims is
removed when its time is over.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from manifold_common.ids import DekId, Generation, ObjectId, ProjectId, SessionId, TenantId, UserId


@dataclass(frozen=True, slots=True)
class Upload:
    tenant: TenantId
    project: ProjectId
    user: UserId
    session: SessionId
    kind: Literal["pack", "draft"]
    name: str
    """The pack id, or the commit id of a draft. Unique in the project."""
    object_id: ObjectId
    """What its seal is bound to; for a pack the same as ``name``."""
    generation: Generation
    """That the draft would become; 0 for a pack."""
    dek: DekId
    created_at: datetime
    expires_at: datetime
    """Until when it can be claimed; its link ends earlier."""
    claimed: bool = False


class Uploads(Protocol):
    def add_uploads(self, uploads: Sequence[Upload]) -> None:
        """Add uploads of one session. Raises NotFound: the user has no such session on that project; InternalError: a
        key is not one of the project's."""

    def find_uploads(
        self, tenant: TenantId, user: UserId, session: SessionId, names: Sequence[str], now: datetime
    ) -> list[Upload]:
        """Return those of ``names`` that are the session's, and that are claimed or can be."""

    def claim_uploads(self, tenant: TenantId, project: ProjectId, names: Sequence[str]) -> int:
        """Claim these, again or for the first time. Returns how many of them there still are."""

    def forget_uploads(self, tenant: TenantId, project: ProjectId, names: Sequence[str]) -> None:
        """Drop what was published or removed. Those that are not there are no error."""

    def ended_uploads(self, before: datetime, *, limit: int = 100) -> list[Upload]:
        """Return uploads of every tenant that nobody claimed and whose time was over before then, oldest first."""
