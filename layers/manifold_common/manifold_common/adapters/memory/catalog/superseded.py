"""Superseded objects: noted by the table of sessions, read and forgotten here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from manifold_common.adapters.memory.catalog.state import State
from manifold_common.ports.catalog import SupersededObject


class Superseded:
    state: State

    def superseded_objects(self, older_than_seconds: float, *, limit: int = 100) -> list[SupersededObject]:
        with self.state.lock:
            named = {row.draft.commit for row in self.state.sessions.values() if row.draft is not None}
            named |= {commit for project in self.state.projects.values() for commit in project.by_id}
            until = self.state.clock.now() - timedelta(seconds=older_than_seconds)
            over = sorted((row for row in self.state.superseded.values() if row[0] <= until), key=lambda row: row[0])
            return [replace(one, is_named=one.commit in named) for _, one in over[:limit]]

    def forget_superseded(self, objects: Sequence[SupersededObject]) -> None:
        with self.state.lock:
            for one in objects:
                self.state.superseded.pop((one.tenant, one.project, one.commit), None)
