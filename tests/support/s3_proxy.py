"""A small HTTP proxy in front of an S3 server that misbehaves on request and remembers what passed."""

from __future__ import annotations

import contextlib
import http.client
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

Kind = Literal["status", "hang", "cut", "stall", "drop", "lost_ack", "late_ack", "flip_upload"]


@dataclass(frozen=True)
class Fault:
    """What to do with a request.

    ``status``: answer it without asking the server. ``hang``: never answer. ``cut``: end the body of the answer
    after ``keep_bytes`` and close. ``stall``: send no more than that, and keep the connection. ``drop``: close the
    connection before asking the server; ``lost_ack``: after. ``late_ack``: answer ``seconds`` later. ``flip_upload``:
    change one bit of what is sent to the server.
    """

    kind: Kind
    status: int = 503
    code: str = "SlowDown"
    keep_bytes: int = 0
    seconds: float = 0.0


class Seen(NamedTuple):
    method: str
    path: str
    at: float
    headers: Mapping[str, str]
    """Names in lower case."""


class S3Proxy:
    """Faults are used up one a request, in order of ``inject``; later requests pass untouched."""

    def __init__(self, upstream: str) -> None:
        self.upstream = urlsplit(upstream).netloc
        self._lock = threading.Lock()
        self._faults: list[tuple[Fault, str | None]] = []
        self.seen: list[Seen] = []
        self.under_way = self.most_at_once = 0
        """Requests that have not been answered: now, and the most there have been."""
        self.unknown_headers = ""
        """What the names of headers begin with that it does not know, in lower case; it refuses requests with one."""
        self.closing = threading.Event()
        proxy = self

        class Handler(_Handler):
            owner = proxy

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def inject(self, fault: Fault, *, times: int = 1, method: str | None = None) -> None:
        """Let the next ``times`` requests (of ``method``, if given) suffer ``fault``."""
        with self._lock:
            self._faults += [(fault, method)] * times

    def calm(self) -> None:
        """Let every request pass from now on."""
        with self._lock:
            self._faults.clear()

    def clear(self) -> None:
        """Forget the faults that no request has met yet."""
        with self._lock:
            self._faults.clear()

    def take(self, method: str, path: str, headers: Mapping[str, str]) -> Fault | None:
        with self._lock:
            self.seen.append(Seen(method, path, time.monotonic(), headers))
            for index, (fault, only) in enumerate(self._faults):
                if only in (None, method):
                    del self._faults[index]
                    return fault
        return None

    @contextlib.contextmanager
    def counted(self) -> Iterator[None]:
        """A request is under way while this lasts."""
        with self._lock:
            self.under_way += 1
            self.most_at_once = max(self.most_at_once, self.under_way)
        try:
            yield
        finally:
            with self._lock:
                self.under_way -= 1

    def close(self) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextlib.contextmanager
def running_proxy(upstream: str) -> Iterator[S3Proxy]:
    proxy = S3Proxy(upstream)
    try:
        yield proxy
    finally:
        proxy.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that give up are what these tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # the head and the body of an answer are two small packets
    owner: S3Proxy

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def _handle(self) -> None:
        with contextlib.ExitStack() as self._counted:
            self._counted.enter_context(self.owner.counted())
            self._serve()

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.owner.take(self.command, self.path, {name.lower(): value for name, value in self.headers.items()})
        unknown = self.owner.unknown_headers
        if unknown and any(name.lower().startswith(unknown) for name in self.headers):
            fault = Fault("status", status=501, code="NotImplemented")
        if fault is None:
            self._answer(*self._ask(body))
            return
        actions: dict[Kind, Callable[[], None]] = {
            "status": lambda: self._refuse(fault),
            "hang": lambda: self._hang(),
            "cut": lambda: self._cut(fault, *self._ask(body)),
            "stall": lambda: self._stall(fault, *self._ask(body)),
            "drop": lambda: self._close(),
            "lost_ack": lambda: self._lose(body),
            "late_ack": lambda: self._late(fault, body),
            "flip_upload": lambda: self._answer(*self._ask(bytes([body[0] ^ 1]) + body[1:])),
        }
        actions[fault.kind]()

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _handle  # noqa: N815

    def _ask(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        upstream = http.client.HTTPConnection(self.owner.upstream, timeout=30)
        try:
            # The signature covers the Host header: the server must see the one that the client has signed.
            upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() != "connection":
                    upstream.putheader(name, value)
            upstream.endheaders(body or None)
            answer = upstream.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            upstream.close()

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self._head(status, headers, len(body))
        self.wfile.write(body)

    def _cut(self, fault: Fault, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self._head(status, headers, len(body))
        self.wfile.write(body[: fault.keep_bytes])
        self._close()

    def _stall(self, fault: Fault, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self._cut(fault, status, headers, body)
        self.wfile.flush()
        self._hang()

    def _head(self, status: int, headers: list[tuple[str, str]], length: int) -> None:
        self._counted.close()  # who has the answer may send the next request
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                self.send_header(name, value)
        told = {name.lower(): value for name, value in headers}.get("content-length", str(length))
        self.send_header("Content-Length", told if self.command == "HEAD" else str(length))
        self.end_headers()

    def _refuse(self, fault: Fault) -> None:
        xml = f"<?xml version='1.0'?><Error><Code>{fault.code}</Code><Message>as asked</Message></Error>".encode()
        body = xml if fault.code else b""
        self._answer(fault.status, [("Content-Type", "application/xml")], b"" if self.command == "HEAD" else body)

    def _hang(self) -> None:
        self.owner.closing.wait(60)
        self._close()

    def _lose(self, body: bytes) -> None:
        self._ask(body)
        self._close()

    def _late(self, fault: Fault, body: bytes) -> None:
        answer = self._ask(body)
        self.owner.closing.wait(fault.seconds)
        self._answer(*answer)

    def _close(self) -> None:
        self.close_connection = True
