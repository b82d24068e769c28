"""The validator of last resort: JSON that no route has given one gets the hash of itself, so that whoever polls it is
answered in a word while nothing has changed. The work is done all the same; what is saved is the answer."""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from functions.api.conditions import NotModified, check_read
from functions.api.validators import Validators, etag_for

_OF_CONTENT = ("content-length", "content-type")


class Revalidation:
    """An ASGI layer before the router. It holds back no more than one whole JSON answer.

    Raises:
        PreconditionFailed, InvalidInput: by If-Match, or a malformed header, in place of an answer.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD") or not scope["path"].startswith("/api/"):
            await self._app(scope, receive, send)
            return
        held: list[Message] = []

        async def hold(message: Message) -> None:
            begins = message["type"] == "http.response.start" and _is_bare(message)
            if begins or (len(held) == 1 and message.get("body") and not message.get("more_body")):
                held.append(message)
            else:
                for before in held:
                    await send(before)
                held.clear()
                await send(message)

        await self._app(scope, receive, hold)
        if held:
            for message in _revalidated(Headers(scope=scope), *held):
                await send(message)


def _is_bare(start: Message) -> bool:
    headers = Headers(raw=start.get("headers", []))
    return start["status"] == 200 and "etag" not in headers and headers.get("content-type") == "application/json"


def _revalidated(asked: Headers, start: Message, *rest: Message) -> list[Message]:
    headers = MutableHeaders(scope=start)
    try:
        check_read(asked, Validators(etag_for(rest[0]["body"] if rest else b"")), headers)
    except NotModified:
        for name in _OF_CONTENT:
            del headers[name]
        return [{**start, "status": 304}, {"type": "http.response.body", "body": b""}]
    return [start, *rest]
