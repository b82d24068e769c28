"""Request bodies of any size, read by a worker thread in bounded memory.

The worker asks for the next piece when it has used up the last one, and one more is fetched meanwhile: a fast client
waits for a slow store. A body that ends early never looks like one that ended: the worker gets an error, so nothing is
committed. Once the whole body has arrived the work goes on to its end, whether or not the client still listens.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

import anyio
from fastapi import Request
from manifold_common.domain.panic import panics_as_errors
from manifold_common.errors import InvalidInput, QuotaExceeded
from starlette.types import Message

from functions.invocation.problems import IncompleteBody

T = TypeVar("T")

STALL_SECONDS = 60.0
"""How long a client may send nothing in the middle of a body."""
_DRAIN_BYTES = 8 << 20
_DRAIN_SECONDS = 1.0


class Body:
    """The body of one request: a ``ReadInto``, to be called from one thread other than the event loop's."""

    def __init__(self, request: Request, limit_bytes: int, *, stall_seconds: float = STALL_SECONDS) -> None:
        """Raises InvalidInput: the body is encoded, or a form. QuotaExceeded: it says that it is too large."""
        _check_headers(request, limit_bytes)
        self._receive = request.receive
        self._waits_for_go_ahead = "expect" in request.headers
        self._limit_bytes = limit_bytes
        self._stall_seconds = stall_seconds
        self._loop = asyncio.get_running_loop()
        self._pending: concurrent.futures.Future[Message] | None = None
        self._rest = memoryview(b"")
        self._more = True
        self._aborted = False
        self.received_bytes = 0

    def __call__(self, into: memoryview) -> int:
        """Fill ``into`` and return the number of bytes; 0 at the end.

        Raises:
            IncompleteBody: the client went away, or sent nothing for too long. QuotaExceeded: the body is too large.
        """
        while not self._rest:
            if not self._more:
                return 0
            self._rest = memoryview(self._next())
        count = min(len(self._rest), len(into))
        into[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    def abort(self) -> None:
        """Make the worker's next or present read fail."""
        self._aborted = True
        if self._pending is not None:
            self._pending.cancel()

    async def drain(self) -> None:
        """Read on for a moment after an early answer: a client that is still sending would not see it otherwise."""
        self.abort()
        if self._waits_for_go_ahead and not self.received_bytes:
            return
        drained = 0
        with suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_SECONDS):
                while self._more and drained < _DRAIN_BYTES:
                    message = await self._receive()
                    drained += len(message.get("body", b""))
                    self._more = bool(message.get("more_body"))

    def _next(self) -> bytes:
        pending = self._pending or self._fetch()
        if self._aborted:
            pending.cancel()
        try:
            message = pending.result(self._stall_seconds)
        except concurrent.futures.TimeoutError:
            pending.cancel()
            raise IncompleteBody(
                f"the request's body stopped for more than {self._stall_seconds:g} seconds", hint="send it again"
            ) from None
        except concurrent.futures.CancelledError:
            raise IncompleteBody("the request was given up", hint="send it again") from None
        finally:
            self._pending = None
        if message["type"] == "http.disconnect":
            self._more = False
            raise IncompleteBody("the request's body ended early", hint="send it again")
        data: bytes = message.get("body", b"")
        self._more = message.get("more_body", False)
        self.received_bytes += len(data)
        if self._limit_bytes and self.received_bytes > self._limit_bytes:
            raise too_large(self._limit_bytes)
        if self._more:
            self._pending = self._fetch()
        return data

    def _fetch(self) -> concurrent.futures.Future[Message]:
        return asyncio.run_coroutine_threadsafe(self._message(), self._loop)

    async def _message(self) -> Message:
        return await self._receive()


class Uploads:
    """Runs the work that bodies are for. Args: ``at_once``: so many run, the others wait their turn."""

    def __init__(self, max_upload_bytes: int, *, at_once: int = 16) -> None:
        self.max_upload_bytes = max_upload_bytes
        self._turns = anyio.CapacityLimiter(at_once)

    async def run(self, request: Request, work: Callable[[Body], T]) -> T:
        """Return what ``work`` makes of the request's body, in a thread of its own."""
        body = Body(request, self.max_upload_bytes)
        try:
            return await anyio.to_thread.run_sync(
                panics_as_errors()(work), body, limiter=self._turns, abandon_on_cancel=True
            )
        except asyncio.CancelledError:
            body.abort()
            raise
        except Exception:
            await body.drain()
            raise


def _check_headers(request: Request, limit_bytes: int) -> None:
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise InvalidInput(
            "an encoded body cannot be taken", hint="send the bytes as they are, without Content-Encoding"
        )
    if request.headers.get("content-type", "").lower().startswith("multipart/"):
        raise InvalidInput("a form cannot be taken", hint="send the bytes alone, as 'curl -T FILE URL' does")
    length = request.headers.get("content-length", "")
    if limit_bytes and length.isdigit() and int(length) > limit_bytes:
        raise too_large(limit_bytes)


def too_large(limit_bytes: int) -> QuotaExceeded:
    return QuotaExceeded(
        f"the request's body is over the limit of {limit_bytes} bytes",
        hint="send less, or raise server.maxUploadBytes",
        limit=limit_bytes,
    )
