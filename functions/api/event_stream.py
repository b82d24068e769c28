"""Events as server-sent events (the HTML standard's ``text/event-stream``), which a browser's EventSource reads, and
takes up again by itself."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Final

from fastapi import Request, Response
from manifold_common.domain.event import PROJECT_DELETED
from manifold_common.domain.event_place import EventPlace, Followed
from manifold_common.errors import ManifoldError
from manifold_common.services.events.feed import FeedPage

from functions.api.caller import Api
from functions.api.conditions import check_read
from functions.api.response_body import stream_as_it_comes
from functions.api.weights import weights_of

_log = logging.getLogger("manifold.api")

MEDIA_TYPE: Final = "text/event-stream"
HEADERS: Final = {"Vary": "Accept", "X-Accel-Buffering": "no"}
"""The second keeps a proxy from holding back what is to arrive now."""
_JSON_RANGES: Final = ("application/json", "application/*", "*/*")
"""What JSON is among, from the closest on."""
_RETRY_MILLISECONDS: Final = 3000
_HEARTBEAT: Final = b":\n\n"
_HEARTBEAT_SECONDS: Final = 15.0
_LONGEST_SECONDS: Final = 3600.0
"""A stream ends then, and its client takes it up again. So one whose client went without a word does not stay."""
_PAGE_EVENTS: Final = 100
_PAGE_BYTES: Final = 1 << 20
_HELD_BYTES: Final = 4 * _PAGE_BYTES
"""What making a piece may take."""

Write = Callable[[EventPlace], str]
"""Makes a cursor."""
Read = Callable[[EventPlace | None, int, int], Awaitable[FeedPage]]
"""Reads a page after a place, of so many events and bytes."""


def is_asked_for(request: Request) -> bool:
    """Tell whether a request's Accept header names streams, and would not as well, or rather, have JSON."""
    weights: dict[str, float] = {}
    for found, weight in weights_of(", ".join(request.headers.getlist("accept"))).items():
        name = found.partition(";")[0]
        weights[name] = max(weight, weights.get(name, 0.0))
    wanted = weights.get(MEDIA_TYPE, 0.0)
    of_json = next((weights[name] for name in _JSON_RANGES if name in weights), 0.0)
    return wanted > of_json or (wanted == of_json > 0 and _JSON_RANGES[0] not in weights)


def finite(request: Request, page: FeedPage, after: EventPlace | None, cursor_of: Write) -> Response:
    """Return all of a stream of what there is, for a platform that sends an answer as a whole.

    Raises:
        NotModified, PreconditionFailed, InvalidInput: by the request's conditions.
    """
    check_read(request.headers, None, dict(HEADERS))
    return Response(_opening(after, cursor_of) + _written(page, cursor_of), media_type=MEDIA_TYPE, headers=HEADERS)


async def streamed(
    request: Request, api: Api, followed: Followed, after: EventPlace | None, read: Read, cursor_of: Write
) -> Response:
    """Return an answer that goes on for as long as its client takes it.

    Raises:
        EventsGone: it cannot begin there. Overloaded, TooManyRequests: too many wait. As ``finite``.
    """
    pieces = _pieces(request, api, followed, after, read, cursor_of)
    return await stream_as_it_comes(request, api.room, pieces, headers=HEADERS, media_type=MEDIA_TYPE)


async def _pieces(
    request: Request, api: Api, followed: Followed, after: EventPlace | None, read: Read, cursor_of: Write
) -> AsyncGenerator[bytes]:
    transfer, begun, ends_at = request.state.transfer, False, time.monotonic() + _LONGEST_SECONDS
    with api.traffic.waiting(transfer.peer, cut_off=transfer.end) as wait:
        while not (begun and wait.is_over):
            nudges = api.watch.nudges
            await api.room.take(transfer, _HELD_BYTES - transfer.held_bytes)
            try:
                page = await read(after, _PAGE_EVENTS, _PAGE_BYTES)
            except ManifoldError as error:
                if not begun:
                    raise
                _log.debug("a stream of events ends, and whoever takes it up again is told why: %s", error.code)
                return
            if not begun:
                check_read(request.headers, None, dict(HEADERS))
            piece = (b"" if begun else _opening(after, cursor_of)) + _written(page, cursor_of)
            api.room.give_back(transfer, _HELD_BYTES - len(piece))
            if piece:
                yield piece
            begun, after = True, page.place
            if followed.project is not None and any(event.type == PROJECT_DELETED for event in page.events):
                return
            while not page.has_more:
                seconds = min(_HEARTBEAT_SECONDS, ends_at - time.monotonic())
                if seconds <= 0:
                    return
                if await api.watch.news(wait, (followed, after.sequence), nudges=nudges, seconds=seconds):
                    break
                yield _HEARTBEAT


def _opening(after: EventPlace | None, cursor_of: Write) -> bytes:
    """Say where the stream begins, so that one which breaks before its first event is taken up from there: ``now``
    would be another place by then."""
    begins = f"id: {cursor_of(after)}\n" if after is not None else ""
    return f"retry: {_RETRY_MILLISECONDS}\n{begins}\n".encode()


def _written(page: FeedPage, cursor_of: Write) -> bytes:
    return b"".join(
        f"id: {cursor_of(event.place)}\nevent: {event.type}\n".encode() + b"data: " + event.document + b"\n\n"
        for event in page.events
    )
