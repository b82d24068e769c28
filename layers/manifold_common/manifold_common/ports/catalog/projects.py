"""The catalog's projects: names, owners, sizes, and what is a fork of what.

A project that was deleted is seen nowhere but among the deleted ones (``deleted_projects``). Its row stays for ever, as
a tombstone in the end, because forks may refer to what it has stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from manifold_common.domain.history import Version
from manifold_common.domain.keys import Encryption, KeyRecord
from manifold_common.domain.listing import EVERY_PROJECT, ProjectFilter
from manifold_common.errors import AlreadyExists
from manifold_common.ids import Generation, ProjectId, TenantId, TenantProject, UserId
from manifold_common.ports.catalog.collection import Retention
from manifold_common.ports.catalog.commits import Head, Publication
from manifold_common.ports.catalog.outbox import OutboxEvent


@dataclass(frozen=True, slots=True)
class ProjectRow:
    tenant: TenantId
    project: ProjectId
    owner: UserId
    name: str
    head: Head
    tree_bytes: int
    """Sum of file sizes at the head."""
    tree_files: int
    """Entries of any kind at the head, the root folder not counted."""
    created_at: datetime
    updated_at: datetime
    encryption: Encryption = Encryption.ALL
    """By the project's keys."""
    revision: int = 0
    """Counts the changes to this row that make no generation: renames, other rules of retention, the beginning of
    encryption, undeletions."""

    @property
    def version(self) -> Version:
        return Version(self.head.point, self.revision)


class Projects(Protocol):
    def create_project(
        self,
        row: ProjectRow,
        keys: Sequence[KeyRecord],
        event: OutboxEvent,
        *,
        fork_of: tuple[ProjectId, Generation] | None = None,
        source: Version | None = None,
        first: Publication | None = None,
    ) -> None:
        """Add an empty project (its head is generation 0) with its keys, oldest first.

        With ``fork_of``, also record that this project refers to objects of another one of its tenant (alive or
        deleted, but not purged), which keeps those from being collected; with ``source``, only if that project is alive
        and in this state. With ``first``, a publication on the empty project that moves no session, its first commit
        becomes visible together with it, as if it had been published right after.

        Raises:
            AlreadyExists: the owner has a project of that name, or the project id is taken.
            NotFound: the tenant has no project ``fork_of``, or that project never reached the generation.
            GenerationMismatch, PreconditionFailed: the project ``fork_of`` is in another state than ``source``.
            InternalError: the key of the first commit is not one of ``keys``.
        """

    def get_project(self, tenant: TenantId, project: ProjectId) -> ProjectRow:
        """Raises NotFound: no such project in this tenant, or it was deleted."""

    def find_project(self, tenant: TenantId, owner: UserId, name: str) -> ProjectRow | None:
        """Return the owner's project of that name."""

    def list_projects(
        self,
        tenant: TenantId,
        owner: UserId,
        *,
        wanted: ProjectFilter = EVERY_PROJECT,
        after_name: str = "",
        limit: int = 100,
    ) -> list[ProjectRow]:
        """Return up to ``limit`` projects by name, those after ``after_name``. For times all of the owner's are looked
        at, from there on."""

    def all_projects(self, *, after: TenantProject | None = None, limit: int = 100) -> list[ProjectRow]:
        """Return living projects of every tenant, by tenant and id (for the host's housekeeping)."""

    def rename_project(
        self, tenant: TenantId, project: ProjectId, name: str, event: OutboxEvent, *, expected: Version | None = None
    ) -> ProjectRow:
        """Args: ``expected``: only if it is in this state.

        Raises:
            NotFound. AlreadyExists: the owner has another project of that name. GenerationMismatch, PreconditionFailed:
            it is in another state than ``expected``.
        """

    def set_retention(
        self,
        tenant: TenantId,
        project: ProjectId,
        retention: Retention,
        event: OutboxEvent,
        *,
        expected: Version | None = None,
    ) -> bool:
        """Say how long the project's history is kept. Removes nothing by itself.

        Args: ``expected``: only if it is in this state.

        Returns whether that is new; if not, nothing was changed, and no event was written.

        Raises:
            NotFound. GenerationMismatch, PreconditionFailed: it is in another state than ``expected``.
        """

    def delete_project(
        self,
        tenant: TenantId,
        project: ProjectId,
        event: OutboxEvent,
        *,
        expected: Version | None = None,
        only_unused: bool = False,
    ) -> datetime:
        """Make the project, its sessions and its history invisible; its name is free again at once. For a while it can
        be brought back (``deleted_projects``). Sessions that have no draft have ended.

        Args:
            expected: only if it is in this state.
            only_unused: only if it is at generation 0 and has no session.

        Returns:
            When that was, by the catalog's clock.

        Raises:
            NotFound: no such project, or it is deleted already; or it is used, and was to be unused.
            GenerationMismatch, PreconditionFailed: it is in another state than ``expected``.
        """

    def forks_of(self, tenant: TenantId, source: ProjectId) -> list[tuple[ProjectId, Generation]]:
        """Return the living forks of a project (alive or deleted) and the generation each was made from.

        A fork of a fork counts too, even if the one between was deleted, since it still refers to the objects of
        ``source``; the generation is then the one of ``source`` that its line left from.
        """


def name_taken(name: str) -> AlreadyExists:
    """A deleted project cannot come back under a name that another has."""
    return AlreadyExists(
        f"there is a project named {name!r} already",
        hint="give the deleted one another name: 'manifold project undelete ID --name NAME'",
    )
