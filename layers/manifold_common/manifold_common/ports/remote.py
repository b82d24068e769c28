"""What a Manifold server promises its clients: what they need to read and store a project's content by themselves.

The types are the API's own shapes (docs/http-api.md); bytes are base64 on the wire. Nothing of an answer is taken on
trust: ids, keys, names, links and times are of types that refuse what could not be one when they are decoded, and an
answer about something else than was asked for is refused (``shapes/answer_checks.py``). Every method may raise
``Unavailable`` (the request was repeated where that is safe), ``BadAnswer``, and what the server answers, as the error
that it names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from manifold_common.domain.history import Point, Seen
from manifold_common.domain.listing import EVERY_COMMIT, EVERY_PROJECT, CommitFilter, ProjectFilter
from manifold_common.domain.tag import Named
from manifold_common.ids import CommitId, Generation, ObjectId, ProjectId, SessionId, TagName
from manifold_common.ports.object_store import ObjectAccess
from manifold_common.shapes.access import (
    ObjectGrant,
    Plan,
    Published,
    SessionPlan,
    UploadLink,
    UploadReceipt,
    UploadSlots,
)
from manifold_common.shapes.changes import Edited
from manifold_common.shapes.history import CommitPage
from manifold_common.shapes.intent import Intent
from manifold_common.shapes.projects import Project
from manifold_common.shapes.requests import NEWEST, CheckoutRequest
from manifold_common.shapes.sessions import Session
from manifold_common.shapes.tags import Tag


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

    def deleted_projects(self, wanted: ProjectFilter = EVERY_PROJECT) -> list[Project]:
        """Return all that can be brought back and are wanted, by name and id."""

    def undelete_project(self, name_or_id: str, name: str | None = None) -> Project:
        """Raises NotFound, AlreadyExists, Conflict, InvalidInput."""

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

    def tags(self, project: ProjectId) -> list[Tag]:
        """Return all, by name. Raises NotFound."""

    def tag(self, project: ProjectId, name: TagName) -> Tag:
        """Raises NotFound."""

    def set_tag(self, project: ProjectId, name: TagName, named: Named, *, expected: Point | None = None) -> Tag:
        """Make a tag, or move it from ``expected``. Raises as ``Tags.set``."""

    def remove_tag(self, project: ProjectId, name: TagName, *, expected: Point) -> None:
        """Remove a tag that is at ``expected``. Raises NotFound, PreconditionFailed."""

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
    ) -> Plan:
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
    ) -> SessionPlan:
        """Raises as ``SessionPlans.plan``."""

    def open_uploads(self, session: SessionId, base: Seen, packs: int, *, draft: CommitId | None = None) -> UploadSlots:
        """Raises as ``Uploads.open``."""

    def link_uploads(self, session: SessionId, sizes: Mapping[ObjectId, int]) -> list[UploadLink]:
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
    ) -> Published:
        """With ``known``, the answer has a plan without that generation's content. Raises as ``Uploads.publish``.

        Args:
            intent: with a request, so that it can be sent again.
        """

    def keep(self, session: SessionId, draft: UploadReceipt, packs: Sequence[UploadReceipt]) -> CommitId | None:
        """Raises as ``Uploads.save``."""

    def sessions(self, project: ProjectId | None = None) -> list[Session]:
        """Return the user's sessions."""

    def session(self, session: SessionId) -> Session:
        """Raises NotFound."""

    def close_session(self, session: SessionId) -> None:
        """Closing one that is closed already is no error."""

    def close(self) -> None:
        """Give connections back."""
