"""Answers that come late: a request waits for something to happen, for as long as somebody waits for its answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from typing import Any, Final, TypeVar

from fastapi import Request
from manifold_common.errors import Abandoned

from functions.api.caller import Api
from functions.api.methods import is_head
from functions.api.watch import Watch

T = TypeVar("T")
P = TypeVar("P", bound=Hashable)

LONGEST_WAIT_SECONDS: Final = 55
_LONGEST_WAIT_OF_A_FUNCTION_SECONDS = 20
"""Well below what its gateway waits for."""


async def awaited(
    request: Request,
    api: Api,
    watch: Watch[P],
    seconds: float,
    read: Callable[[T | None], Awaitable[T]],
    place_of: Callable[[T], P | None],
) -> T:
    """Return what there is once it is worth an answer, or else what there is when the time is over or the server ends.
    Who wants headers alone does not wait.

    Args:
        read: returns what there is; it gets what it returned before.
        place_of: tells where to wait for something new; ``None``: this is to be answered.

    Raises:
        Abandoned: the client has hung up. Overloaded, TooManyRequests: too many wait. What both functions raise.
    """
    longest = _LONGEST_WAIT_OF_A_FUNCTION_SECONDS if api.is_buffered else LONGEST_WAIT_SECONDS
    ends_at = time.monotonic() + (0 if is_head(request.scope) else min(seconds, longest))

    async def work() -> T:
        nudges = watch.nudges
        found = await read(None)
        if time.monotonic() >= ends_at or place_of(found) is None:
            return found
        with api.traffic.waiting(request.state.transfer.peer) as wait:
            while (place := place_of(found)) is not None and not wait.is_over:
                left = ends_at - time.monotonic()
                if left <= 0:
                    break
                await watch.news(wait, place, nudges=nudges, seconds=left)
                nudges = watch.nudges
                found = await read(found)
        return found

    return await _while_there(request, work())


async def _while_there(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Return what ``work`` does, which is given up when the client hangs up. Raises Abandoned: it has."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise Abandoned("nobody waits for the answer any more")
        return working.result()
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
