"""The HTTP application behind an HTTP API or a function URL: events in, answers out, by Mangum.

What is added to it: the exact bytes of a path, which Mangum leaves out; answers that do not pass through a function are
refused with what to do instead; and a Host header is this server's if AWS itself gave the name out.
"""

from __future__ import annotations

import string
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

from mangum import Mangum
from mangum.handlers import HTTPGateway
from manifold_common.domain.correlation import ID_HEADERS, correlation
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from functions.api.guard import HostRule, local_hosts
from functions.invocation.http import body_of, headers_of, raw_path_of
from functions.invocation.problems import MEDIA_TYPE, AnswerTooLarge, ProblemAnswer, answer_to
from functions.invocation.size import MAX_ANSWER_BYTES, answer_too_large

if TYPE_CHECKING:
    from manifold_common.settings import Settings

_OF_AWS = (".amazonaws.com", ".amazonaws.com.cn", ".on.aws", ".execute-api.127.0.0.1")
"""The last is a stand-in's on this machine. No browser takes it for a name."""
_TEXT = ["text/", "application/json", MEDIA_TYPE, "image/svg+xml"]
"""What goes as it is, where it is UTF-8; the rest as base64."""
_LENGTH = "content-length"
_OF_A_QUERY = string.punctuation
"""What stays as it is; what else a gateway has decoded is encoded again."""


class _Gateway(HTTPGateway):
    @property
    def scope(self) -> Any:
        scope = super().scope
        raw = raw_path_of(self.event)
        query = quote(self.event.get("rawQueryString") or "", safe=_OF_A_QUERY)
        return {**scope, "path": unquote(raw), "raw_path": raw.encode(), "query_string": query.encode("ascii")}


class _Bounded:
    """Lets an answer through when it is complete, if it is small enough. No more of it than that is held in memory."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        held: list[Message] = []
        size = 0
        refused: AnswerTooLarge | None = None

        async def hold(message: Message) -> None:
            nonlocal size, refused
            announced = 0 if scope["method"] == "HEAD" else int(Headers(raw=message.get("headers", [])).get(_LENGTH, 0))
            size += len(message.get("body", b""))
            if max(size, announced) > MAX_ANSWER_BYTES:
                refused = answer_too_large(max(size, announced))
                raise refused
            held.append(message)

        try:
            await self._app(scope, receive, hold)
        except Exception:
            if refused is None:
                raise
        if refused is not None:
            held = _messages(answer_to(refused, {}))
        for message in held:
            await send(message)


def serve(app: ASGIApp, event: dict[str, Any], context: object) -> dict[str, Any]:
    """Return the application's answer to an event, as Lambda passes it on. Raises MalformedEvent, UnsafePath."""
    raw_path_of(event)  # may have lost what it was
    body = body_of(event)  # may not be the base64 that it says it is
    headers = headers_of(event)
    headers.pop("transfer-encoding", None)  # the whole content is here
    headers[_LENGTH] = str(len(body))
    if not headers.get("x-forwarded-port", "").isdecimal():
        headers.pop("x-forwarded-port", None)  # of a use to the adapter only if it is a number
    event = {**event, "headers": headers}
    adapter = Mangum(_Bounded(app), lifespan="off", custom_handlers=[_Gateway], text_mime_types=_TEXT)
    answer: dict[str, Any] = adapter(event, context)  # type: ignore[arg-type]
    return answer


def _messages(found: ProblemAnswer) -> list[Message]:
    known = correlation()
    ids = dict.fromkeys(ID_HEADERS, known.id) if known else {}
    headers = {"content-type": MEDIA_TYPE, "cache-control": "no-store", **ids, **found.headers}
    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    return [
        {"type": "http.response.start", "status": found.status, "headers": raw},
        {"type": "http.response.body", "body": found.encode()},
    ]


def function_hosts(settings: Settings) -> HostRule:
    """Return the rule for Host headers: this machine's names, the public one, and those that AWS gives out. No page can
    make a browser send any of these to somebody else's function."""
    public = settings.server.public_url
    known = local_hosts([urlsplit(str(public)).hostname or ""] if public else [])
    return lambda host: host.endswith(_OF_AWS) or known(host)
