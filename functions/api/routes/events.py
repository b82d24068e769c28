"""What has happened, in a project or in all of a tenant's, and a wait for what happens next."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import Annotated, Any

import anyio
import msgspec
from fastapi import Header, Query, Request, Response
from manifold_common.domain.api_address import API
from manifold_common.domain.event_place import EventPlace, Followed
from manifold_common.errors import EventsGone, InvalidInput, NotFound
from manifold_common.ids import ProjectId, parse_project_id
from manifold_common.services.events.feed import FeedPage
from manifold_common.shapes.cursors import Content, Cursors
from manifold_common.shapes.events import EventPage
from msgspec import Meta

from functions.api.caller import Call, Caller, ProjectRef
from functions.api.event_stream import MEDIA_TYPE, finite, is_asked_for, streamed
from functions.api.paging import DEFAULT_PAGE, Limit
from functions.api.presence import LONGEST_WAIT_SECONDS, awaited
from functions.api.problem import responses
from functions.api.shaped import Router
from functions.invocation.bounds import MAX_PAGE_BYTES

router = Router(prefix=API, tags=["events"])

NOW = "now"

_Whole = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class _Key(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    sequence: _Whole
    written_at: _Whole
    project: ProjectId | None
    """Of which the list was."""

    @property
    def place(self) -> EventPlace:
        return EventPlace(self.sequence, self.written_at)


_CURSORS = Cursors("events", msgspec.msgpack.Decoder(Content[_Key]))

Since = Annotated[
    str | None,
    Query(
        description="`next_cursor` of the page before. `now`: only what is to come. Without it: from the oldest event "
        "on, from which none is missing."
    ),
]
Wait = Annotated[
    int,
    Query(
        ge=0,
        le=LONGEST_WAIT_SECONDS,
        description="Where there is nothing yet: wait for so many seconds at most until there is. Like `limit`, not "
        "for a stream that goes on.",
    ),
]
LastEventId = Annotated[
    str | None,
    Header(
        alias="Last-Event-ID",
        description="`id` of the last event of a stream that is taken up again: counts instead of `since`.",
    ),
]
_ANSWERS: dict[int | str, dict[str, Any]] = {
    **responses(404, 410),
    200: {
        "description": "What has happened; as JSON, or as a stream that goes on.",
        "content": {MEDIA_TYPE: {"schema": {"type": "string"}}},
    },
}


@router.get("/events", responses=_ANSWERS)
async def list_events(
    request: Request,
    response: Response,
    caller: Caller,
    since: Since = None,
    limit: Limit = DEFAULT_PAGE,
    wait: Wait = 0,
    last_event_id: LastEventId = None,
) -> EventPage | Response:
    """Say what has happened in all projects, in order, as CloudEvents.

    With `Accept: text/event-stream` the answer is a stream of server-sent events that goes on.
    """
    begin = _since_of(request, since, last_event_id)
    return await _answer(request, response, _Reader(caller, None), begin, limit, wait)


@router.get("/projects/{project}/events", responses=_ANSWERS)
async def list_project_events(
    request: Request,
    response: Response,
    caller: Caller,
    project: ProjectRef,
    since: Since = None,
    limit: Limit = DEFAULT_PAGE,
    wait: Wait = 0,
    last_event_id: LastEventId = None,
) -> EventPage | Response:
    """Say what has happened in a project, in order, as CloudEvents.

    With `Accept: text/event-stream` the answer is a stream of server-sent events that goes on.
    """
    begin = _since_of(request, since, last_event_id)
    found = await anyio.to_thread.run_sync(_project_of, caller, project, begin)
    reader = _Reader(caller, found, by_name=project != found)
    return await _answer(request, response, reader, begin, limit, wait)


class _Reader:
    """Who reads, and what."""

    def __init__(self, caller: Call, project: ProjectId | None, *, by_name: bool = False) -> None:
        self.api = caller.api
        self._caller = caller
        self._by_name = by_name
        self._feed = caller.manifold.feed
        self._list_of = (caller.principal, project)
        self.followed = Followed(caller.principal.tenant, project)

    def cursor_of(self, place: EventPlace) -> str:
        return _CURSORS.write(_Key(*place, self.followed.project), *self._list_of)

    async def place_of(self, since: str | None) -> EventPlace | None:
        """Raises InvalidCursor. EventsGone: it is of a project that had the name before."""
        if since == NOW:
            return await anyio.to_thread.run_sync(self._feed.end, self.followed)
        if since is not None and self._by_name:
            of = _CURSORS.key_of(since).project
            if of not in (None, self.followed.project) and await anyio.to_thread.run_sync(self._is_gone, of):
                raise EventsGone("the cursor is of a project that was deleted, and another one has its name now")
        found = _CURSORS.read(since, *self._list_of)
        return None if found is None else found.place

    def _is_gone(self, project: ProjectId) -> bool:
        try:
            self._caller.project_id(project)
        except NotFound:
            return True
        return False

    async def read(self, after: EventPlace | None, limit: int, most_bytes: int) -> FeedPage:
        page = partial(self._feed.page, self.followed, after, limit=limit, most_bytes=most_bytes)
        return await anyio.to_thread.run_sync(page)


async def _answer(
    request: Request, response: Response, reader: _Reader, since: str | None, limit: int, wait: int
) -> EventPage | Response:
    is_stream, api = is_asked_for(request), reader.api
    goes_on = is_stream and not api.is_buffered
    if goes_on:
        _check_goes_on(request)
    after = await reader.place_of(since)
    if goes_on:
        return await streamed(request, api, reader.followed, after, reader.read, reader.cursor_of)

    async def read(before: FeedPage | None) -> FeedPage:
        return await reader.read(after if before is None else before.place, limit, MAX_PAGE_BYTES)

    def place_of(page: FeedPage) -> tuple[Followed, int] | None:
        return None if page.events else (reader.followed, page.place.sequence)

    page = await awaited(request, api, api.watch, wait, read, place_of)
    if is_stream:
        return finite(request, page, after, reader.cursor_of)
    response.headers["Vary"] = "Accept"
    documents = [event.document for event in page.events]
    return EventPage.of(documents, reader.cursor_of(page.place), has_more=page.has_more)


def _since_of(request: Request, since: str | None, last_event_id: str | None) -> str | None:
    """Raises InvalidInput: there are two ids."""
    if len(request.headers.getlist("last-event-id")) > 1:
        raise InvalidInput(
            "the request has Last-Event-ID twice", hint="send one Last-Event-ID, the id of the last event"
        )
    return last_event_id or since


def _check_goes_on(request: Request) -> None:
    """Raises InvalidInput: the request says when a stream that goes on is to end."""
    for name in ("limit", "wait"):
        if name in request.query_params:
            raise InvalidInput(
                f"a stream goes on, so there is no {name} to it",
                hint=f"leave {name} out, or ask for pages with -H 'Accept: application/json'",
                parameter=name,
            )


def _project_of(caller: Call, name_or_id: str, since: str | None) -> ProjectId:
    """Return which project is meant; by its id also one that was deleted, as long as a reader who has followed it has
    still to hear of that. Raises NotFound."""
    try:
        return caller.project_id(name_or_id)
    except NotFound:
        with suppress(InvalidInput):
            project = parse_project_id(name_or_id)
            seen = _CURSORS.read(since, caller.principal, project)
            feed = caller.manifold.feed
            if seen is not None and feed.is_told_of_deletion(caller.principal, project, seen.place):
                return project
        raise
