"""The catalog's list of resumable uploads: files that arrive in parts, each part sealed objects of the store.

An upload's whole life, and what is left at each instant if everything stops there:

1. *open*: it takes parts. One writer at a time has it, for as long as a lease lasts; whatever a writer that has lost
   its lease still sends changes nothing here. Before a writer stores an object, its name stands in ``spare``, so there
   is no object that nobody knows of.
2. *announced*: a commit that refers to its objects may be published at any moment, or has been. Nothing of it is
   removed for a day; whether there is such a commit is asked of the commits, by the name that all its attempts share.
3. *done*: the commit is there, and what the commit refers to lives as long as that. The row says what came of it
   until its time is over. ``spare`` has the names of all that was stored for it, until what the commit does not refer
   to is removed.

What a job was asked to do is kept in the same way, for the purpose ``job``: its content is a body that has arrived, or
what the job has made. No commit refers to that, so it is never announced.

A row that is being *removed* is found by nobody any more; its objects go next, then the row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, NamedTuple, Protocol, TypeAlias

from manifold_common.ids import DekId, ObjectId, ProjectId, TenantId, UploadId, UserId

Purpose: TypeAlias = Literal["file", "job"]
SPARE_KEPT = 16
"""So many spare names an upload that is open may have before it is worth a turn to remove what they stand for."""


@dataclass(frozen=True, slots=True)
class ResumableUpload:
    tenant: TenantId
    project: ProjectId
    upload: UploadId
    user: UserId
    dek: DekId
    """What ``about`` and ``progress`` are sealed under; PLAIN: nothing."""
    about: bytes
    """Sealed: what the file is to be, and on which conditions."""
    progress: bytes
    """Sealed: how far it is."""
    received_bytes: int
    """What is stored of the file."""
    total_bytes: int | None
    """``None``: its length is not known yet."""
    spare: tuple[ObjectId, ...]
    """Names of packs that may be stored, and that no part refers to; of a *done* one, of all its packs."""
    created_at: datetime
    expires_at: datetime
    stage: Literal["open", "done", "removing"] = "open"
    announced_at: datetime | None = None
    """Since when a commit may refer to its objects; once *done*, since when it is. ``None``: none does."""
    writer: str | None = None
    writing_until: datetime | None = None
    purpose: Purpose = "file"


@dataclass(frozen=True, slots=True)
class UploadPart:
    """A piece of the file, from one chunk to another, that is stored."""

    number: int
    """From 0."""
    dek: DekId
    objects: tuple[ObjectId, ...]
    """Packs that were stored for it."""
    places: bytes
    """Sealed: its chunks, and where they are."""


class HeldResumable(NamedTuple):
    """What is open at this moment."""

    project_uploads: int
    project_bytes: int
    """As long as their files will be, or are so far where that is not known."""
    tenant_uploads: int


class ResumableUploads(Protocol):
    def held_resumable(self, tenant: TenantId, project: ProjectId, now: datetime) -> HeldResumable:
        """Count uploads that are open, and whose time is not over."""

    def add_resumable(self, upload: ResumableUpload) -> None:
        """Raises NotFound: no such project; InternalError: its key is not one of the project's; KeyUnavailable: it is
        PLAIN, and the project has been encrypted."""

    def find_resumable(
        self,
        tenant: TenantId,
        project: ProjectId,
        user: UserId,
        upload: UploadId,
        now: datetime,
        *,
        purpose: Purpose = "file",
    ) -> ResumableUpload | None:
        """Return the user's upload to a project that is there, unless it is for another purpose, its time is over, or
        it is being removed."""

    def hold_resumable(
        self,
        tenant: TenantId,
        project: ProjectId,
        upload: UploadId,
        writer: str,
        lease: timedelta,
        spare: Sequence[ObjectId],
    ) -> ResumableUpload | None:
        """Make ``writer`` the one that writes, for ``lease``, and add to ``spare``.

        Returns the row as it was before; ``None``: it is not open, or another writer has it.
        """  # fmt: skip

    def advance_resumable(
        self,
        upload: ResumableUpload,
        writer: str,
        parts: Sequence[UploadPart],
        lease: timedelta | None,
        *,
        gc_epoch: int | None = 0,
    ) -> bool:
        """Note how far an upload is: what it is about, its progress, bytes, spare names, stage, announcement, time and
        key, and further parts.

        Args:
            lease: how long the writer goes on; ``None``: it has ended.
            gc_epoch: at which the places were read that ``parts`` refer to; ``None``: they refer to nothing that was
                not stored for this upload.

        Returns whether it is still the writer's; else nothing was changed.

        Raises:
            ContentCollected: there are parts, and ``gc_epoch`` is another one by now. Others as ``add_resumable``.
        """

    def settle_resumable(self, upload: ResumableUpload) -> None:
        """Note that an upload is done, and its progress, spare names, announcement, time and key; forget its parts and
        writer. Raises KeyUnavailable: it is PLAIN, and the project has been encrypted."""

    def resumable_parts(
        self, tenant: TenantId, project: ProjectId, upload: UploadId, *, first: int = 0
    ) -> list[UploadPart]:
        """Return the parts from number ``first`` on, in their order."""

    def remove_resumable(self, seen: ResumableUpload, expires_at: datetime) -> bool:
        """Begin a removal: nobody finds the upload from now on, and its time ends as given. Returns whether it still
        had the announcement and the time of ``seen``, and no writer but that of ``seen``."""

    def forget_resumable(self, tenant: TenantId, project: ProjectId, upload: UploadId) -> None:
        """Drop an upload and its parts. One that is not there is no error."""

    def ended_resumable(self, before: datetime, *, limit: int = 100) -> list[ResumableUpload]:
        """Return uploads of every tenant whose time was over before then, oldest first; also those whose removal was
        begun."""

    def cluttered_resumable(self, done_before: datetime, *, limit: int = 100) -> list[ResumableUpload]:
        """Return uploads of every tenant that have spare packs to be removed, though their time is not over: those that
        were done before then; and those that are open, with more than ``SPARE_KEPT`` spare names, and neither written
        to nor announced."""
