"""One connection of the HTTP server, bounded in time and in what it may make the server do.

uvicorn's protocol over h11, which bounds the idle time after an answer and the size of an incomplete header. Added:

- a request's line and headers have to come within a time, counted from the first wait and not from the last byte;
- an answer has to be taken at a pace, and a connection that is closed is gone after a moment, taken or not;
- a body that goes on after its answer is not read for ever;
- what frames a chunked body may not be many times the body;
- what two readers could frame in two ways is refused: a length beside chunks or given twice, chunks in HTTP/1.0, and,
  before a body, in it or behind it, lines that are folded or do not end in CR LF;
- an address may name its server, which then stands in the place of Host (RFC 9112, 3.2.2);
- what would count before a body is refused behind it;
- where a client waits to be asked for a body and gets an answer instead, the connection ends with it: nobody could tell
  whether the body comes all the same. If it does, it is thrown away for a moment, so that the client sees the answer;
- connections over a limit are refused, except to ask how the server is.

How long a body may take to come is the application's to say (``functions/api/pace.py``).
"""

from __future__ import annotations

import asyncio
import fcntl
import re
import socket
import struct
import sys
import termios
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Any, cast
from uuid import uuid4

import h11
from h11._receivebuffer import ReceiveBuffer
from manifold_common.domain.correlation import ID_HEADERS, Correlation, correlated, correlation
from manifold_common.errors import InvalidInput, ManifoldError
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from functions.api.guard import RESUMABLE
from functions.invocation.content import check_trailer
from functions.invocation.problems import (
    MEDIA_TYPE,
    HeadersTooLarge,
    IncompleteRequest,
    ProblemAnswer,
    UnknownTransferCoding,
    answer_to,
)
from manifold_local.host.connections import Admission, Connections

_RETRY_SECONDS = 0.01
_RESERVED_SECONDS = 2.0
"""What a connection over the limit has for its one request, or to hear that there is no room."""
_NO_LINGER = struct.pack("ii", 1, 0)
_MAX_HEADERS = 200
_MAX_HEADER_BYTES = 32 << 10
_ODD_LINE = re.compile(rb"(?<!\r)\n|\n[ \t]")
_ODD_IN_A_CHUNK = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_WITH_SERVER = re.compile(rb"https?://([^/?]*)(.*)", re.IGNORECASE)
"""The form of an address that names its server. TLS, where there is any, ends before this one."""
_CHUNKED = b"chunked"
_H11_TOO_LARGE = 431
_CLOSE = (b"Connection", b"close")
_FRAMING_FREE_BYTES = 16 << 10
_FRAMING_RATIO = 4


class _Refused(h11.RemoteProtocolError):
    """A request that h11 would take. Args: ``error``: what its client is told."""

    def __init__(self, error: ManifoldError) -> None:
        super().__init__(error.message)
        self.error = error


def _odd(what: str) -> _Refused:
    hint = "send HTTP/1.1, in lines that end in CR LF, and one Content-Length or chunks"
    return _Refused(InvalidInput(f"the request could be read in two ways: {what}", hint=hint))


def _too_large() -> HeadersTooLarge:
    return HeadersTooLarge(
        "the request line, the headers or the trailer are too large", hint="send a shorter address or fewer headers"
    )


class _Lines(ReceiveBuffer):
    """What has arrived, of which only CR LF ends a line, whatever h11 would take for its end.

    Args:
        check: given the lines of each head and trailer, before anything is made of them.
    """

    def __init__(self, check: Callable[[list[bytearray]], None]) -> None:
        super().__init__()
        self._check = check

    def maybe_extract_next_line(self) -> bytearray | None:
        line = super().maybe_extract_next_line()
        if line is not None and _ODD_IN_A_CHUNK.search(line, 0, len(line) - 2):
            raise _odd("a chunk's line has a character that ends it elsewhere")
        return line

    def maybe_extract_lines(self) -> list[bytearray] | None:
        if not self._data.startswith(b"\r\n"):
            begin = max(0, self._multiple_lines_search - 1)
            end = self._data.find(b"\r\n\r\n", begin)
            if _ODD_LINE.search(self._data, begin, len(self._data) if end < 0 else end):
                raise _odd("a line ends without CR, or goes on in the next")
        lines = super().maybe_extract_lines()
        if lines:
            self._check(lines)
        return lines


