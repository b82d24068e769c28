"""The list of superseded objects of the catalog in memory, and the table of sessions that fills it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from manifold_common.ids import CommitId, ProjectId, SessionId, TenantId, UserId
from manifold_common.ports.catalog import SessionRow
from manifold_common.ports.clock import Clock
from manifold_common.ports.superseded import SupersededObject

SessionKey = tuple[TenantId, UserId, SessionId]


class MemorySuperseded:
    """Guarded by the catalog's lock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rows: dict[tuple[TenantId, ProjectId, CommitId], tuple[datetime, SupersededObject]] = {}

    def note(self, row: SessionRow) -> None:
        if row.draft is not None:
            one = SupersededObject(row.tenant, row.project, row.draft.generation, row.draft.commit)
            self._rows.pop((row.tenant, row.project, one.commit), None)
            self._rows[row.tenant, row.project, one.commit] = (self._clock.now(), one)

    def found(self, older_than_seconds: float, named: set[CommitId], limit: int) -> list[SupersededObject]:
        until = self._clock.now() - timedelta(seconds=older_than_seconds)
        over = sorted((row for row in self._rows.values() if row[0] <= until), key=lambda row: row[0])
        return [replace(one, is_named=one.commit in named) for _, one in over[:limit]]

    def forget(self, objects: Sequence[SupersededObject]) -> None:
        for one in objects:
            self._rows.pop((one.tenant, one.project, one.commit), None)


class SessionRows(dict[SessionKey, SessionRow]):
    """Sessions, by their key. Whatever ends a draft here is noted."""

    def __init__(self, superseded: MemorySuperseded) -> None:
        super().__init__()
        self._superseded = superseded

    def __setitem__(self, key: SessionKey, row: SessionRow) -> None:
        before = self.get(key)
        super().__setitem__(key, row)
        if before is not None and before.draft != row.draft:
            self._superseded.note(before)

    def __delitem__(self, key: SessionKey) -> None:
        self._superseded.note(self[key])
        super().__delitem__(key)
