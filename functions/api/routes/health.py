"""How the server is: ``/livez`` (the process answers), ``/readyz`` (it can do its work), ``/health`` (every part)."""

from __future__ import annotations

from fastapi import Response
from manifold_common.shapes.health import Alive, ServerHealth, State

from functions.api.caller import Caller
from functions.api.checks import check_all
from functions.api.references import content_of
from functions.api.shaped import Router

router = Router(tags=["health"])

_NOT_WELL: dict[int | str, dict[str, object]] = {
    503: {"content": content_of(ServerHealth), "description": "Something needed is down."}
}


@router.get("/health", responses=_NOT_WELL)
async def health(caller: Caller, response: Response) -> ServerHealth:
    """Say how each dependency is, and what works without it. 503 when one that is needed is down."""
    found = await check_all(caller.manifold, caller.api.traffic)
    if found.status is State.FAILED:
        response.status_code = 503
    return found


@router.get("/readyz", responses=_NOT_WELL)
async def ready(caller: Caller, response: Response) -> ServerHealth:
    """As ``/health``; for load balancers: 503 where requests cannot be served, 200 where some things cannot be done,
    such as writing to a disk that is full."""
    return await health(caller, response)


@router.get("/livez")
async def live() -> Alive:
    """Say that the process answers. Looks at nothing else."""
    return Alive()