class _BoundedConnection(h11.Connection):
    """Refuses requests whose headers, or the framing of whose bodies, are out of all proportion or read in two ways."""

    def __init__(self) -> None:
        super().__init__(h11.SERVER, _MAX_HEADER_BYTES)
        self._receive_buffer = _Lines(self._check_lines)
        self._wire_bytes = 0
        self._body_bytes = 0
        self.refusal: ManifoldError | None = None
        self.has_not_asked = False
        """The client was to be asked for its body, and was answered instead."""

    def receive_data(self, data: bytes) -> None:
        self._wire_bytes += len(data)
        super().receive_data(data)

    def next_event(self) -> Any:
        try:
            event = super().next_event()
            if isinstance(event, h11.Request):
                _check_size(event.headers, len(event.target))
                self._wire_bytes, self._body_bytes = self._unread_bytes(), 0
                event = _without_server(event)
            elif isinstance(event, h11.Data):
                self._body_bytes += len(event.data)
                read = self._wire_bytes - self._unread_bytes()
                if read > _FRAMING_FREE_BYTES + _FRAMING_RATIO * self._body_bytes:
                    raise _Refused(InvalidInput("the body's chunks are far too small", hint="send larger chunks"))
            elif isinstance(event, h11.EndOfMessage):
                _check_size(event.headers)
                _check_trailer(event)
        except h11.RemoteProtocolError as error:
            self.refusal = _refusal_of(error)
            raise
        return event

    def send_with_data_passthrough(self, event: h11.Event) -> list[bytes] | None:
        if isinstance(event, h11.Response) and self.they_are_waiting_for_100_continue:
            self.has_not_asked = True
            headers = [one for one in event.headers.raw_items() if one[0].lower() != b"connection"]
            event = h11.Response(status_code=event.status_code, headers=[*headers, _CLOSE], reason=event.reason)
        return super().send_with_data_passthrough(event)

    def _check_lines(self, lines: list[bytearray]) -> None:
        if self.their_state is h11.IDLE:
            _check_framing(lines)

    def _unread_bytes(self) -> int:
        """Return how much has arrived that no event was made of yet: many chunks may come at once."""
        return len(self._receive_buffer)  # ``trailing_data`` would copy it


def _check_framing(lines: list[bytearray]) -> None:
    """Refuse a head that does not tell in one way where its request ends: a proxy and a server that go by different
    words of it see different requests. Looks at the lines as they came, since h11 makes one of equal lengths."""
    fields = [(name.lower(), value.strip().lower()) for name, _, value in (line.partition(b":") for line in lines[1:])]
    lengths = [value for name, value in fields if name == b"content-length"]
    encodings = [value for name, value in fields if name == b"transfer-encoding"]
    if len(lengths) > 1 or any(b"," in value for value in lengths):
        raise _odd("it has two lengths")
    if not encodings:
        return
    *others, last = (coding.strip() for coding in b",".join(encodings).split(b","))
    if lengths:
        raise _odd("it has a length and chunks")
    if not lines[0].endswith(b" HTTP/1.1"):
        raise _odd("it has a Transfer-Encoding, and is not of HTTP/1.1")
    if last != _CHUNKED or _CHUNKED in others:
        raise _odd("chunks are not the last of its transfer encodings, or come twice")
    if others:
        raise _Refused(
            UnknownTransferCoding(
                "the only transfer coding that is taken is chunked", hint="send the bytes as they are, in chunks"
            )
        )


def _check_size(headers: Collection[tuple[bytes, bytes]], more: int = 0) -> None:
    size = more + sum(len(name) + len(value) for name, value in headers)
    if len(headers) > _MAX_HEADERS or size > _MAX_HEADER_BYTES:
        raise _Refused(_too_large())


def _check_trailer(end: h11.EndOfMessage) -> None:
    try:
        check_trailer(name.decode("ascii") for name, _ in end.headers)
    except InvalidInput as error:
        raise _Refused(error) from None


