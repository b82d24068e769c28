"""Methods that every address takes: HEAD, wherever there is a GET, and OPTIONS, which the server takes as a whole too
(``OPTIONS *``); and what a 405 says is taken.

HEAD is answered with the headers of GET: the route does its work up to the content, which a streamed answer does not
read (``response_body``). That no body goes out, the guard sees to, whatever answers.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from fastapi import Request, Response
from starlette.routing import Match
from starlette.types import ASGIApp, Receive, Scope, Send

from functions.api.problem import problem_of
from functions.invocation.problems import MethodNotAllowed

_METHODS: Final = ("GET", "PUT", "POST", "PATCH", "DELETE")
_WHOLE_SERVER: Final = "*"
_IS_HEAD: Final = "manifold.is_head"
_NOT_FOR_HEAD: Final = b"range"


class EveryMethod:
    """An ASGI layer before the router: HEAD is served by what serves GET, unless there is a route of its own, and
    ``OPTIONS *``, for which no route can be, is answered here."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "HEAD" and not _takes(scope, "HEAD"):
            headers = [(name, value) for name, value in scope["headers"] if name != _NOT_FOR_HEAD]
            # A scope of its own: the server goes on to see a HEAD, to which it sends no body.
            scope = {**scope, "method": "GET", "headers": headers, _IS_HEAD: True}
        elif scope["type"] == "http" and scope["method"] == "OPTIONS" and scope["path"] == _WHOLE_SERVER:
            await _told(_METHODS)(scope, receive, send)
            return
        await self._app(scope, receive, send)


def is_head(scope: Scope) -> bool:
    """Tell whether only headers are wanted of what a route answers to GET."""
    return _IS_HEAD in scope


def refused_method(request: Request) -> Response:
    """Return the answer to a method that no route of the address takes; to OPTIONS, that is which ones do."""
    taken = [method for method in (*_METHODS, "HEAD") if _takes(request.scope, method)]
    if request.method == "OPTIONS":
        return _told(taken)
    return problem_of(MethodNotAllowed("HEAD" if is_head(request.scope) else request.method, _all_of(taken)), request)


def _told(taken: Collection[str]) -> Response:
    return Response(status_code=204, headers={"Allow": ", ".join(sorted(_all_of(taken)))})


def _all_of(taken: Collection[str]) -> set[str]:
    """Return the methods that are taken wherever these are."""
    return {*taken, "OPTIONS", *(["HEAD"] if "GET" in taken else [])}


def _takes(scope: Scope, method: str) -> bool:
    asked: dict[str, Any] = {**scope, "method": method}
    return any(route.matches(asked)[0] is Match.FULL for route in scope["app"].routes)
