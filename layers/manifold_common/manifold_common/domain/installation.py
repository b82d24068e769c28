"""What a process knows of the installation that it works for."""

from __future__ import annotations

from dataclasses import dataclass

from manifold_common.errors import NotAdopted
from manifold_common.ids import CatalogId, IncarnationId


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of the installation of this process."""

    catalog: CatalogId
    incarnation: IncarnationId
    node: str
    doubt: str | None
    """Why it may be a copy; ``None`` when it is not."""

    def admit(self) -> None:
        """Raises NotAdopted: it may be a copy, and nobody has said which of the two goes on."""
        if self.doubt is not None:
            raise NotAdopted(self.doubt)
