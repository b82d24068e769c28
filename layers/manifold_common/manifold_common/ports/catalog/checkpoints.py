"""The catalog's checkpoints, and what is to be read from one on to know a tree.

A checkpoint only saves reading: without any, a tree is known from all commits up to its generation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol

from manifold_common.domain.history import Point
from manifold_common.ids import CommitId, DekId, Generation, ObjectId, ProjectId, TenantId
from manifold_common.ports.catalog.commits import CommitRow, Head


@dataclass(frozen=True, slots=True)
class CheckpointRow:
    """A whole tree kept as one object, for the generation it names."""

    generation: Generation
    commit: CommitId
    dek: DekId
    object_bytes: int
    object_id: ObjectId | None = None
    """``None``: it is of before its object id was a part of its name, and may have been written more than once."""


class ReadPlan(NamedTuple):
    """What has to be read to know the tree of a generation."""

    head: Head
    generation: Generation
    """The one asked for, or the head's."""
    checkpoint: CheckpointRow | None
    """The newest at or before ``generation``, and after all that is known of it. Once an epoch has begun, unsealed ones
    do not count."""
    commits: Sequence[CommitRow]
    """Those after the checkpoint (or after what is known, or from the first), oldest first, up to ``generation``."""
    committed_at: datetime | None = None
    """Of the commit of ``generation``; ``None`` at 0."""
    known: Sequence[Point] = ()
    """Those points asked with that are in this history. The others are of one that was replaced."""


class Checkpoints(Protocol):
    def add_checkpoint(self, tenant: TenantId, project: ProjectId, row: CheckpointRow, *, gc_epoch: int = 0) -> None:
        """Record a checkpoint whose object is stored; a second one for a generation replaces the first.

        Args:
            gc_epoch: at which the places were read that it refers to.

        Raises:
            NotFound: no such project, or it has no such commit at that generation.
            ContentCollected: ``gc_epoch`` is another one by now.
        """

    def list_checkpoints(self, tenant: TenantId, project: ProjectId) -> list[CheckpointRow]:
        """Return all, newest first. Raises NotFound."""

    def read_plan(
        self,
        tenant: TenantId,
        project: ProjectId,
        generation: Generation | None = None,
        *,
        known: Sequence[Point] = (),
    ) -> ReadPlan:
        """Return what to read for ``generation`` (``None``: the head), given the trees of ``known``.

        What to read begins after the newest of them that is in this history and not beyond ``generation``. The catalog
        compares commits, not numbers: after it was restored from a backup, a number may stand for another tree.

        Args:
            known: points with their commits; none of generation 0.

        Raises:
            NotFound: no such project, or ``generation`` is beyond its head.
        """
