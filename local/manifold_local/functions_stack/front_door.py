"""The address of the HTTP API: a server on a port of one's choice that passes requests on to the stand-in for AWS.

With the limits of an HTTP API, which the stand-in does not have: 10 MiB for a body, 10 KiB for headers, 30 seconds for
an answer, while the function goes on. The API is named in the path: under its own host name, the stand-in would answer
some paths itself.
"""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from manifold_local.lambda_service.limits import GATEWAY_SECONDS, MAX_HEADER_BYTES, MAX_REQUEST_BYTES

_PIECE_BYTES = 1 << 16
_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "content-length"}


class FrontDoor:
    """Serves from ``with`` on until its end.

    Args:
        listener: a socket that has the port.
        target: URL of the stand-in.
        api_id: of the HTTP API there.
        answer_seconds: how long it waits for a function, which goes on all the same.
    """

    def __init__(
        self, listener: socket.socket, target: str, api_id: str, *, answer_seconds: float = GATEWAY_SECONDS
    ) -> None:
        address = urlsplit(target)
        host, port = address.hostname or "", address.port or 0

        class Handler(_Handler):
            upstream = (host, port)
            place = f"/_aws/execute-api/{api_id}/$default"
            patience_seconds = answer_seconds

        self._server = ThreadingHTTPServer(listener.getsockname(), Handler, bind_and_activate=False)
        self._server.daemon_threads = True
        self._server.socket.close()
        self._server.socket = listener
        self._thread = threading.Thread(target=self._server.serve_forever, name="front-door", daemon=True)

    def __enter__(self) -> Self:
        self._server.server_activate()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    upstream: tuple[str, int]
    place: str
    patience_seconds: float

    def _pass_on(self) -> None:
        body = self._body()
        if body is None:
            return self._say(413, "Request Entity Too Large")
        if (
            len(self.requestline) + sum(len(name) + len(value) for name, value in self.headers.items())
            > MAX_HEADER_BYTES
        ):
            return self._say(431, "Request Header Fields Too Large")
        connection = http.client.HTTPConnection(*self.upstream, timeout=self.patience_seconds)
        try:
            connection.putrequest(self.command, self.place + self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self._headers_to_pass().items():
                connection.putheader(name, value)
            connection.putheader("content-length", str(len(body)))
            connection.endheaders(body)
            answer = connection.getresponse()
            content = answer.read()
            headers = [item for item in answer.getheaders() if item[0].lower() not in _HOP_BY_HOP]
            return self._answer(answer.status, headers, content)
        except (OSError, http.client.HTTPException):
            return self._say(503, "Service Unavailable")
        finally:
            connection.close()

    def _headers_to_pass(self) -> dict[str, str]:
        """Return the headers of the request as an HTTP API has them in an event: of one name, all values in one."""
        found: dict[str, str] = {}
        for name, value in self.headers.items():
            known = name.lower()
            if known not in _HOP_BY_HOP:
                found[known] = f"{found[known]},{value}" if known in found else value
        client = self.client_address[0]
        found["x-forwarded-for"] = f"{found['x-forwarded-for']}, {client}" if "x-forwarded-for" in found else client
        return found | {"x-forwarded-proto": "http", "x-forwarded-port": str(self.connection.getsockname()[1])}

    def __getattr__(self, name: str) -> Callable[[], None]:
        """Return what answers a method: the same for all of them."""
        if name.startswith("do_"):
            return self._pass_on
        raise AttributeError(name)

    def _body(self) -> bytes | None:
        """Return the body, or ``None`` if it is too long; it was read to its end all the same, so that its sender hears
        the answer."""
        if "chunked" in self.headers.get("transfer-encoding", "").lower():
            parts = self._chunks()
        else:
            parts = self._pieces(int(self.headers.get("content-length") or 0))
        kept: list[bytes] | None = []
        left = MAX_REQUEST_BYTES
        for part in parts:
            left -= len(part)
            if left < 0:
                kept = None
            elif kept is not None:
                kept.append(part)
        return None if kept is None else b"".join(kept)

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline().split(b";")[0], 16):
            yield from self._pieces(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass

    def _pieces(self, size: int) -> Iterator[bytes]:
        while size > 0 and (piece := self.rfile.read(min(size, _PIECE_BYTES))):
            size -= len(piece)
            yield piece

    def _say(self, status: int, text: str) -> None:
        self._answer(status, [("content-type", "application/json")], json.dumps({"message": text}).encode())

    def _answer(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Nothing: requests name files."""