def _refusal_of(error: h11.RemoteProtocolError) -> ManifoldError:
    """Return what a client is told whose request was refused with ``error``."""
    if isinstance(error, _Refused):
        return error.error
    if error.error_status_hint == _H11_TOO_LARGE:
        return _too_large()
    return InvalidInput("the request is malformed", hint="send HTTP/1.1, as RFC 9112 has it")


def _without_server(request: h11.Request) -> h11.Request:
    """Return the request with the path alone as its target. A server that the target names takes the place of Host."""
    match = _WITH_SERVER.fullmatch(request.target)
    if match is None:
        return request
    server, path = match.groups()
    if not path.startswith(b"/"):
        path = b"*" if request.method == b"OPTIONS" and not path else b"/" + path
    headers = [one for one in request.headers.raw_items() if one[0].lower() != b"host"]
    return h11.Request(
        method=request.method, target=path, headers=[(b"Host", server), *headers], http_version=request.http_version
    )


class HostProtocol(H11Protocol):
    """A request that has arrived whole is handed over even when the client has hung up meanwhile.

    Otherwise the same bytes would be a commit, or none, depending on which of two events the loop saw first: a closed
    browser tab would cancel the commit that it had sent. So is what has arrived of a part of a resumable upload.
    """

    conn: _BoundedConnection

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        connections: Connections,
    ) -> None:
        here = {"client_is_there": self._client_is_there, "cut_off": self._cut_off, "untaken": self._untaken}
        super().__init__(config, server_state, {**app_state, **here}, _loop)
        self.access_log = False  # of this connection: an address may hold a link's signature
        self.conn = _BoundedConnection()
        self._counted = connections
        self._limits = connections.traffic.limits
        self._peer, self._admission = "", Admission.NOTHING
        self._has_left = False
        self._is_deaf = False
        """It has been told goodbye: what it still sends is dropped."""
        self._header_timer = _Timer(self.loop)
        self._taking_timer = _Timer(self.loop)
        self._end_timer = _Timer(self.loop)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(cast(asyncio.Transport, _Closing(transport, self._close)))
        self._peer, self._admission, refusal = self._counted.enter(self.client[0] if self.client else "")
        seconds = self._limits.head_seconds
        if refusal is not None:
            seconds = min(seconds, _RESERVED_SECONDS)
            self.app_state["refusal"] = refusal
            self._counted.traffic.refused(refusal.code)
        if self._admission is Admission.FULL or self._admission is Admission.HEALTH:
            self._header_timer.start(seconds, self._header_is_late)
        elif self._admission is Admission.DEAF and refusal is not None:
            self._refuse_and_close(refusal)
        else:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        cycle = self.cycle
        if (
            cycle is not None
            and cycle.body
            and not cycle.response_complete
            and (not cycle.more_body or RESUMABLE.match(cycle.scope["path"]))
        ):
            self.loop.call_later(_RETRY_SECONDS, self.connection_lost, exc)
            return
        if not self._has_left:
            self._has_left = True
            self._counted.leave(self._peer, self._admission)
        for timer in (self._header_timer, self._taking_timer, self._end_timer):
            timer.stop()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if not self._is_deaf:
            super().data_received(data)

    def eof_received(self) -> None:
        # The transport closes now, which waits until what was sent is taken.
        self._watch_taking()

    def handle_events(self) -> None:
        super().handle_events()
        if self.conn.their_state is not h11.IDLE:
            self._header_timer.stop()
        elif self.timeout_keep_alive_task is None:
            has_begun = bool(self.conn.trailing_data[0])
            seconds = self._limits.head_seconds if has_begun else self._limits.idle_seconds
            self._header_timer.start(seconds, self._header_is_late)
        if self.conn.their_state is not h11.SEND_BODY:
            self._end_timer.stop()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._admission is Admission.HEALTH:
            self.transport.close()
        if self.transport.is_closing():
            self._watch_taking()
        elif self.conn.their_state is h11.SEND_BODY:
            # The rest of the body is not read for anything but so that the client comes to see the answer.
            self._end_timer.start(self._limits.stall_seconds, self.transport.abort)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - ours is a problem document
        assert self.conn.refusal is not None
        self._refuse_and_close(self.conn.refusal)

    def shutdown(self) -> None:
        super().shutdown()
        if self.transport.is_closing():
            self._watch_taking()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._watch_taking()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_taking()

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self.transport.is_closing():
            self._taking_timer.stop()

    # --- time-outs ---

    def _header_is_late(self) -> None:
        self._counted.traffic.refused("slow_header")
        if not self.conn.trailing_data[0]:
            self.transport.abort()
            return
        hint = "send it at once; the operator may raise server.headSeconds"
        self._refuse_and_close(IncompleteRequest("the request did not come in time", hint=hint))

    def _watch_taking(self) -> None:
        """See to it that the client takes what it was sent, at a pace; as long as something waits to be taken."""
        waiting = self.transport.get_write_buffer_size()
        if waiting and not self._has_left:
            self._taking_timer.start(self._limits.stall_seconds, self._check_taken, waiting)

    def _check_taken(self, before: int) -> None:
        taken = before - self.transport.get_write_buffer_size()
        if taken >= max(1, int(self._limits.min_bytes_per_second * self._limits.stall_seconds)):
            self._watch_taking()
        elif taken < before:
            self._counted.traffic.refused("slow_reader")
            self._cut_off()

    def _refuse_and_close(self, error: ManifoldError) -> None:
        with correlated(Correlation(uuid4().hex)):
            self._say_and_close(answer_to(error, {}))

    def _say_and_close(self, answer: ProblemAnswer) -> None:
        """Send an answer to no request in particular; what still comes is not read."""
        known = correlation()
        self._is_deaf = True
        self._end_timer.start(_RESERVED_SECONDS, self.transport.abort)
        body = answer.encode()
        headers = {
            **answer.headers,
            **(dict.fromkeys(ID_HEADERS, known.id) if known else {}),
            "Content-Type": MEDIA_TYPE,
            "Content-Length": str(len(body)),
            "Connection": "close",
        }
        try:
            sent = self.conn.send(h11.Response(status_code=answer.status, headers=list(headers.items())))
            self.transport.write((sent or b"") + body)
            self.transport.write_eof()
        except (h11.LocalProtocolError, OSError):
            self.transport.abort()  # in the middle of another answer

    def _close(self, transport: asyncio.Transport) -> None:
        if self.conn.has_not_asked and not self._is_deaf and not transport.is_closing():
            self._is_deaf = True
            self._end_timer.start(_RESERVED_SECONDS, transport.abort)
            transport.write_eof()
        else:
            transport.close()

    def _client_is_there(self) -> bool:
        return not self.transport.is_closing()

    def _untaken(self) -> int | None:
        """Return how many bytes of what was sent the client has not taken yet. ``None``: it has taken all that the
        system had for it, so that what is left waits for this process."""
        left = self.transport.get_write_buffer_size()
        with suppress(OSError, ValueError):  # it is closed, or the system does not tell
            fileno = self.transport.get_extra_info("socket").fileno()
            unacknowledged = int.from_bytes(fcntl.ioctl(fileno, termios.TIOCOUTQ, bytes(4)), sys.byteorder)
            return left + unacknowledged if unacknowledged else None
        return left

    def _cut_off(self) -> None:
        """End the connection, and what the system keeps for a client that does not take it."""
        with suppress(OSError):  # it is closed already, where a request that has arrived whole is still worked on
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self.transport.abort()


class _Closing:
    """A transport that is closed in another way. Args: ``close``: does it, given the transport."""

    def __init__(self, transport: asyncio.Transport, close: Callable[[asyncio.Transport], None]) -> None:
        self._transport = transport
        self._close = close

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def close(self) -> None:
        self._close(self._transport)


class _Timer:
    """A time-out that is started again only once it has ended or was stopped."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._handle: asyncio.TimerHandle | None = None

    def start(self, seconds: float, then: Callable[..., None], *args: object) -> None:
        """Do nothing if it runs already."""
        if self._handle is None:
            self._handle = self._loop.call_later(seconds, self._end, then, args)

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _end(self, then: Callable[..., None], args: tuple[object, ...]) -> None:
        self._handle = None
        then(*args)
