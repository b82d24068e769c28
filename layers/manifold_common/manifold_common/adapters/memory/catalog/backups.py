"""Copies of the catalog that somebody may go back to."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from manifold_common.adapters.memory.catalog.state import State
from manifold_common.errors import AlreadyExists
from manifold_common.ports.catalog import DeclaredBackup


class Backups:
    state: State

    def declare_backup(self, name: str, kept: timedelta) -> DeclaredBackup:
        with self.state.lock:
            if name in self.state.backups:
                raise AlreadyExists(f"there is a backup of the name {name} already")
            now = self.state.clock.now()
            self.state.backups[name] = (now, now + kept)
            return DeclaredBackup(name, now, now + kept, is_over=False)

    def declared_backups(self) -> list[DeclaredBackup]:
        with self.state.lock:
            now = self.state.clock.now()
            found = sorted((at, name, until) for name, (at, until) in self.state.backups.items())
        return [DeclaredBackup(name, at, until, until <= now) for at, name, until in found]

    def release_backups(self, names: Sequence[str]) -> list[str]:
        with self.state.lock:
            missing = sorted(set(names).difference(self.state.backups))
            for name in () if missing else set(names):
                del self.state.backups[name]
            return missing
