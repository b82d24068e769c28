"""Answers of any size, made piece by piece: the next piece is read when the client has taken the last one.

A piece that waits for its client takes no thread, and its memory is part of what all clients share (``traffic.Room``).
"""

from __future__ import annotations

import mimetypes
import re
import time
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Iterator, Mapping
from contextlib import aclosing, suppress
from typing import TypeAlias
from urllib.parse import quote_from_bytes

import anyio
from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from manifold_common.domain.byte_range import ByteRange
from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from functions.api.methods import is_head
from functions.api.traffic import Room, Transfer

Buffer: TypeAlias = bytes | bytearray | memoryview

_ONE_RANGE = re.compile(r"bytes\s*=\s*(?:([0-9]+)\s*)?-\s*(?:([0-9]+)\s*)?\Z", re.IGNORECASE)
_MOST_DIGITS = 18
"""Of a position. One that has more lies behind everything."""
_UNSAFE = re.compile(r"[^A-Za-z0-9._ -]")
_TEXT_APPLICATIONS = frozenset(
    {"application/json", "application/javascript", "application/xml", "application/x-sh", "application/toml",
     "application/yaml", "application/sql", "image/svg+xml"}
)  # fmt: skip
_TEXT_SUFFIXES = (".md", ".toml", ".yaml", ".yml", ".ini", ".cfg", ".ts", ".tsx", ".rs", ".go", ".sql", ".lock")


_PIECE_BYTES = 4 << 20
"""What a piece may take before it is there."""
_SLICE_BYTES = 512 << 10
"""What is handed to the connection at once."""
_KEEPS_UP_SECONDS = 1.0
"""A client that keeps up takes a piece within that time."""


def stream(
    request: Request,
    room: Room,
    pieces: Iterable[Buffer],
    *,
    status: int = 200,
    headers: Mapping[str, str],
    media_type: str,
    is_held: bool = False,
) -> Response:
    """Return a streamed answer. What goes wrong before the first piece still gets a problem document.

    Nothing is read where only the headers are wanted.

    Args: ``is_held``: the room for all that is in memory at once was taken with ``hold``. Else it is taken for each
    piece, and nothing may be kept from one to the next.
    """
    if is_head(request.scope):
        return _Headers(status_code=status, headers=dict(headers), media_type=media_type)
    untaken = request.scope["state"].get("untaken")  # where the server can tell
    kind = _StreamedInItsRoom if is_held else _Streamed
    return kind(request.state.transfer, room, iter(pieces), status, headers, media_type, untaken)


async def hold(request: Request, room: Room, count: int) -> None:
    """Take room for ``count`` bytes, until the request ends. Raises Overloaded."""
    await room.take(request.state.transfer, count, large=count > _SLICE_BYTES)


async def stream_as_it_comes(
    request: Request, room: Room, pieces: AsyncGenerator[bytes], *, headers: Mapping[str, str], media_type: str
) -> Response:
    """Return a streamed answer whose pieces come when there is something to say, and take their memory themselves.

    The first one is made before, also where only the headers are wanted: what goes wrong in it is raised.
    """
    first = await anext(pieces)
    if is_head(request.scope):
        await pieces.aclose()
        return _Headers(status_code=200, headers=dict(headers), media_type=media_type)
    untaken = request.scope["state"].get("untaken")
    return _StreamedAsItComes(request.state.transfer, room, first, pieces, headers, media_type, untaken)


class _Headers(Response):
    """Those of an answer whose length is not told unless ``headers`` tell it."""

    def init_headers(self, headers: Mapping[str, str] | None = None) -> None:
        super().init_headers(headers)
        if headers is None or "Content-Length" not in headers:
            del self.headers["Content-Length"]


