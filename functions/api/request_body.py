"""Request bodies of any size, read by a worker thread in bounded memory.

A body is gathered by the event loop as it comes, at most ``_AHEAD_BYTES`` ahead of the worker: a fast client waits for
a slow store. As many workers run at once as there are turns, and none keeps its turn while it waits for its client:
small bodies have arrived whole before their worker starts, and where a larger one lets its worker wait, the turn goes
to another until enough has come to go on with.

A body that ends early never looks like one that ended: the worker gets an error, so nothing is committed; where it is
a part of a resumable upload, after all that came before. Once the whole body has arrived the work goes on to its end,
whether or not the client still listens.
"""

from __future__ import annotations

import asyncio
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import nullcontext, suppress
from typing import TypeVar

import anyio
from fastapi import Request
from manifold_common.domain.panic import panics_as_errors
from manifold_common.domain.wording import plural
from manifold_common.errors import ManifoldError, Overloaded, QuotaExceeded
from starlette.datastructures import Headers
from starlette.types import Receive

from functions.api.traffic import GETS_ON_BYTES, Room, Traffic, Transfer
from functions.invocation.content import check_content, combined
from functions.invocation.problems import IncompleteBody

T = TypeVar("T")

_AHEAD_BYTES = 1 << 20
_ENOUGH_BYTES = 256 << 10
"""What a worker that gave up its turn waits for, before it takes one again."""
_PROMPT_SECONDS = 0.02
"""How long a worker keeps its turn while it waits: a client that keeps up answers sooner."""
_PACK_BYTES = 11 << 20
"""What is held of a long body that has been handed on: a pack in the making."""
_DRAIN_BYTES = 8 << 20
_DRAIN_SECONDS = 1.0


