"""The outbox as it is read: what has happened in a project, or in a tenant, from a place on.

Events have the order of their ``sequence``, and a reader who goes on from the last one that it has seen misses none:
what is shown is only that before which nothing can turn up any more. What was removed is noted, so that a place before
it is refused instead of passed over; so is a place in a history that this catalog does not have, because it was
restored from a backup.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from manifold_common.domain.event_place import BEGINNING, EventPlace, Followed
from manifold_common.errors import EventsGone
from manifold_common.ports.catalog.outbox import OutboxRow


@dataclass(frozen=True, slots=True)
class EventsPage:
    rows: Sequence[OutboxRow]
    """In order."""
    place: EventPlace
    """Where to go on: behind the last row, or where the page began."""


class EventFeed(Protocol):
    def events_page(self, followed: Followed, after: EventPlace | None, *, limit: int) -> EventsPage:
        """Return what came after a place.

        Args:
            after: ``None``: the first place from which on nothing was removed.

        Raises:
            EventsGone: something after that place was removed, or this catalog's history does not have it.
        """

    def events_end(self, followed: Followed) -> EventPlace:
        """Return the place behind all that has been shown by now, removed since or not."""

    def newest_event(self, followed: Followed) -> OutboxRow | None:
        """Return the newest event that has not been removed, if there is any."""

    def with_news(self, places: Sequence[tuple[Followed, int]]) -> list[int]:
        """Return the indexes of those after whose sequence something was written, in one look. Of a whole tenant it may
        be something that is shown only a moment later."""


def checked_place(after: EventPlace | None, removed: EventPlace | None, there: EventPlace | None) -> EventPlace:
    """Return where a page begins. Raises EventsGone.

    Args:
        after: where it is to begin, if the reader knows.
        removed: behind the last of what was removed, if anything was.
        there: behind the event of that sequence in what is followed, if it is still there.
    """
    last = removed or BEGINNING
    if after is None:
        return last
    if last.sequence > after.sequence:
        raise EventsGone("events after the cursor have been removed, since they were older than the server keeps them")
    if after not in (BEGINNING, last, there):
        raise EventsGone("the cursor is from a history that this server does not have: its database was restored")
    return after
