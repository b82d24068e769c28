"""Routes that take and give shapes (``manifold_common.shapes``).

A route of this router says ``body: Shape`` or ``body: Shape | None = None``, and ``-> Shape``, or a dictionary where no
client needs a type of it. Its body is decoded and its answer encoded here, and neither passes through a model of the
framework, which would cost a function's first answer more than all else. Bodies and answers of some size are worked on
in a thread. What the description says of shapes are references by name; ``openapi.py`` adds what they stand for.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from functools import wraps
from http import HTTPStatus
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import anyio
import msgspec
from fastapi import APIRouter, Depends, Request, Response
from manifold_common.domain.api_address import DESCRIPTION
from manifold_common.shapes.base import Answer
from manifold_common.shapes.base import Request as RequestShape
from manifold_common.shapes.decode import Reading

from functions.api.references import JSON, content_of
from functions.api.strict_route import StrictRoute

REQUEST = Reading("the request", f"see {DESCRIPTION} for the shape of requests")
_IN_A_THREAD_BYTES = 64 << 10
_ENCODER = msgspec.json.Encoder()

Endpoint = Callable[..., Any]


class Router(APIRouter):
    """The framework's router, with shapes, and strict (``strict_route``)."""

    def __init__(self, **options: Any) -> None:
        super().__init__(route_class=StrictRoute, **options)

    def add_api_route(self, path: str, endpoint: Endpoint, **options: Any) -> None:
        signature = inspect.signature(endpoint, eval_str=True)
        parameters, answer = dict(signature.parameters), signature.return_annotation
        extra: dict[str, Any] = options.get("openapi_extra") or {}
        answers: dict[int | str, dict[str, Any]] = dict(options.get("responses") or {})
        for name, parameter in parameters.items():
            shape = _shape_of(parameter.annotation, RequestShape)
            if shape is not None:
                required = parameter.default is inspect.Parameter.empty
                parameters[name] = parameter.replace(
                    annotation=Annotated[Any, Depends(_reader(shape, required=required))],
                    default=inspect.Parameter.empty,
                )
                extra = {**extra, "requestBody": {"required": required, "content": content_of(shape)}}
        status = options.get("status_code") or HTTPStatus.OK
        if (given := _shape_of(answer, Answer)) is not None:
            answers[int(status)] = {**answers.get(int(status), {}), "content": content_of(given)}
        elif get_origin(answer) is dict:
            answers[int(status)] = {"content": {JSON: {"schema": msgspec.json.schema(answer)}}}
        options |= {
            "openapi_extra": extra or None,
            "responses": answers,
            "response_model": None,
        }
        super().add_api_route(path, _shaped(endpoint, parameters, status), **options)


def also(status: int, shape: type[Answer], description: str) -> dict[int | str, dict[str, Any]]:
    """Return the description of an answer of another status than the route's own."""
    return {status: {"description": description, "content": content_of(shape)}}


def answered(shape: Answer, status: int = HTTPStatus.OK) -> Response:
    """Return an answer of another status than the route's own."""
    return Response(_ENCODER.encode(shape), status_code=status, media_type=JSON)


def _shape_of(annotation: Any, base: type[msgspec.Struct]) -> type[msgspec.Struct] | None:
    options = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    return next((one for one in options if isinstance(one, type) and issubclass(one, base)), None)


def _reader(shape: type[msgspec.Struct], *, required: bool) -> Callable[[Request], Awaitable[Any]]:
    decoder = msgspec.json.Decoder(shape)

    async def read(request: Request) -> Any:
        data = await request.body()
        if not data and not required:
            return shape()
        if len(data) < _IN_A_THREAD_BYTES:
            return REQUEST.json(decoder, data)
        return await anyio.to_thread.run_sync(REQUEST.json, decoder, data)

    return read


def _shaped(endpoint: Endpoint, parameters: dict[str, inspect.Parameter], status: int) -> Endpoint:
    """Return the endpoint with its answer encoded, under the status and the headers that it has set, and with a
    signature that says no word of shapes to the framework."""
    name = next((name for name, parameter in parameters.items() if parameter.annotation is Response), None)

    def encoded(found: Any, given: dict[str, Any]) -> Any:
        if not isinstance(found, Answer):
            return found
        asked: Response | None = given.get(name) if name else None
        answer = answered(found, status)
        if asked is not None:
            answer.status_code = asked.status_code or status
            answer.headers.update(asked.headers)
        return answer

    shaped: Endpoint
    if inspect.iscoroutinefunction(endpoint):

        @wraps(endpoint)
        async def shaped(**given: Any) -> Any:
            return encoded(await endpoint(**given), given)
    else:

        @wraps(endpoint)
        def shaped(**given: Any) -> Any:
            return encoded(endpoint(**given), given)

    ordered = sorted(parameters.values(), key=lambda one: one.default is not inspect.Parameter.empty)
    shaped.__signature__ = inspect.Signature(ordered)  # type: ignore[attr-defined]
    return shaped
