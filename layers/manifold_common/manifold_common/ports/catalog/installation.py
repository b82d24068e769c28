"""What a catalog knows of itself: which installation it is of, and whether it is the original or a copy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from manifold_common.ids import CatalogId, IncarnationId


class DatabaseIdentity(NamedTuple):
    """Tells one database from a copy that was made by a dump, or on another server."""

    system_identifier: str
    """Of the server's data folder: made with it, and copied with it."""
    oid: int
    """Of the database on that server."""


@dataclass(frozen=True, slots=True)
class InstallationRow:
    catalog: CatalogId
    incarnation: IncarnationId
    settled_on: DatabaseIdentity
    """The database that the row was written for."""
    database: DatabaseIdentity
    """The database that it was found in."""
    store: str
    """The place of its objects when it was settled; ``""`` where that was never said."""


class Installation(Protocol):
    def installation(self) -> InstallationRow: ...

    def settle_installation(self, seen: IncarnationId, *, incarnation: IncarnationId, store: str) -> bool:
        """Write down that this database is that of ``incarnation`` now.

        Returns:
            Whether it was: not if its incarnation is no longer ``seen``.
        """