class _Streamed(StreamingResponse):
    def __init__(
        self,
        transfer: Transfer,
        room: Room,
        pieces: Iterator[Buffer],
        status: int,
        headers: Mapping[str, str],
        media_type: str,
        untaken: Callable[[], int | None] | None,
    ) -> None:
        super().__init__((), status_code=status, headers=headers, media_type=media_type)
        self._transfer = transfer
        self._room = room
        self._pieces = pieces
        self._left_bytes = int(headers["Content-Length"]) if "Content-Length" in headers else None
        self._sent_bytes = 0
        self._untaken = untaken
        transfer.taken = self._taken

    def _taken(self) -> int | None:
        left = 0 if self._untaken is None else self._untaken()
        return None if left is None else self._sent_bytes - left

    async def stream_response(self, send: Send) -> None:
        try:
            await self._send_pieces(send)
        finally:
            if isinstance(self._pieces, Generator):
                with suppress(ValueError):  # a thread that outlives the request is still in it, and is the last
                    self._pieces.close()

    async def _send_pieces(self, send: Send) -> None:
        piece = await self._next()
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        while piece is not None:
            self._transfer.waits_since = time.monotonic()
            with memoryview(piece) as view:
                for at in range(0, len(view), _SLICE_BYTES):
                    body = bytes(view[at : at + _SLICE_BYTES])
                    await send({"type": "http.response.body", "body": body, "more_body": True})
                    self._sent_bytes += len(body)  # now it is with the connection, taken or not
                    self._transfer.has_begun = True
            keeps_up = time.monotonic() - self._transfer.waits_since < _KEEPS_UP_SECONDS
            self._transfer.waits_since = piece = None
            self._has_gone()
            piece = await self._next(keeps_up=keeps_up)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _next(self, *, keeps_up: bool = False) -> Buffer | None:
        """Return the next piece, for which there is room then. ``None``: there is none."""
        most = _PIECE_BYTES if self._left_bytes is None else min(_PIECE_BYTES, self._left_bytes)
        if most:
            await self._room.take(self._transfer, most, large=most > _SLICE_BYTES, keeps_up=keeps_up)
        piece = await anyio.to_thread.run_sync(next, self._pieces, None)
        self._room.give_back(self._transfer, most - len(piece or b""))
        if self._left_bytes is not None:
            self._left_bytes = max(self._left_bytes - len(piece or b""), 0)
        return piece

    def _has_gone(self) -> None:
        """Give back the room of a piece."""
        self._room.give_back(self._transfer)


class _StreamedInItsRoom(_Streamed):
    async def _next(self, *, keeps_up: bool = False) -> Buffer | None:  # noqa: ARG002 - there is no queue
        return await anyio.to_thread.run_sync(next, self._pieces, None)

    def _has_gone(self) -> None:
        pass


class _StreamedAsItComes(_Streamed):
    def __init__(
        self,
        transfer: Transfer,
        room: Room,
        first: bytes,
        pieces: AsyncGenerator[bytes],
        headers: Mapping[str, str],
        media_type: str,
        untaken: Callable[[], int | None] | None,
    ) -> None:
        super().__init__(transfer, room, iter(()), 200, headers, media_type, untaken)
        self._first: bytes | None = first
        self._coming = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._coming):
            await super().__call__(scope, receive, send)

    async def _next(self, *, keeps_up: bool = False) -> Buffer | None:  # noqa: ARG002 - there is no queue
        first, self._first = self._first, None
        return await anext(self._coming, None) if first is None else first


def requested_range(headers: Headers, etag: str | None = None) -> ByteRange | None:
    """Return the part that is asked for; ``None``: the whole.

    Anything but one range of bytes is answered with the whole, as the HTTP specification allows; so is a range of
    another version than the one that ``etag`` stands for (If-Range).
    """
    if etag is not None and headers.getlist("if-range") not in ([], [etag]):
        return None
    match = _ONE_RANGE.match(", ".join(headers.getlist("range")).strip())
    if match is None or not (match[1] or match[2]):
        return None
    first, last = (None if text is None else _position(text) for text in match.groups())
    return None if first is not None and last is not None and last < first else ByteRange(first, last)


def _position(text: str) -> int:
    digits = text.lstrip("0")
    return int(digits or "0") if len(digits) <= _MOST_DIGITS else 10**_MOST_DIGITS


def content_range(start: int, length: int, size: int | None) -> dict[str, str]:
    """Return the headers of a part. Args: ``size``: of the whole; ``None``: not known."""
    last = start + length - 1
    return {"Content-Length": str(length), "Content-Range": f"bytes {start}-{last}/{'*' if size is None else size}"}


def media_type_of(path: bytes) -> str:
    """Return a type that no browser runs: plain text, or bytes."""
    name = path.rpartition(b"/")[2].decode("utf-8", "replace").lower()
    guessed = mimetypes.guess_type(name)[0] or ""
    is_text = guessed.startswith("text/") or guessed in _TEXT_APPLICATIONS or name.endswith(_TEXT_SUFFIXES)
    return "text/plain; charset=utf-8" if is_text else "application/octet-stream"


def attachment(name: bytes) -> str:
    """Return a Content-Disposition that saves the answer under ``name``."""
    plain = _UNSAFE.sub("_", name.decode("utf-8", "replace"))[:150] or "download"
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote_from_bytes(name, safe='')}"
