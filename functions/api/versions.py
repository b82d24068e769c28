"""Addresses of before API v1, which named no version: ``/api/projects`` is ``/api/v1/projects`` now. They are served
alike, and each answer says that its address is deprecated (RFC 9745) and what has taken its place (RFC 5829)."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote, unquote_to_bytes

from manifold_common.domain.api_address import API
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from functions.api.paths import raw_path_of

_WORDS: Final = (b"projects", b"sessions")
_DESCRIPTION: Final = b"openapi.json"
_DEPRECATED_AT: Final = "@1796083200"
"""The first of December 2026."""
_IN_A_LINK: Final = "/%:@!$&'()*+,;=~"


class Versions:
    """The outermost ASGI layer: nothing behind it knows of addresses of before."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        successor = successor_of(raw_path_of(scope)) if scope["type"] == "http" else None
        if successor is None:
            await self._app(scope, receive, send)
            return
        headers = {
            "Deprecation": _DEPRECATED_AT,
            "Link": f'<{quote(successor, safe=_IN_A_LINK)}>; rel="successor-version"',
        }

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(headers)
            await send(message)

        path = API + scope["path"].removeprefix("/api")
        await self._app({**scope, "path": path, "raw_path": successor}, receive, answer)


def successor_of(raw: bytes) -> bytes | None:
    """Return what has taken the place of an address, both as they are sent, without a query; ``None``: nothing has."""
    match raw.split(b"/", 3):
        case [b"", root, name, *rest] if unquote_to_bytes(root) == b"api":
            word = unquote_to_bytes(name)
            if word in _WORDS or (word == _DESCRIPTION and not rest):
                return b"/%s/v1/%s" % (root, raw.split(b"/", 2)[2])
    return None
