"""The outbox as it is read. Every method of the catalog is one step here, so nothing turns up late."""

from __future__ import annotations

from collections.abc import Sequence

from manifold_common.adapters.memory.catalog.state import State
from manifold_common.adapters.memory.catalog.tables import Written
from manifold_common.domain.event_place import BEGINNING, EventPlace, Followed
from manifold_common.ports.catalog import EventsPage, OutboxRow
from manifold_common.ports.catalog.event_feed import checked_place


class EventFeed:
    state: State

    def events_page(self, followed: Followed, after: EventPlace | None, *, limit: int) -> EventsPage:
        with self.state.lock:
            found = self._of(followed)
            there = next((_behind(w) for w in found if after is not None and w.sequence == after.sequence), None)
            place = checked_place(after, self._removed(followed), there)
            shown = [written for written in found if written.sequence > place.sequence][:limit]
        return EventsPage([written.row() for written in shown], _behind(shown[-1]) if shown else place)

    def events_end(self, followed: Followed) -> EventPlace:
        with self.state.lock:
            shown = [_behind(written) for written in self._of(followed)[-1:]]
            return max(*shown, self._removed(followed) or BEGINNING, BEGINNING)

    def newest_event(self, followed: Followed) -> OutboxRow | None:
        with self.state.lock:
            found = self._of(followed)
            return found[-1].row() if found else None

    def with_news(self, places: Sequence[tuple[Followed, int]]) -> list[int]:
        with self.state.lock:
            return [
                index
                for index, (followed, after) in enumerate(places)
                if any(written.sequence > after for written in self._of(followed))
            ]

    def _of(self, followed: Followed) -> list[Written]:
        return [written for written in self.state.written if _is_followed(followed, written)]

    def _removed(self, followed: Followed) -> EventPlace | None:
        found = [_behind(written) for written in self.state.removed.values() if _is_followed(followed, written)]
        return max(found, default=None)


def _is_followed(followed: Followed, written: Written) -> bool:
    return written.tenant == followed.tenant and followed.project in (None, written.project)


def _behind(written: Written) -> EventPlace:
    return EventPlace.behind(written.sequence, written.created_at)
