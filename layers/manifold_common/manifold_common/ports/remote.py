"""What a Manifold server promises its clients: what they need to read and store a project's content by themselves.

The types are the API's own shapes (docs/http-api.md); bytes are base64 on the wire. Nothing of an answer is taken on
trust: ids, keys, names, links and times are of types that refuse what could not be one when they are decoded; whether
the answer is about what was asked for is for the caller to see to. Every method may raise ``Unavailable`` (the request
was repeated where that is safe), ``BadAnswer``, and what the server answers, as the error that it names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Protocol

import msgspec
from msgspec import Meta

from manifold_common.domain.history import Seen
from manifold_common.domain.listing import EVERY_COMMIT, EVERY_PROJECT, CommitFilter, ProjectFilter
from manifold_common.domain.moments import is_usable
from manifold_common.domain.object_key import ObjectKey
from manifold_common.domain.served_link import SERVED_LINK
from manifold_common.ids import (
    CommitId,
    DekId,
    Generation,
    ObjectId,
    ProjectId,
    SessionId,
    TenantId,
    UserId,
)
from manifold_common.ports.object_store import ObjectAccess
from manifold_common.shapes.changes import Edited
from manifold_common.shapes.history import CommitPage
from manifold_common.shapes.intent import Intent
from manifold_common.shapes.path import TreePath
from manifold_common.shapes.projects import Project
from manifold_common.shapes.requests import NEWEST, CheckoutRequest

Count = Annotated[int, Meta(ge=0, le=2**53 - 1)]
Text = Annotated[str, Meta(max_length=64 << 10)]
Key = Annotated[bytes, Meta(min_length=32, max_length=32)]
KeyOrNone = Annotated[bytes, Meta(max_length=32)]
"""Empty for an object that is not encrypted."""
Hash = Annotated[bytes, Meta(max_length=32)]
_URL = rf"(?:(?i:https?)://[!-~]+|{SERVED_LINK})"
Url = Annotated[str, Meta(pattern=rf"\A{_URL}\Z", max_length=8192)]
"""A web address, or a link to the server itself, without its address."""
UrlOrNone = Annotated[str, Meta(pattern=rf"\A{_URL}?\Z", max_length=8192)]
Headers = Annotated[
    dict[
        Annotated[str, Meta(pattern=r"\A(?i:if-none-match|content-length|x-amz-[a-z0-9-]{1,60})\Z")],
        Annotated[str, Meta(pattern=r"\A[ -~]{1,2048}\Z")],
    ],
    Meta(max_length=16),
]
"""Those that a link to create an object can have, and none that could change what the request is."""
Moment = Annotated[datetime, Meta(tz=True)]


class _Dated(msgspec.Struct, frozen=True):
    """Base of what names times, which are to be such as can be shown and compared."""

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if isinstance(value, datetime) and not is_usable(value):
                raise ValueError(f"{name} is in the year {value.year}")


class ObjectGrant(msgspec.Struct, frozen=True):
    """What it takes to read one stored object."""

    key: ObjectKey
    kind: Annotated[int, Meta(ge=1, le=3)]
    object_id: ObjectId
    dek: DekId
    object_key: KeyOrNone
    url: UrlOrNone
    """Empty where the bytes come along."""


class GrantedTree(msgspec.Struct, frozen=True):
    grant: ObjectGrant
    data: bytes | None


class RemotePlan(_Dated, frozen=True):
    tenant: TenantId
    user: UserId
    project: ProjectId
    generation: Generation
    commit: CommitId | None
    record_hash: Hash
    skills_generation: Generation
    head_generation: Generation
    tree: GrantedTree | None
    objects: list[ObjectGrant]
    objects_total: Annotated[int, Meta(ge=0, le=250_000)]
    expires_at: Moment
    known: Annotated[str, Meta(pattern=r"^[0-9]{1,15}(-[a-z2-7]{26})?$")] | None = None
    """The point whose content was left out, as ``<generation>-<commit>``; ``None``: nothing was left out."""
    id_key: Key | None = None
    """Of a project's plan that has objects without encryption."""


class GrantedDraft(msgspec.Struct, frozen=True):
    commit: CommitId
    grant: ObjectGrant


class RemoteSessionPlan(_Dated, frozen=True):
    session: SessionId
    opened_at: Moment
    expires_at: Moment
    paths: Annotated[list[Annotated[str, Meta(max_length=4096)]], Meta(max_length=1000)]
    id_key: Key
    plan: RemotePlan
    draft: GrantedDraft | None
    dropped_draft: CommitId | None = None