class Body:
    """The body of one request: a ``ReadInto``, to be called from one thread other than the event loop's."""

    def __init__(
        self, request: Request, limit_bytes: int, turns: threading.Semaphore, room: Room, *, takes_parts: bool
    ) -> None:
        """Raises QuotaExceeded: the body says that it is too large. Others as ``check_content``."""
        self._digests = check_content(combined(request.scope["headers"]), takes_parts=takes_parts)
        if limit_bytes and (length_of(request.headers) or 0) > limit_bytes:
            raise too_large(limit_bytes)
        self._takes_parts = takes_parts
        self._receive: Receive = request.receive
        self._waits_for_go_ahead = "expect" in request.headers
        self._limit_bytes = limit_bytes
        self._expected_bytes = length_of(request.headers)
        self._turns = turns
        self._room = room
        self._transfer: Transfer = request.state.transfer
        self._transfer.end = self._make_way
        self._loop = asyncio.get_running_loop()
        self._rest = memoryview(b"")
        self._changed = threading.Condition()
        self._pieces: list[bytes] = []
        self._gathered_bytes = 0
        self._more = True
        self._error: ManifoldError | None = None
        self._wanted = asyncio.Event()
        self._has_begun = asyncio.Event()
        self.received_bytes = 0
        self._marked_bytes = 0
        """Of these, when the client was last seen to get on."""

    def __call__(self, into: memoryview) -> int:
        """Fill ``into`` and return the number of bytes; 0 at the end.

        Raises:
            IncompleteBody: the client went away, or was too slow. QuotaExceeded: the body is too large.
            Overloaded: it had to make way for others, or the server ends. BadDigest: at the end, it is another than its
                headers say.
        """
        if not self._rest:
            self._rest = memoryview(self._next())
            self._digests.update(self._rest)
            if not self._rest:
                self._digests.verify()
        count = min(len(self._rest), len(into))
        into[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    @property
    def has_digest(self) -> bool:
        """Whether only the whole body can be held against what its headers say."""
        return bool(self._digests)

    async def begun(self) -> None:
        """Wait until the whole body is here, or as much as is gathered ahead, or an error."""
        if not self._waits_for_go_ahead:
            self._wanted.set()
            await self._has_begun.wait()

    async def gather(self) -> None:
        """Take the body in as it comes, until its end. The worker gets whatever goes wrong."""
        try:
            await self._wanted.wait()
            expected = _AHEAD_BYTES if self._expected_bytes is None else self._expected_bytes
            await self._hold(min(expected, _AHEAD_BYTES + _PACK_BYTES))
            while self._more and self._error is None:
                await self._wanted.wait()
                await self._take_in()
                if self._more and self.received_bytes > self._transfer.held_bytes:
                    await self._hold(_AHEAD_BYTES + _PACK_BYTES)
        except ManifoldError as error:
            self._fail(error)
        finally:
            self.abort()

    def abort(self) -> None:
        """Make the worker's next or present read fail, unless everything has arrived."""
        self._fail(IncompleteBody("the request was given up", hint="send it again"))

    def end(self) -> None:
        """Take in nothing more: the server ends."""
        self._fail(Overloaded("this server is stopping", hint="send it again in a moment"))

    async def drain(self) -> None:
        """Read on for a moment after an early answer: a client that is still sending would not see it otherwise."""
        if self._waits_for_go_ahead and not self.received_bytes:
            return
        drained = 0
        with suppress(TimeoutError, ManifoldError):
            async with asyncio.timeout(_DRAIN_SECONDS):
                while self._more and drained < _DRAIN_BYTES:
                    message = await self._receive()
                    drained += len(message.get("body", b""))
                    self._more = bool(message.get("more_body"))

    async def _take_in(self) -> None:
        since = self._transfer.waits_since = self._transfer.waits_since or time.monotonic()
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise IncompleteBody("the request's body ended early", hint="send it again")
        data: bytes = message.get("body", b"")
        self.received_bytes += len(data)
        if self._limit_bytes and self.received_bytes > self._limit_bytes:
            raise too_large(self._limit_bytes)
        with self._changed:
            if data:
                self._pieces.append(data)
                self._gathered_bytes += len(data)
            self._more = message.get("more_body", False)
            gets_on = self.received_bytes - self._marked_bytes >= GETS_ON_BYTES
            if gets_on:
                self._marked_bytes = self.received_bytes
            is_waiting = self._more and self._gathered_bytes < _ENOUGH_BYTES and not gets_on
            self._transfer.waits_since = since if is_waiting else None
            if self._gathered_bytes >= _AHEAD_BYTES:
                self._wanted.clear()
            if not self._more or self._gathered_bytes >= _AHEAD_BYTES:
                self._has_begun.set()
            self._changed.notify()

    async def _hold(self, count: int) -> None:
        """Take memory for as much of the body, at once: who waits for it should not hold a part already."""
        more = count - self._transfer.held_bytes
        if more > 0 and self._error is None:
            self._transfer.waits_since = None
            await self._room.take(self._transfer, more, large=count > _AHEAD_BYTES)

    def _make_way(self) -> None:
        self._fail(
            Overloaded(
                "the request's body stood still, and the memory that it held was needed for others",
                hint="send it again",
            )
        )

    def _fail(self, error: ManifoldError) -> None:
        with self._changed:
            if self._more and self._error is None:
                self._error = _anew(error)
                if not self._takes_parts:
                    self._pieces.clear()
            self._changed.notify()
        self._wanted.set()
        self._has_begun.set()

    def _next(self) -> bytes:
        with self._changed:
            here = self._changed.wait_for(self._has_some, 0)
        if not here:
            self._loop.call_soon_threadsafe(self._wanted.set)
            with self._changed:
                here = self._changed.wait_for(self._has_some, _PROMPT_SECONDS)
        if not here:
            self._turns.release()
            try:
                with self._changed:
                    self._changed.wait_for(self._has_enough)
            finally:
                self._turns.acquire()
        with self._changed:
            if self._error is not None and not self._pieces:
                raise _anew(self._error)
            data = b"".join(self._pieces)
            self._pieces.clear()
            self._gathered_bytes = 0
            is_over = not data or not self._more
        if not is_over:
            self._loop.call_soon_threadsafe(self._wanted.set)
        return data

    def _has_some(self) -> bool:
        return bool(self._pieces) or not self._more or self._error is not None

    def _has_enough(self) -> bool:
        return self._gathered_bytes >= _ENOUGH_BYTES or not self._more or self._error is not None


def _anew(error: ManifoldError) -> ManifoldError:
    """Return an equal error that was not raised yet. One that was refers to whatever its frames hold, such as the body
    that would keep it: memory that only the garbage collector finds, late."""
    return type(error)(error.message, hint=error.hint, **error.details)


class RequestBodies:
    """Runs the work that bodies are for. Args: ``at_once``: so many run, the others wait their turn."""

    def __init__(self, max_upload_bytes: int, traffic: Traffic, *, most: int, at_once: int = 16) -> None:
        self.max_upload_bytes = max_upload_bytes
        self._traffic = traffic
        self._turns = threading.Semaphore(at_once)
        self._threads = anyio.CapacityLimiter(most)

    async def run(self, request: Request, work: Callable[[Body], T], *, takes_parts: bool = False) -> T:
        """Return what ``work`` makes of the request's body, in a thread of its own.

        Args:
            takes_parts: the body may be a part of a resumable upload: of one that breaks off, or that is cut off since
                the server ends, the worker gets all that came.
        """
        body = Body(request, self.max_upload_bytes, self._turns, self._traffic.room, takes_parts=takes_parts)
        gathering = asyncio.create_task(body.gather())

        def in_turn() -> T:
            try:
                with self._turns, panics_as_errors():
                    return work(body)
            except Exception as error:
                # They hold what the work has made of the body, and are kept with the error until the garbage collector
                # comes: measured, 8 MiB for each upload that failed.
                traceback.clear_frames(error.__traceback__)
                raise

        try:
            with self._traffic.ending(body.end) if takes_parts else nullcontext():
                await body.begun()
                return await anyio.to_thread.run_sync(in_turn, limiter=self._threads, abandon_on_cancel=True)
        except asyncio.CancelledError:
            body.abort()
            raise
        except Exception:
            body.abort()
            gathering.cancel()
            with suppress(asyncio.CancelledError):
                await gathering
            await body.drain()
            raise
        finally:
            gathering.cancel()


def length_of(headers: Headers) -> int | None:
    """Return how long a body says that it is. ``None``: it does not say so."""
    length = headers.get("content-length", "")
    return int(length) if length.isdigit() else None


def too_large(limit_bytes: int) -> QuotaExceeded:
    return QuotaExceeded(
        f"the request's body is over the limit of {plural(limit_bytes, 'byte')}",
        hint="send less, or raise server.maxUploadBytes",
        limit=limit_bytes,
    )
