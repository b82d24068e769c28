"""JSON answers in the encoding that the client takes, gzip or zstd: the last thing that happens to an answer.

Not for what mixes secrets with text that somebody else may choose, as plans do: names of files beside keys and signed
links. How well such an answer compresses tells of the secret (BREACH). Not for content, which is streamed, nor for what
is small. Nothing is held but the answer, which was there as a whole before, and what becomes of it.

An encoded answer is another representation, so its ETag is another: the same with the encoding's name at its end
(``"7"``, ``"7-gzip"``). What comes back in a condition loses that end again: behind this layer there is one ETag only.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from typing import Final

import anyio
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from functions.api.areas import AREAS, word_of
from functions.api.weights import weights_of

_JSON: Final = "application/json"
_SMALL_BYTES: Final = 1024
_LARGE_BYTES: Final = 64 << 10
"""From here on compressing is the work of a thread."""
_GZIP_LEVEL: Final = 5
_GZIP_WINDOW: Final = 16 + zlib.MAX_WBITS
_ZSTD_LEVEL: Final = 3
_AS_IT_IS: Final = frozenset(
    word for name in ("data_plane", "files", "archive", "objects") for word in AREAS[f"functions.api.routes.{name}"]
)
"""What addresses are about whose answers are secret, or content."""
_MARK: Final = re.compile(rb'-(?:gzip|zstd)"')
_CONDITIONS: Final = (b"if-match", b"if-none-match")


def _gzip(data: bytes) -> bytes:
    packer = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP_WINDOW)
    return packer.compress(data) + packer.flush()


def _zstd(data: bytes) -> bytes:
    import zstandard  # most clients do not ask for it

    return zstandard.ZstdCompressor(_ZSTD_LEVEL).compress(data)


_ENCODINGS: Final[dict[str, Callable[[bytes], bytes]]] = {"zstd": _zstd, "gzip": _gzip}
"""The better one first."""


def encoding_of(accepted: str) -> str | None:
    """Return the best encoding that an Accept-Encoding header takes; ``None``: as it is."""
    weights = weights_of(accepted)
    weighed = {name: weights.get(name, weights.get("*", 0.0)) for name in _ENCODINGS}
    best = max(weighed, key=lambda name: weighed[name])
    return best if weighed[best] > 0 else None


class Compressed:
    """An ASGI layer around all that makes answers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            asked = Headers(raw=scope["headers"])
            scope["headers"] = [
                (name, _MARK.sub(b'"', value) if name in _CONDITIONS else value) for name, value in scope["headers"]
            ]
            if word_of(scope["path"]) not in _AS_IT_IS:
                send = _Answer(asked, send).send
        await self._app(scope, receive, send)


class _Answer:
    def __init__(self, asked: Headers, send: Send) -> None:
        self._encoding = encoding_of(", ".join(asked.getlist("accept-encoding")))
        self._known = ", ".join(asked.getlist("if-none-match"))
        self._send = send
        self._start: Message | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start" and self._may_change(message):
            self._start = message  # until it is known whether the content comes at once
            return
        start, self._start = self._start, None
        if start is not None:
            message = await self._encoded(start, message)
            await self._send(start)
        await self._send(message)

    def _may_change(self, start: Message) -> bool:
        """Tell whether it depends on the content what ``start`` has to say; what does not is said in it."""
        headers = MutableHeaders(scope=start)
        if start["status"] == 304:
            self._mark_known(headers)
            headers.add_vary_header("Accept-Encoding")
            return False
        if headers.get("content-type", "").partition(";")[0] != _JSON or "content-encoding" in headers:
            return False
        headers.add_vary_header("Accept-Encoding")
        return True

    async def _encoded(self, start: Message, message: Message) -> Message:
        """Return the content as it goes out, and change ``start`` with it."""
        headers = MutableHeaders(scope=start)
        body: bytes = message.get("body", b"")
        if self._encoding is None or message.get("more_body") or len(body) < _SMALL_BYTES:
            return message
        encode = _ENCODINGS[self._encoding]
        encoded = encode(body) if len(body) < _LARGE_BYTES else await anyio.to_thread.run_sync(encode, body)
        headers["Content-Encoding"] = self._encoding
        headers["Content-Length"] = str(len(encoded))
        if headers.get("etag", "").endswith('"'):
            headers["ETag"] = _marked(headers["etag"], self._encoding)
        return {**message, "body": encoded}

    def _mark_known(self, headers: MutableHeaders) -> None:
        """Name the version as the client does that has it."""
        for encoding in _ENCODINGS:
            if _marked(headers.get("etag", ""), encoding) in self._known:
                headers["ETag"] = _marked(headers["etag"], encoding)


def _marked(etag: str, encoding: str) -> str:
    return f'{etag[:-1]}-{encoding}"'
