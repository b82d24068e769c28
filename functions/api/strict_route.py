"""What every route refuses before it does anything: what a request says that nobody would look at.

Each router is made with ``route_class=StrictRoute``. In this order: headers that would make another message of it, a
name for what is not kept by its name (a route that keeps it declares that it may answer 422), query parameters that the
route does not know or that do not read in one way, content where none is taken or of another type, and content that is
not what its digest says. ``shaped`` reads JSON; what streamed content has to be, ``request_body`` sees to as it comes.
"""

from __future__ import annotations

import enum
import re
import types
import typing
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

import anyio
from fastapi import Request, Response, params
from fastapi.dependencies.utils import get_flat_params
from fastapi.routing import APIRoute
from manifold_common.domain.api_address import DESCRIPTION
from manifold_common.domain.unknown import unknown_parameter
from manifold_common.errors import InvalidInput
from starlette.requests import ClientDisconnect

from functions.invocation.content import JSON, JSON_HINT, check_content, check_media_type, check_message, combined
from functions.invocation.problems import IncompleteBody, UnsupportedMediaType

_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]*)\Z")
_TRUTHS = ("true", "false")
_READS = frozenset({"GET", "HEAD"})
_LARGE_BYTES = 256 << 10
"""From here on looking at a body is the work of a thread."""

ANY = ("application/octet-stream",)
"""What a route declares that takes content of any type."""

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class StrictRoute(APIRoute):
    def get_route_handler(self) -> Handler:
        serve = super().get_route_handler()
        fields = [(field.alias, field.field_info) for field in get_flat_params(self.dependant)]
        queries = {name: _kind_of(info.annotation) for name, info in fields if isinstance(info, params.Query)}
        paths = {name: _kind_of(info.annotation) for name, info in fields if isinstance(info, params.Path)}
        declared = (self.openapi_extra or {}).get("requestBody", {})
        taken = tuple(declared.get("content", ()))
        takes_json = self.body_field is not None or JSON[0] in taken
        is_change, takes_name = bool((self.methods or set()) - _READS), 422 in self.responses
        is_required = self.body_field.field_info.is_required() if self.body_field else declared.get("required", False)

        async def strict(request: Request) -> Response:
            headers = combined(request.scope["headers"])
            check_message(headers)
            if is_change and not takes_name and "idempotency-key" in headers:
                raise InvalidInput(
                    "a request to this address has no name",
                    hint="leave out Idempotency-Key: only what makes a commit takes it, such as PUT on a file, POST on "
                    "commits, or a session's commit",
                )
            _check_query(request.scope["query_string"], queries)
            for name, kind in paths.items():
                _check_value(name, str(request.path_params.get(name, "")), kind)
            if takes_json:
                await _check_json(request, headers, is_required=is_required)
            elif taken:
                _check_streamed(headers, taken)
            else:
                await _check_no_content(request, headers)
            return await serve(request)

        async def whole(request: Request) -> Response:
            try:
                return await strict(request)
            except ClientDisconnect:
                raise IncompleteBody("the request's body ended early", hint="send it again") from None

        return whole


def _kind_of(annotation: Any) -> type | None:
    """Return what a parameter's text is read as, where its form is ours to say: ``int`` or ``bool``."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        kinds = {_kind_of(one) for one in typing.get_args(annotation) if one is not type(None)}
        return kinds.pop() if len(kinds) == 1 else None
    if typing.get_origin(annotation) is typing.Annotated:
        return _kind_of(typing.get_args(annotation)[0])
    is_ours = isinstance(annotation, type) and issubclass(annotation, int) and not issubclass(annotation, enum.Enum)
    return (bool if annotation is bool else int) if is_ours else None


def _check_query(raw: bytes, known: Mapping[str, type | None]) -> None:
    """Raises InvalidInput: a parameter that the route does not have, one that comes twice, or one that is no text."""
    if not raw:
        return
    seen: Counter[str] = Counter()
    for part in raw.decode("latin-1").split("&"):
        if not part:
            continue
        name, _, value = (_text_of(piece) for piece in part.partition("="))
        seen[name] += 1
        if name not in known:
            raise unknown_parameter(name, known)
        if seen[name] > 1:
            raise InvalidInput(f"the query parameter {name!r} is given twice", hint="give it once", parameter=name)
        _check_value(name, value, known[name])


def _text_of(part: str) -> str:
    try:
        if not part.isascii() or _ESCAPE.search(part):
            raise ValueError(part)
        return unquote_to_bytes(part.replace("+", " ")).decode("utf-8")
    except ValueError:
        raise InvalidInput(
            "the query holds bytes that are not text", hint="write it as UTF-8, and other characters as %NN"
        ) from None


def _check_value(name: str, value: str, kind: type | None) -> None:
    """Refuse other ways to write a number or a truth value than JSON's."""
    if kind is int and not _INTEGER.match(value):
        raise InvalidInput(f"{name} is not an integer", hint=f"write it in digits, such as {name}=7", parameter=name)
    if kind is bool and value not in _TRUTHS:
        raise InvalidInput(
            f"{name} is neither true nor false", hint=f"write {name}=true or {name}=false", parameter=name
        )


async def _check_json(request: Request, headers: Mapping[str, str], *, is_required: bool) -> None:
    digests = check_content(headers)
    if headers.get("content-length", "0").strip() != "0":
        check_media_type(headers, JSON, JSON_HINT)
    body = await request.body()
    if body:
        check_media_type(headers, JSON, JSON_HINT)
    else:
        digests.verify()
        if is_required:
            raise InvalidInput("the request has no body", hint=f"send a JSON object, and {JSON_HINT}")
        return

    def verify() -> None:
        digests.update(body)
        digests.verify()

    verify() if len(body) < _LARGE_BYTES else await anyio.to_thread.run_sync(verify)


def _check_streamed(headers: Mapping[str, str], taken: tuple[str, ...]) -> None:
    """Raises UnsupportedMediaType: the content is a form, or of another type where not any is taken."""
    media_type = headers.get("content-type", "").strip().lower()
    if media_type.startswith("multipart/"):
        raise UnsupportedMediaType(
            "a form is not taken", hint="send the bytes alone, as 'curl -T FILE URL' does", accept=", ".join(taken)
        )
    if media_type and taken != ANY:
        check_media_type(headers, taken, f"add -H 'Content-Type: {taken[0]}'")


async def _check_no_content(request: Request, headers: Mapping[str, str]) -> None:
    """Raises InvalidInput: there is content, which nobody would look at."""
    if headers.get("content-length", "0").strip() == "0" and "transfer-encoding" not in headers:
        return
    async for piece in request.stream():
        if piece:
            raise InvalidInput(
                f"{request.method} takes no body at this address",
                hint=f"leave it out; {DESCRIPTION} says what to send",
            )
