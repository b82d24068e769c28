"""The catalog's list of superseded objects: those that it once named and no longer does.

Whatever ends a reference (a draft that is replaced, dropped or published under another id; a session that is closed or
has ended; a project that is deleted) puts the object on this list, in the same transaction. There it stays until its
time is over and it has been removed from the store.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from manifold_common.ids import CommitId, Generation, ProjectId, TenantId


@dataclass(frozen=True, slots=True)
class SupersededObject:
    """A commit object, by what its key is made of."""

    tenant: TenantId
    project: ProjectId
    generation: Generation
    commit: CommitId
    is_named: bool = False
    """The catalog does name it again: it must stay in the store."""


class Superseded(Protocol):
    def superseded_objects(self, older_than_seconds: float, *, limit: int = 100) -> list[SupersededObject]:
        """Return objects of every tenant that were superseded that long ago, by the catalog's clock; oldest first."""

    def forget_superseded(self, objects: Sequence[SupersededObject]) -> None:
        """Take these off the list. Those that are not on it are no error."""
