"""Events for whoever asks for them: from a place on, page by page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from manifold_common.domain.access import Principal
from manifold_common.domain.event import PROJECT_DELETED, user_of
from manifold_common.domain.event_place import EventPlace, Followed
from manifold_common.ids import ProjectId
from manifold_common.ports.catalog import OutboxRow
from manifold_common.services.context import Context
from manifold_common.services.events.relay import cloud_event

_READ_AT_ONCE = 50
"""Events read from the catalog in one step: it bounds what is in memory, since one may have 256 KiB of paths."""


class FeedEvent(NamedTuple):
    type: str
    place: EventPlace
    """Behind it."""
    document: bytes
    """As sinks get it: JSON, in one line."""


class FeedPage(NamedTuple):
    events: list[FeedEvent]
    place: EventPlace
    """Where to go on."""
    has_more: bool
    """There is more already."""


class Feed:
    def __init__(self, context: Context, *, base_url: str) -> None:
        """
        Args:
            base_url: of this server, for links.
        """
        self._context = context
        self._base_url = base_url

    def page(
        self, followed: Followed, after: EventPlace | None = None, *, limit: int = 100, most_bytes: int = 1 << 20
    ) -> FeedPage:
        """Return the next events, those of ``most_bytes`` at most, and one at least if there is any.

        Args:
            after: ``None``: from the first place on from which none is missing.

        Raises:
            EventsGone: some after that place are not there any more.
        """
        events: list[FeedEvent] = []
        size = 0
        while True:
            asked = min(limit + 1 - len(events), _READ_AT_ONCE)
            found = self._context.catalog.events_page(followed, after, limit=asked)
            for row in found.rows:
                event = self._shown(row)
                size += len(event.document)
                if len(events) == limit or (events and size > most_bytes):
                    return FeedPage(events, events[-1].place, has_more=True)
                events.append(event)
            after = found.place
            if len(found.rows) < asked:
                return FeedPage(events, after, has_more=False)

    def end(self, followed: Followed) -> EventPlace:
        """Return the place behind what has happened by now."""
        return self._context.catalog.events_end(followed)

    def with_news(self, places: Sequence[tuple[Followed, int]]) -> list[int]:
        """Return the indexes of those for whom there may be something new after a sequence, in one look."""
        return self._context.catalog.with_news(places)

    def is_told_of_deletion(self, principal: Principal, project: ProjectId, after: EventPlace) -> bool:
        """Tell whether the user's project was deleted, and somebody who has seen what there was up to ``after`` has
        still to hear of it."""
        newest = self._context.catalog.newest_event(Followed(principal.tenant, project))
        return (
            newest is not None
            and newest.type == PROJECT_DELETED
            and user_of(newest.data) == principal.user
            and newest.sequence > after.sequence
        )

    def _shown(self, row: OutboxRow) -> FeedEvent:
        place = EventPlace.behind(row.sequence, row.created_at)
        return FeedEvent(row.type, place, cloud_event(row, self._base_url).encode())
