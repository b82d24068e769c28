"""Backups that are declared: whatever they refer to stays in the store, until their time is over."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta

from manifold_common.errors import InvalidInput, NotFound
from manifold_common.ports.catalog import DeclaredBackup
from manifold_common.ports.catalog import backups as port
from manifold_common.shapes.backups import Backup

MAX_DAYS = 3650
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,99}\Z")


class Backups:
    def __init__(self, catalog: port.Backups) -> None:
        self._catalog = catalog

    def declare(self, name: str, days: int) -> Backup:
        """Add a backup that is made from now on. Declare it before the catalog is dumped.

        Raises InvalidInput: the name or the time. AlreadyExists.
        """
        if not _NAME.match(name):
            raise InvalidInput(
                f"{name[:100]!r} is no name for a backup",
                hint="up to 100 letters, digits, '.', '_', ':' and '-', as in 2026-03-01",
            )
        if not 1 <= days <= MAX_DAYS:
            raise InvalidInput(f"a backup cannot be kept for {days} days", hint=f"1 to {MAX_DAYS}")
        return _told(self._catalog.declare_backup(name, timedelta(days=days)))

    def all(self) -> list[Backup]:
        """Return all, oldest first."""
        return list(map(_told, self._catalog.declared_backups()))

    def release(self, names: Sequence[str]) -> None:
        """Let go what only these backups refer to. Raises NotFound: one of them is not there; all others stay."""
        missing = [name for name in names if not _NAME.match(name)] or self._catalog.release_backups(names)
        if missing:
            others = "; none of the others was released" if len(set(names)) > 1 else ""
            raise NotFound(f"there is no backup {missing[0][:100]!r}{others}", hint="'manifold backup list' shows them")


def _told(found: DeclaredBackup) -> Backup:
    return Backup(name=found.name, declared_at=found.declared_at, expires_at=found.expires_at, over=found.is_over)
