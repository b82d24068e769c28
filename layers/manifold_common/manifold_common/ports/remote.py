"""What a Manifold server promises its clients: what they need to read and store a project's content by themselves.

The types are the API's own shapes (docs/http-api.md); bytes are base64 on the wire. Every method may raise
``Unavailable`` (the request was repeated where that is safe) and what the server answers, as the error that it names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

import msgspec

from manifold_common.domain.paths import check_path, from_text
from manifold_common.ids import (
    CommitId,
    DekId,
    Generation,
    ObjectId,
    ProjectId,
    RequestId,
    SessionId,
    TenantId,
    UserId,
)
from manifold_common.ports.object_store import ObjectAccess


class RemoteProject(msgspec.Struct, frozen=True):
    id: ProjectId
    name: str
    generation: Generation
    skills_generation: Generation
    commit: CommitId | None
    total_bytes: int
    entries: int
    created_at: datetime
    updated_at: datetime


class ObjectGrant(msgspec.Struct, frozen=True):
    """What it takes to read one stored object."""

    key: str
    kind: int
    object_id: ObjectId
    dek: DekId
    object_key: bytes
    url: str
    """Empty where the bytes come along."""


class GrantedTree(msgspec.Struct, frozen=True):
    grant: ObjectGrant
    data: bytes | None


class RemotePlan(msgspec.Struct, frozen=True):
    tenant: TenantId
    user: UserId
    project: ProjectId
    generation: Generation
    commit: CommitId | None
    record_hash: bytes
    skills_generation: Generation
    head_generation: Generation
    tree: GrantedTree | None
    objects: list[ObjectGrant]
    objects_total: int
    expires_at: datetime


class GrantedDraft(msgspec.Struct, frozen=True):
    commit: CommitId
    grant: ObjectGrant


class RemoteSessionPlan(msgspec.Struct, frozen=True):
    session: SessionId
    opened_at: datetime
    expires_at: datetime
    paths: list[str]
    id_key: bytes
    plan: RemotePlan
    draft: GrantedDraft | None


class UploadSlot(msgspec.Struct, frozen=True):
    """One object that may be stored, once."""

    key: str
    object_id: ObjectId
    object_key: bytes
    url: str
    headers: dict[str, str]


class UploadSlots(msgspec.Struct, frozen=True):
    plan: RemotePlan
    write_dek: DekId
    id_key: bytes
    draft_commit: CommitId
    draft: UploadSlot
    packs: list[UploadSlot]


class UploadReceipt(msgspec.Struct, frozen=True):
    name: str
    size: int
    blake3: bytes


class RemotePath(msgspec.Struct, frozen=True):
    path: str
    path_base64: bytes | None = None
    """The exact bytes, where they are not UTF-8."""

    def to_bytes(self) -> bytes:
        """Raises UnsafePath."""
        return from_text(self.path) if self.path_base64 is None else check_path(self.path_base64)


class RemoteCommitted(msgspec.Struct, frozen=True):
    project: ProjectId
    generation: Generation
    commit: CommitId | None
    added: int
    modified: int
    deleted: int
    new_bytes: int
    rebased: bool
    conflicts: list[RemotePath] = []
    kept: list[str] = []
    """Ids of sessions, to be parsed."""


class RemoteEdited(msgspec.Struct, frozen=True):
    generation: Generation
    commit: CommitId | None
    paths: list[RemotePath]
    conflicts: list[RemotePath] = []
    kept: list[str] = []
    """Ids of sessions, to be parsed."""


class RemoteCommit(msgspec.Struct, frozen=True):
    generation: Generation
    id: CommitId
    parent: CommitId | None
    author: UserId
    session: SessionId | None
    created_at: datetime
    message: str
    provenance: dict[str, Any]
    added: int
    modified: int
    deleted: int
    new_bytes: int


class RemoteSession(msgspec.Struct, frozen=True):
    session: SessionId
    project: ProjectId
    base_generation: Generation
    draft_saved_at: datetime | None
    created_at: datetime
    expires_at: datetime


class LinkedAccess(ObjectAccess, Protocol):
    """Objects, as far as there are links to them."""

    def grant(self, grants: Iterable[ObjectGrant]) -> None:
        """Take links to read. Of two for one object the newer counts."""

    def offer(self, slots: Iterable[UploadSlot]) -> None:
        """Take links to create."""

    def renew_with(self, renew: Callable[[], None]) -> None:
        """Call ``renew``, which grants anew, when a link to read has ended. The newest counts."""

    def close(self) -> None:
        """Give connections back."""


class RemoteServer(Protocol):
    def project(self, name_or_id: str) -> RemoteProject:
        """Raises NotFound."""

    def projects(self) -> list[RemoteProject]:
        """Return all, by name."""

    def create_project(self, name: str) -> RemoteProject:
        """Raises AlreadyExists, InvalidInput."""

    def delete_project(self, project: ProjectId) -> None:
        """Raises NotFound."""

    def rename_project(self, project: ProjectId, name: str) -> RemoteProject:
        """Raises NotFound, AlreadyExists, InvalidInput."""

    def commits(self, project: ProjectId, *, before: Generation | None, limit: int) -> list[RemoteCommit]:
        """Return up to ``limit`` commits, newest first. Raises NotFound."""

    def restore(
        self,
        project: ProjectId,
        generation: Generation,
        paths: Sequence[bytes],
        *,
        message: str,
        provenance: Mapping[str, Any],
        strategy: str,
        expected: Generation | None,
    ) -> RemoteEdited:
        """Make a new generation of an older one. Raises NotFound."""

    def plan(
        self,
        project: ProjectId,
        generation: Generation | None = None,
        paths: Sequence[str] = (),
        *,
        first: int = 0,
        content: bool = True,
    ) -> RemotePlan:
        """Raises NotFound; ConfigError: the server's store gives no links."""

    def plan_session(
        self,
        session: SessionId,
        project: ProjectId | None = None,
        *,
        generation: Generation | None = None,
        paths: Sequence[str] = (),
        known: Generation | None = None,
        first: int = 0,
        content: bool = True,
        restore: bool = False,
        seen: Generation | None = None,
    ) -> RemoteSessionPlan:
        """Raises as ``SessionPlans.plan``."""

    def open_uploads(self, session: SessionId, base: Generation, packs: int) -> UploadSlots:
        """Raises NotFound, InvalidInput."""

    def verify(self, session: SessionId, draft: UploadReceipt, packs: Sequence[UploadReceipt]) -> int:
        """Raises as ``Uploads.check``."""

    def publish(
        self,
        session: SessionId,
        draft: UploadReceipt,
        packs: Sequence[UploadReceipt],
        *,
        message: str,
        provenance: Mapping[str, Any],
        strategy: str,
        expected: Generation | None,
        request: RequestId,
    ) -> RemoteCommitted:
        """Raises as ``Uploads.publish``."""

    def keep(self, session: SessionId, draft: UploadReceipt, packs: Sequence[UploadReceipt]) -> CommitId | None:
        """Raises as ``Uploads.save``."""

    def sessions(self, project: ProjectId | None = None) -> list[RemoteSession]:
        """Return the user's sessions."""

    def session(self, session: SessionId) -> RemoteSession:
        """Raises NotFound."""

    def close_session(self, session: SessionId) -> None:
        """Closing one that is closed already is no error."""

    def close(self) -> None:
        """Give connections back."""
