"""Superseded objects: noted by the table of sessions, read and forgotten here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from manifold_common.adapters.memory.catalog.state import State
from manifold_common.ports.catalog import SessionRow, SupersededObject


class Superseded:
    state: State

    def superseded_objects(self, older_than_seconds: float, *, limit: int = 100) -> list[SupersededObject]:
        with self.state.lock:
            named = {row.draft.commit for row in self._sessions() if row.draft is not None}
            named |= {commit for project in self.state.projects.values() for commit in project.by_id}
            until = self.state.clock.now() - timedelta(seconds=older_than_seconds)
            every = sorted(self.state.superseded.values(), key=lambda row: row[0])
            over = [row for row in every if row[0] <= until and not self.state.is_held(row[0])]
            return [replace(one, is_named=one.commit in named) for _, one in over[:limit]]

    def _sessions(self) -> list[SessionRow]:
        return [*self.state.sessions.values(), *self.state.deleted_sessions]

    def forget_superseded(self, objects: Sequence[SupersededObject]) -> None:
        with self.state.lock:
            for one in objects:
                self.state.superseded.pop((one.tenant, one.project, one.commit), None)
