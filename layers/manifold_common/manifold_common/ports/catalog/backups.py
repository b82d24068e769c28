"""Copies of the catalog that somebody may go back to. Whatever such a copy refers to stays in the store.

One is declared before it is made. From then on nothing that is condemned, or that a draft gives up, leaves the store,
until its time is over or it is released.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol


class DeclaredBackup(NamedTuple):
    name: str
    declared_at: datetime
    expires_at: datetime
    is_over: bool
    """Its time is over, by the catalog's clock: it holds nothing any more."""


class Backups(Protocol):
    def declare_backup(self, name: str, kept: timedelta) -> DeclaredBackup:
        """Add a backup that is made from now on. Raises AlreadyExists: there is one of that name."""

    def declared_backups(self) -> list[DeclaredBackup]:
        """Return all, oldest first."""

    def release_backups(self, names: Sequence[str]) -> list[str]:
        """Remove all of these, if all are there, or none; return which are not, each once, in order."""