class UploadSlot(msgspec.Struct, frozen=True):
    """One object that may be stored, once."""

    key: ObjectKey
    object_id: ObjectId
    object_key: KeyOrNone


class UploadSlots(msgspec.Struct, frozen=True):
    plan: RemotePlan | None
    """``None`` for more packs of a draft."""
    write_dek: DekId
    id_key: Key
    draft_commit: CommitId
    draft: UploadSlot
    packs: list[UploadSlot]


class UploadLink(msgspec.Struct, frozen=True):
    """The right to store one object, once, with the length that was told."""

    name: ObjectId
    """A pack's id, or a draft's."""
    url: Url
    headers: Headers


class UploadReceipt(msgspec.Struct, frozen=True):
    name: str
    size: int
    blake3: bytes


class RemoteCommitted(msgspec.Struct, frozen=True):
    project: ProjectId
    generation: Generation
    commit: CommitId | None
    added: Count
    modified: Count
    deleted: Count
    new_bytes: Count
    rebased: bool
    plan: RemoteSessionPlan | None = None
    """Of what came of it, where that was asked for."""
    conflicts: list[TreePath] = []
    kept: list[SessionId] = []


class RemoteSession(_Dated, frozen=True):
    session: SessionId
    project: ProjectId
    base_generation: Generation
    draft_saved_at: Moment | None
    created_at: Moment
    expires_at: Moment
    base_commit: CommitId | None = None


class LinkedAccess(ObjectAccess, Protocol):
    """Objects, as far as there are links to them."""

    def grant(self, grants: Iterable[ObjectGrant]) -> None:
        """Take links to read. Of two for one object the newer counts."""

    def offer(self, key: str, link: UploadLink) -> None:
        """Take a link to create an object."""

    def renew_with(self, renew: Callable[[], None]) -> None:
        """Call ``renew``, which grants anew, when a link to read has ended. The newest counts."""

    def close(self) -> None:
        """Give connections back."""


class RemoteServer(Protocol):
    def project(self, name_or_id: str) -> Project:
        """Raises NotFound."""

    def projects(self, wanted: ProjectFilter = EVERY_PROJECT) -> list[Project]:
        """Return all that are wanted, by name."""

    def create_project(self, name: str) -> Project:
        """Raises AlreadyExists, InvalidInput."""

    def delete_project(self, project: ProjectId, *, only_unused: bool = False) -> None:
        """Raises NotFound; Conflict: it is not empty, or somebody has a session on it, with ``only_unused``."""

    def rename_project(self, project: ProjectId, name: str) -> Project:
        """Raises NotFound, AlreadyExists, InvalidInput."""

    def commits(
        self, project: ProjectId, wanted: CommitFilter = EVERY_COMMIT, *, limit: int, cursor: str | None = None
    ) -> CommitPage:
        """Return up to ``limit`` commits that are wanted, newest first, from ``cursor`` on.

        Raises:
            NotFound. InvalidCursor: it is of another list.
        """

    def restore(
        self,
        project: ProjectId,
        generation: Generation,
        paths: Sequence[bytes],
        intent: Intent,
    ) -> Edited:
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
        request: CheckoutRequest = NEWEST,
        *,
        known: Seen | None = None,
        first: int = 0,
        content: bool = True,
        restore: bool = False,
    ) -> RemoteSessionPlan:
        """Raises as ``SessionPlans.plan``."""

    def open_uploads(self, session: SessionId, base: Seen, packs: int, *, draft: CommitId | None = None) -> UploadSlots:
        """Raises as ``Uploads.open``."""

    def link_uploads(self, session: SessionId, sizes: Mapping[str, int]) -> list[UploadLink]:
        """Raises as ``Uploads.link``."""

    def verify(self, session: SessionId, draft: UploadReceipt, packs: Sequence[UploadReceipt]) -> int:
        """Raises as ``Uploads.check``."""

    def publish(
        self,
        session: SessionId,
        draft: UploadReceipt,
        packs: Sequence[UploadReceipt],
        intent: Intent,
        *,
        known: Seen | None = None,
    ) -> RemoteCommitted:
        """With ``known``, the answer has a plan without that generation's content. Raises as ``Uploads.publish``.

        Args:
            intent: with a request, so that it can be sent again.
        """

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
