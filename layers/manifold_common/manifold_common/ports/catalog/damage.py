"""The catalog's damaged objects: what verifications of a project have found, until one finds it whole.

Whoever can write to the bucket can damage as much as there is: of each project only so many are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple, Protocol

from manifold_common.ids import Generation, ProjectId, TenantId

MAX_DAMAGED: Final = 1000
"""Objects that are kept of one project. Where several verifications end at the same moment, a few more may be."""


class FoundDamage(NamedTuple):
    object: str
    """Its name in the store."""
    reason: str
    first_generation: Generation | None
    """The first that refers to it; ``None``: it is a key, or saved work alone."""


@dataclass(frozen=True, slots=True)
class DamageRow:
    object: str
    reason: str
    first_generation: Generation | None
    found_at: datetime
    seen_at: datetime
    """When it was found last: later each time."""


class Damages(Protocol):
    def damaged_objects(
        self, tenant: TenantId, project: ProjectId, *, after: str = "", limit: int = MAX_DAMAGED
    ) -> list[DamageRow]:
        """Return damaged objects by name, those after ``after``."""

    def count_damaged(self) -> int:
        """Return how many there are, of all living projects of every tenant."""

    def note_damage(
        self, tenant: TenantId, project: ProjectId, found: Sequence[FoundDamage], sound: Sequence[DamageRow] = ()
    ) -> None:
        """Write down what is damaged, each object once, and forget what is whole.

        Of more than ``MAX_DAMAGED`` the first of ``found`` are kept, beside those that are known. Of a project that is
        gone, nothing is written.

        Args:
            sound: as they were before they were looked at, none of them in ``found``; one that has been found damaged
                since stays.
        """
