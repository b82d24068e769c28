"""The outbox as it is read. A page is one statement: its events, and whether any is missing before them, are of one
moment. Of a whole tenant it goes up to the horizon (``event_horizon``)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from manifold_common.adapters.postgres.catalog import rows
from manifold_common.adapters.postgres.database import Database
from manifold_common.adapters.postgres.event_horizon import EventHorizon
from manifold_common.domain.event_place import BEGINNING, EventPlace, Followed
from manifold_common.ports.catalog import EventsPage, OutboxRow
from manifold_common.ports.catalog.event_feed import checked_place


class _Statements(NamedTuple):
    page: str
    end: str
    newest: str


def _statements(followed: str, shown: str, last_removed: str) -> _Statements:
    """Return what is asked of a project or of a tenant. It is said in the text, since each has an index of its own.

    Args:
        followed: the condition for events of it. shown: for those that are shown. last_removed: for what was removed,
            down to the last of it.
    """
    removed = f"FROM removed_events WHERE {last_removed}"
    page = f"""
SELECT k.removed, k.removed_at, k.there_at, {rows.OUTBOX}
FROM (
    SELECT
        (SELECT sequence {removed}) AS removed,
        (SELECT created_at {removed}) AS removed_at,
        (SELECT created_at FROM outbox WHERE {followed} AND sequence = %(after)s) AS there_at
) AS k LEFT JOIN LATERAL (
    SELECT * FROM outbox WHERE {shown} AND sequence > coalesce(%(after)s::bigint, k.removed, 0)
    ORDER BY sequence LIMIT %(limit)s
) AS o ON true
ORDER BY o.sequence
"""
    end = f"""
(SELECT sequence, created_at FROM outbox WHERE {shown} ORDER BY sequence DESC LIMIT 1)
UNION ALL
(SELECT sequence, created_at {removed})
ORDER BY sequence DESC LIMIT 1
"""
    newest = f"SELECT {rows.OUTBOX} FROM outbox AS o WHERE {shown} ORDER BY sequence DESC LIMIT 1"
    return _Statements(page, end, newest)


_IN_PROJECT: Final = "project_id = %(project)s AND tenant_id = %(tenant)s"
_IN_TENANT: Final = "tenant_id = %(tenant)s"
_OF_PROJECT: Final = _statements(_IN_PROJECT, _IN_PROJECT, _IN_PROJECT)
_OF_TENANT: Final = _statements(
    _IN_TENANT, f"{_IN_TENANT} AND sequence <= %(horizon)s", f"{_IN_TENANT} ORDER BY sequence DESC LIMIT 1"
)

WITH_NEWS: Final = """
SELECT k.position - 1
FROM unnest(%(tenants)s::text[], %(projects)s::text[], %(after)s::bigint[])
    WITH ORDINALITY AS k (tenant_id, project_id, after, position)
WHERE CASE WHEN k.project_id IS NULL
    THEN EXISTS (SELECT FROM outbox AS o WHERE o.tenant_id = k.tenant_id AND o.sequence > k.after)
    ELSE EXISTS (SELECT FROM outbox AS o
                 WHERE o.project_id = k.project_id AND o.tenant_id = k.tenant_id AND o.sequence > k.after)
END
ORDER BY k.position
"""


class EventFeed:
    _db: Database
    _horizon: EventHorizon

    def events_page(self, followed: Followed, after: EventPlace | None, *, limit: int) -> EventsPage:
        params = {**self._scope(followed), "after": after.sequence if after else None, "limit": limit}
        found = self._db.read(_asked_of(followed).page, params)
        removed, removed_at, there_at = found[0][:3]
        there = _behind(after.sequence if after else None, there_at)
        place = checked_place(after, _behind(removed, removed_at), there)
        shown = [rows.outbox(row[3:]) for row in found if row[3] is not None]
        return EventsPage(shown, EventPlace.behind(shown[-1].sequence, shown[-1].created_at) if shown else place)

    def events_end(self, followed: Followed) -> EventPlace:
        found = self._db.read(_asked_of(followed).end, self._scope(followed))
        return EventPlace.behind(found[0][0], rows.utc(found[0][1])) if found else BEGINNING

    def newest_event(self, followed: Followed) -> OutboxRow | None:
        found = self._db.read(_asked_of(followed).newest, self._scope(followed))
        return rows.outbox(found[0]) if found else None

    def with_news(self, places: Sequence[tuple[Followed, int]]) -> list[int]:
        params = {
            "tenants": [followed.tenant for followed, _ in places],
            "projects": [followed.project for followed, _ in places],
            "after": [after for _, after in places],
        }
        return [int(row[0]) for row in self._db.read(WITH_NEWS, params)]

    def _scope(self, followed: Followed) -> dict[str, Any]:
        if followed.project is None:
            return {"tenant": followed.tenant, "horizon": self._horizon.reach()}
        return {"tenant": followed.tenant, "project": followed.project}


def _asked_of(followed: Followed) -> _Statements:
    return _OF_TENANT if followed.project is None else _OF_PROJECT


def _behind(sequence: int | None, created_at: datetime | None) -> EventPlace | None:
    return None if sequence is None or created_at is None else EventPlace.behind(sequence, rows.utc(created_at))
