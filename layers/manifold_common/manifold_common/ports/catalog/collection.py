"""What history ends by, and what decides that an object of the store is garbage.

Projects that share stored content are a *fork family*: a project, its forks, their forks. An object is kept for as long
as anything of any of them refers to it, so a family is looked at as one.

The order in which an object goes, and why nothing comes to refer to it meanwhile:

1. *suspected*: nothing was found to refer to it. In the same transaction the ``gc_epoch`` of every project of the
   family moves on. Whoever read places of content before that moment (a commit, a draft, a fork, a checkpoint, a part
   of an upload) and writes after it is refused, looks which of its objects are suspected, and stores those anew.
2. Whatever was written before that moment can be seen now. Objects that some of it refers to are *cleared*.
3. *condemned*: the others, if since that moment nobody else has suspected anything of the family, and nothing of it was
   removed: whoever read a reference after that moment could add another one after it is gone. Nothing can come to refer
   to them any more.
4. After a grace they are removed from the store, and *forgotten* here.

Cut off anywhere, the next collection goes on: what is suspected is never removed before it was looked for again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import NamedTuple, Protocol

from manifold_common.domain.garbage import Cause, Garbage
from manifold_common.domain.keys import KeyRecord
from manifold_common.ids import CommitId, Generation, ProjectId, TenantId, TenantProject
from manifold_common.ports.catalog.checkpoints import CheckpointRow
from manifold_common.ports.catalog.commits import CommitRow, Head
from manifold_common.ports.catalog.drafts import DraftRef
from manifold_common.ports.catalog.outbox import OutboxEvent
from manifold_common.ports.catalog.resumable_uploads import ResumableUpload, UploadPart
from manifold_common.ports.catalog.uploads import Upload


class Standing(Enum):
    """Of a project, for the collector."""

    ALIVE = "alive"
    DELETED = "deleted"
    """It may be brought back."""
    PURGED = "purged"
    """Nothing of its own is kept."""


class Member(NamedTuple):
    """A project of a fork family."""

    project: ProjectId
    standing: Standing
    head: Head


class Moment(NamedTuple):
    """Of a project: what says that nobody has suspected objects since, and that no reference has gone."""

    gc_epoch: int
    removals: int


class Retention(NamedTuple):
    """How long a project's history is kept. ``None``: as the deployment says."""

    generations: int | None = None
    days: int | None = None


@dataclass(frozen=True, slots=True)
class Holdings:
    """All that the catalog says of a project, alive or deleted, at one moment or later ones."""

    tenant: TenantId
    project: ProjectId
    standing: Standing
    head: Head
    removals: int
    """How often generations were removed, or checkpoints replaced by others."""
    retention: Retention
    collected: bytes | None
    """Of a leader: what was noted at its last collection that found no garbage."""
    now: datetime
    """By the catalog's clock."""
    commits: Sequence[CommitRow]
    """Those that are kept, oldest first, without their notes."""
    checkpoints: Sequence[CheckpointRow]
    drafts: Sequence[DraftRef]
    pinned: frozenset[Generation]
    """Generations that tags, sessions and drafts stand on."""
    keys: Sequence[KeyRecord]
    uploads: Sequence[Upload]
    resumable: Sequence[tuple[ResumableUpload, Sequence[UploadPart]]]
    superseded: frozenset[tuple[Generation, CommitId]]
    """Commit objects, by what their keys are made of, that have a time of their own to go."""
    listed: frozenset[str]
    """Keys, below the project's folder, of objects that are condemned."""
    suspected: Sequence[Garbage]


class Condemned(NamedTuple):
    """An object whose time in the store is over."""

    tenant: TenantId
    project: ProjectId
    object: str
    """Its key below the project's folder."""
    bytes: int


class GarbageTotal(NamedTuple):
    """What is condemned and not removed yet."""

    project: ProjectId
    reason: Cause
    objects: int
    bytes: int


class Collection(Protocol):
    def fork_families(self, *, after: TenantProject | None = None, limit: int = 100) -> list[TenantProject]:
        """Return the projects, alive or not, that are no fork, by tenant and id: each leads a family."""

    def family_of(self, tenant: TenantId, project: ProjectId) -> ProjectId:
        """Return what leads a project's family. Raises NotFound: there never was such a project."""

    def fork_family(self, tenant: TenantId, leader: ProjectId) -> list[Member]:
        """Return the projects of a family, alive or not, by id."""

    def holdings(self, tenant: TenantId, project: ProjectId) -> Holdings:
        """Return what there is of a project, alive or not. Read in several statements: what is added meanwhile may be
        there or not. Raises NotFound: there never was such a project."""

    def remove_generations(
        self,
        tenant: TenantId,
        project: ProjectId,
        generations: Sequence[Generation],
        event: OutboxEvent,
    ) -> bool:
        """Take generations out of the history, with their checkpoints.

        Returns:
            Whether they were removed. ``False``: one is the head, a tag, a session or a draft stands on one, or one
            that would be left without its predecessor has no checkpoint that counts. Nothing was changed.
        """

    def history_starts(self, tenant: TenantId, project: ProjectId) -> tuple[int, list[Generation]]:
        """Return how often generations were removed or checkpoints replaced, and the kept generations after 1 whose
        predecessor was removed. Raises NotFound."""

    def record_hashes(self, tenant: TenantId, project: ProjectId, generation: Generation) -> list[bytes]:
        """Return the record hashes of all generations up to ``generation``, removed ones too, the first one's first.
        The project may be deleted."""

    def was_removed(self, tenant: TenantId, project: ProjectId, since: datetime) -> bool:
        """Tell whether a generation that was recorded from ``since`` on has been removed."""

    def suspect(
        self, tenant: TenantId, family: Sequence[ProjectId], found: Sequence[tuple[ProjectId, Garbage]]
    ) -> dict[ProjectId, int]:
        """Note objects that nothing was found to refer to, and move the epoch of each project of the family on. Returns
        the epochs."""

    def settle(
        self,
        tenant: TenantId,
        family: Mapping[ProjectId, Moment],
        cleared: Sequence[tuple[ProjectId, str]],
        condemned: Sequence[tuple[ProjectId, str]],
    ) -> bool:
        """Take suspected objects off the list, and have others condemned from now on. Objects that are not suspected
        stay as they are.

        Returns:
            Whether that was done. ``False``: a project is not at its moment any more. Nothing was changed.
        """

    def note_collected(self, tenant: TenantId, leader: ProjectId, state: bytes) -> None:
        """Note a digest of what a collection saw that found no garbage."""

    def condemned_among(
        self, tenant: TenantId, project: ProjectId, objects: Sequence[tuple[ProjectId, str]]
    ) -> tuple[int, set[tuple[ProjectId, str]]]:
        """Return the ``gc_epoch`` of ``project``, and which of ``objects`` are suspected or condemned at it. Raises
        NotFound."""

    def condemned_objects(self, older_than_seconds: float, *, limit: int = 100) -> list[Condemned]:
        """Return objects of every tenant that were condemned that long ago, oldest first, but for those that a declared
        backup may need."""

    def forget_condemned(self, objects: Sequence[Condemned]) -> None:
        """Take these off the list: they are gone from the store."""

    def garbage_of(self, tenant: TenantId, projects: Sequence[ProjectId]) -> list[GarbageTotal]:
        """Return what is condemned of each project, by reason."""
