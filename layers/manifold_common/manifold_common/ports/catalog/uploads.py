"""The catalog's list of uploads: objects that a client may store by itself, until something refers to them.

A row's whole life, and what is left at each instant if everything stops there:

1. *slot*: added before its id is given out. No link, so no object: the row goes with its draft, or when its time ends.
2. *linked*: one link, for one object of one length, was given out. There may be an object from then on. When the row's
   time is over, the object is removed and then the row.
3. *proven* (packs): it was read back, and the row says what it was found to hold, all of it: which chunk ids at which
   places, as one digest. It vouches for those and for nothing else. Its time begins anew.
4. *referred to*: the row names the commit that is about to refer to the object, before that is published or becomes
   a session's draft. Several, if it takes several tries, or if a session of its own keeps what a strategy drops. Its
   time begins anew. From then on the object is removed only if none of these commits came to be.
5. *forgotten*: a commit or a draft refers to the object, whose life is that commit's or that draft's from now on. If
   the row could not be forgotten, that is made up for when its time is over: one of the commits that it names is found.

A row that is being *removed* is marked so first, as it was seen, and found by nobody any more; its object goes next,
then the row. So neither does a publication come to refer to an object that is going, nor is a removal that failed
forgotten.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple, Protocol

from manifold_common.ids import CommitId, DekId, Generation, ObjectId, ProjectId, SessionId, TenantId, UserId


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
    draft: CommitId
    """The draft that it was given out for; no other may refer to it. A draft's own name."""
    generation: Generation
    """That the draft would become; 0 for a pack."""
    dek: DekId
    created_at: datetime
    """By the catalog's clock, like a draft's ``saved_at``."""
    expires_at: datetime
    """Until when it can be used; its link ends earlier."""
    stored_bytes: int | None = None
    """Length that its link is good for; ``None``: no link was given out, so nothing is stored."""
    proof: bytes | None = None
    """Of a pack that was read back: a digest of all that it was found to hold."""
    commits: tuple[CommitId, ...] = ()
    """What may have come to refer to it."""


class Held(NamedTuple):
    """What is open at this moment."""

    session_slots: int
    session_bytes: int
    user_slots: int
    """In all sessions of the user, closed ones included."""
    user_bytes: int


class Uploads(Protocol):
    def held_uploads(self, tenant: TenantId, user: UserId, session: SessionId) -> Held:
        """Count rows, and the lengths that links were given out for."""

    def add_uploads(self, uploads: Sequence[Upload]) -> None:
        """Add uploads of one session. Raises NotFound: the user has no such session on that project; InternalError: a
        key is not one of the project's; KeyUnavailable: it is PLAIN, and the project has been encrypted."""

    def find_uploads(
        self, tenant: TenantId, user: UserId, session: SessionId, names: Sequence[str], now: datetime
    ) -> list[Upload]:
        """Return those of ``names`` that are the session's, and whose time is not over."""

    def link_uploads(self, uploads: Sequence[Upload]) -> int:
        """Note the length (``stored_bytes``) of each of these. Returns how many of them are there with no other length
        than that."""

    def prove_uploads(
        self, tenant: TenantId, project: ProjectId, proofs: Mapping[str, bytes], expires_at: datetime
    ) -> int:
        """Note what packs hold, by name, and put the end of their time off. Returns how many there still are."""

    def refer_uploads(
        self, tenant: TenantId, project: ProjectId, names: Sequence[str], commit: CommitId, expires_at: datetime
    ) -> int:
        """Note that ``commit`` is about to refer to these, and put the end of their time off. Returns how many of them
        there still are."""

    def forget_uploads(
        self, tenant: TenantId, project: ProjectId, names: Sequence[str], *, slots_of: CommitId | None = None
    ) -> None:
        """Drop what is referred to or was removed, and the slots of a draft for which no link was given out. Those that
        are not there are no error."""

    def ended_uploads(self, before: datetime, *, limit: int = 100) -> list[Upload]:
        """Return uploads of every tenant whose time was over before then, oldest first; also those whose removal was
        begun."""

    def remove_upload(self, seen: Upload) -> bool:
        """Begin a removal: nobody finds the upload from now on. Returns whether it still was as ``seen``."""
