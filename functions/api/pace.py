"""The pace of clients that send: nobody may stand still, or trickle, in the middle of a body.

Only time that is spent waiting for the client counts. It is measured span by span, so that having been fast once buys
no time to stand still later; a body of N bytes takes at most one span more than N bytes take at the slowest pace.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from manifold_common.domain.wording import plural, span
from starlette.types import Message, Receive

from functions.invocation.problems import IncompleteBody


class Pace:
    """
    Args:
        span_seconds: over which it is measured.
        least_bytes: what must come in a span; at least 1.
        on_slow: told of a client that is too slow.
    """

    def __init__(self, span_seconds: float, least_bytes: int, on_slow: Callable[[], None] = lambda: None) -> None:
        self._span_seconds = span_seconds
        self._least_bytes = max(1, least_bytes)
        self._waited_seconds = 0.0
        self._bytes = 0
        self._on_slow = on_slow
        self._is_over = False

    def over(self, receive: Receive) -> Receive:
        """Return ``receive``, which raises IncompleteBody when the client is too slow."""

        async def paced() -> Message:
            return await self._next(receive)

        return paced

    async def _next(self, receive: Receive) -> Message:
        if self._is_over:  # what is waited for now is the client's end of the connection
            return await receive()
        begun = time.monotonic()
        try:
            async with asyncio.timeout(max(0.0, self._span_seconds - self._waited_seconds)):
                message = await receive()
        except TimeoutError:
            self._on_slow()
            raise self._too_slow() from None
        self._waited_seconds += time.monotonic() - begun
        self._bytes += len(message.get("body", b""))
        self._is_over = not message.get("more_body", False)
        if self._bytes >= self._least_bytes:
            self._waited_seconds, self._bytes = 0.0, 0
        return message

    def _too_slow(self) -> IncompleteBody:
        return IncompleteBody(
            f"the request's body came too slowly: {plural(self._bytes, 'byte')} in {span(self._span_seconds)}, "
            f"and {self._least_bytes} are the least",
            hint="send it again over a faster connection, or in parts; the operator may raise server.stallSeconds",
        )
