"""Names that callers give their requests (Idempotency-Key), and what tells one request from another of the same name.

That is who asks, the method, the address and the body, byte by byte. A project's name or id is left out of the address,
since names are the project's own and either leads to it; so are headers: a condition says when, not what. A body is
digested as it comes in, whatever its size; a request that is sent again is read to its end, for that alone.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Protocol
from urllib.parse import unquote_to_bytes

from fastapi import Request
from manifold_common.domain.api_address import API
from manifold_common.domain.named_request import NamedRequest
from manifold_common.errors import InvalidInput
from manifold_common.ids import RequestId, parse_request_id
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import Message, Receive, Scope, Send

from functions.api.caller import Call
from functions.api.paths import raw_path_of

if TYPE_CHECKING:
    from manifold_common.services.projects.tree_editor import ReadInto

_HEADER = "idempotency-key"
_DIGEST = "body_digest"
_REPLAYED = "replayed"
_IN_PROJECT = re.compile(rb".*?/projects/[^/]+(?=/)", re.DOTALL)
_V1 = API.encode()
_UNVERSIONED = b"/api"
"""As addresses were before v1, so that a name that was given then is still known."""
_DRAINED_BYTES = 256 << 10


class _Digest(Protocol):
    def digest(self) -> bytes: ...


def request_name(headers: Headers) -> RequestId | None:
    """Return the name that the caller gives the request, so that it may be sent again. Raises InvalidInput."""
    lines = headers.getlist(_HEADER)
    if len(lines) > 1:
        raise InvalidInput("the request has two names", hint="send one Idempotency-Key")
    return parse_request_id(lines[0].strip().strip('"')) if lines else None


def request_of_session(request: Request) -> NamedRequest | None:
    """Return the request's name, where a session's intent tells it from others. Raises InvalidInput."""
    name = request_name(request.headers)
    return None if name is None else NamedRequest(name, on_replay=_note(request))


def named_request(request: Request, caller: Call) -> NamedRequest | None:
    """Return the request's name and what tells it from others. Its body has been read when that is asked for.

    Raises:
        InvalidInput.
    """
    name = request_name(request.headers)
    if name is None:
        return None

    def fingerprint() -> bytes:
        body: _Digest = request.scope["state"][_DIGEST]
        query = b"&".join(sorted(request.scope["query_string"].split(b"&")))
        address = unquote_to_bytes(raw_path_of(request.scope)).replace(_V1, _UNVERSIONED, 1)
        address = _IN_PROJECT.sub(b"", address, count=1)
        said = (caller.principal.user.encode(), request.method.encode(), address, query, body.digest())
        return hashlib.sha256(b"".join(len(part).to_bytes(8) + part for part in said)).digest()

    return NamedRequest(name, fingerprint, _note(request))


def reading(named: NamedRequest | None, body: ReadInto) -> NamedRequest | None:
    """Return a named request whose body is still to be read, as far as the work leaves any of it."""
    if named is None:
        return None

    def fingerprint() -> bytes:
        into = memoryview(bytearray(_DRAINED_BYTES))
        while body(into):
            pass
        return named.fingerprint()

    return named._replace(fingerprint=fingerprint)


def _note(request: Request) -> Callable[[], None]:
    return partial(request.scope["state"].__setitem__, _REPLAYED, True)


def marked(scope: Scope, send: Send) -> Send:
    """Return ``send``, which says of the answer to an earlier request of the same name that it is one."""

    async def through(message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] < 300 and scope["state"].get(_REPLAYED):
            MutableHeaders(scope=message)["Idempotency-Replayed"] = "true"
        await send(message)

    return through


def digested(scope: Scope, receive: Receive) -> Receive:
    """Return ``receive`` for a request whose body is digested on its way, if the request has a name."""
    if _HEADER not in Headers(scope=scope):
        return receive
    digest = scope["state"][_DIGEST] = hashlib.sha256()

    async def through() -> Message:
        message = await receive()
        digest.update(message.get("body", b""))
        return message

    return through
