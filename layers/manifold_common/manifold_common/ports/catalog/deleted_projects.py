"""The catalog's deleted projects: for a while they can be brought back, and then they are purged for ever.

A deleted project keeps its history, keys and tags, and those of its sessions that hold a draft, where nothing else sees
them. How long, its grace, counts by the catalog's clock. A purge takes all of that away; what is left is a tombstone,
since forks refer to the project, and may go on to refer to its objects.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol, TypeAlias

from manifold_common.domain.listing import EVERY_PROJECT, ProjectFilter
from manifold_common.ids import ProjectId, SessionId, TenantId, TenantProject, UserId
from manifold_common.ports.catalog.outbox import OutboxEvent
from manifold_common.ports.catalog.projects import ProjectRow
from manifold_common.ports.catalog.sessions import SessionRow

DeletedPlace: TypeAlias = tuple[str, ProjectId]
"""A place in the list of deleted projects: several may have one name."""


@dataclass(frozen=True, slots=True)
class DeletedProject:
    row: ProjectRow
    """As it was when it was deleted."""
    deleted_at: datetime
    """By the catalog's clock."""


class DeletedProjects(Protocol):
    def deleted_projects(
        self,
        tenant: TenantId,
        owner: UserId,
        grace: timedelta,
        *,
        wanted: ProjectFilter = EVERY_PROJECT,
        after: DeletedPlace | None = None,
        limit: int = 100,
    ) -> list[DeletedProject]:
        """Return up to ``limit`` of the owner's projects that can still be brought back, by name and id, those after
        ``after``."""

    def find_deleted(self, tenant: TenantId, project: ProjectId, grace: timedelta) -> DeletedProject | None:
        """Return a deleted project that can still be brought back."""

    def deleted_sessions(self, tenant: TenantId, project: ProjectId) -> list[SessionRow]:
        """Return the sessions that were deleted with a project and hold a draft, by user and id. A living or a purged
        project has none."""

    def undelete_project(
        self,
        deleted: DeletedProject,
        name: str,
        event: OutboxEvent,
        *,
        grace: timedelta,
        ttl: timedelta,
        others: Mapping[tuple[UserId, SessionId], SessionId],
    ) -> ProjectRow | None:
        """Bring a project back under ``name``, with its sessions, which then last for ``ttl``.

        Args:
            others: for each of ``deleted_sessions``, the id that it gets if its user has opened another session of its
                own id meanwhile.

        Returns:
            The project; ``None``: nothing was changed, for it is not deleted any more, was deleted again since, or
            cannot be brought back any more.

        Raises:
            AlreadyExists: its owner has a project of that name.
        """

    def purge_projects(self, grace: timedelta, *, limit: int = 1) -> list[TenantProject]:
        """Purge up to ``limit`` projects of every tenant that cannot be brought back any more, and return them.

        Their commits, checkpoints, tags, keys, uploads and sessions are gone then; but of very long histories commits
        and keys go with later calls, some with each, whether or not there is another project to purge. What these
        named in the store is garbage, but for what forks refer to; drafts are noted as superseded. One into which an
        object may still be stored, by a link that was given out before, is left to a later call.
        """
