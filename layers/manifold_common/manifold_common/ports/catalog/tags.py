"""The catalog's tags: names for generations of a project, each moved only from where it was seen.

A project's name is not the only one that is kept in the clear: so is a tag's. Those of a deleted project are not seen,
and a fork begins without any. Of what is tagged nothing may be removed: ``list_tags`` has all that a project's are on.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol

from manifold_common.domain.history import Point
from manifold_common.domain.tag import MAX_TAGS
from manifold_common.errors import QuotaExceeded
from manifold_common.ids import CommitId, Generation, ProjectId, TagName, TenantId, UserId
from manifold_common.ports.catalog.outbox import OutboxEvent


@dataclass(frozen=True, slots=True)
class TagRow:
    tenant: TenantId
    project: ProjectId
    name: TagName
    generation: Generation
    commit: CommitId
    user: UserId
    """Who set it last."""
    created_at: datetime
    moved_at: datetime
    """When it came to where it is: later each time that it is moved, so that it tells the tag's states apart."""

    @property
    def point(self) -> Point:
        return Point(self.generation, self.commit)


class TagSet(NamedTuple):
    """What became of a tag that was to be set."""

    row: TagRow
    is_changed: bool
    """``False``: it was there already."""


class Tags(Protocol):
    def set_tag(
        self,
        tenant: TenantId,
        project: ProjectId,
        name: TagName,
        point: Point,
        user: UserId,
        event: OutboxEvent,
        *,
        expected: Point | None,
        moved_at: datetime | None = None,
    ) -> TagSet | None:
        """Make a tag, or move it, and write the event.

        Args:
            point: with its commit.
            expected: where it has to be; ``None``: there has to be none of that name.
            moved_at: since when it has to be there; ``None``: no matter.

        Returns:
            The tag as it is now, also where it was at ``point`` already, which changes nothing. ``None``: it is neither
            there nor as it has to be.

        Raises:
            NotFound: no such project, or ``point`` is none of its commits.
            QuotaExceeded: the project has ``MAX_TAGS``. Where several are made at the same moment, a few more may come
            to be.
        """

    def remove_tag(
        self,
        tenant: TenantId,
        project: ProjectId,
        name: TagName,
        event: OutboxEvent,
        *,
        expected: Point,
        moved_at: datetime | None = None,
    ) -> bool:
        """Remove a tag that is at ``expected``, and that since ``moved_at`` if that is given.

        Returns whether it was there. Raises NotFound: no such project.
        """

    def find_tag(self, tenant: TenantId, project: ProjectId, name: TagName) -> TagRow | None:
        """Return the tag of that name, of a living project."""

    def list_tags(
        self, tenant: TenantId, project: ProjectId, *, after_name: str = "", limit: int = 2 * MAX_TAGS
    ) -> list[TagRow]:
        """Return up to ``limit`` tags by name, those after ``after_name``: by default all there can be.

        Raises NotFound: no such project.
        """


def too_many_tags(project: ProjectId) -> QuotaExceeded:
    return QuotaExceeded(
        f"project {project} has {MAX_TAGS} tags, which is as many as a project may have",
        hint="remove one that is not needed: manifold untag PROJECT NAME",
    )
