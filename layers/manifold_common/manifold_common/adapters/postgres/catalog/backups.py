"""Copies of the catalog that somebody may go back to."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from manifold_common.adapters.postgres.catalog import rows
from manifold_common.adapters.postgres.database import Database, Row
from manifold_common.ports.catalog import DeclaredBackup

_COLUMNS = "name, declared_at, expires_at, expires_at <= now()"
_DECLARE = f"INSERT INTO declared_backups (name, expires_at) VALUES (%s, now() + %s) RETURNING {_COLUMNS}"
_LIST = f"SELECT {_COLUMNS} FROM declared_backups ORDER BY declared_at, name"
_RELEASE = """
WITH missing AS (
    SELECT DISTINCT asked COLLATE "C" AS name FROM unnest(%(names)s::text[]) AS asked
    WHERE NOT EXISTS (SELECT FROM declared_backups AS b WHERE b.name = asked)
), gone AS (
    DELETE FROM declared_backups WHERE name = ANY (%(names)s) AND NOT EXISTS (SELECT FROM missing) RETURNING 1
)
SELECT name FROM missing ORDER BY name
"""

IS_HELD = """EXISTS (SELECT FROM declared_backups AS b WHERE b.declared_at <= {} AND b.expires_at > now())"""
"""Whether a backup may refer to what was given up at a moment."""


class Backups:
    _db: Database

    def declare_backup(self, name: str, kept: timedelta) -> DeclaredBackup:
        return _backup(self._db.write(_DECLARE, (name, kept))[0])

    def declared_backups(self) -> list[DeclaredBackup]:
        return [_backup(row) for row in self._db.read(_LIST, ())]

    def release_backups(self, names: Sequence[str]) -> list[str]:
        return [name for (name,) in self._db.write(_RELEASE, {"names": list(names)})]


def _backup(row: Row) -> DeclaredBackup:
    name, declared_at, expires_at, is_over = row
    return DeclaredBackup(name, rows.utc(declared_at), rows.utc(expires_at), is_over)
