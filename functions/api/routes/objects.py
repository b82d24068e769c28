"""Stored objects, for whoever has a link: where clients cannot reach the store, the server hands its bytes on.

The link is all that counts, as with one to a bucket: nothing here asks who has it.
"""

from __future__ import annotations

from typing import Annotated, Any, cast

from fastapi import APIRouter, Depends, Query, Request, Response
from manifold_common.errors import NotFound
from manifold_common.services.direct.served_objects import Proof, ServedObjects

from functions.api.caller import Api
from functions.api.request_body import Body, length_of
from functions.api.response_body import content_range, requested_range, stream
from functions.api.strict_route import ANY, StrictRoute

# Not in the description of the API: links are used as they were given.
router = APIRouter(prefix="/api/objects", include_in_schema=False, route_class=StrictRoute)

_MAX_UNTIL = 2**53
_UPLOAD: dict[str, Any] = {"requestBody": {"content": {media_type: {} for media_type in ANY}}}


def _proof(
    until: Annotated[int, Query(ge=0, le=_MAX_UNTIL)], signature: Annotated[str, Query(max_length=100)]
) -> Proof:
    return Proof(until, signature)


Proven = Annotated[Proof, Depends(_proof)]


@router.get("/{key:rest}", response_class=Response)
def read_object(request: Request, key: str, proof: Proven) -> Response:
    api, objects = _served(request)
    found = objects.open(key, proof)
    headers = {"Accept-Ranges": "bytes"}
    status, start, length = 200, 0, found.size
    if (wanted := requested_range(request.headers)) is not None:
        status, (start, length) = 206, wanted.within(found.size)
        headers |= content_range(start, length, found.size)
    headers["Content-Length"] = str(length)
    return stream(
        request,
        api.room,
        found.read(start, length),
        status=status,
        headers=headers,
        media_type="application/octet-stream",
    )


@router.put("/{key:rest}", openapi_extra=_UPLOAD, response_class=Response)
async def create_object(request: Request, key: str, proof: Proven) -> Response:
    api, objects = _served(request)
    size = length_of(request.headers)

    def work(body: Body) -> Response:
        objects.create(key, -1 if size is None else size, proof, body)  # no link is for a length that is not told
        return Response()

    return await api.bodies.run(request, work)


def _served(request: Request) -> tuple[Api, ServedObjects]:
    api = cast(Api, request.app.state.api)
    objects = api.manifold.served_objects
    if objects is None:
        raise NotFound(
            "this server hands on no stored objects", hint="use the links of its plans, which lead to its object store"
        )
    return api, objects
