"""An HTTP server of 127.0.0.1 that answers as it is told to, and remembers what it was asked."""

from __future__ import annotations

import contextlib
import ssl
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple


class Asked(NamedTuple):
    method: str
    path: str
    headers: Mapping[str, str]
    """Names in lower case."""


class OddServer:
    """Attributes:

    - ``status``, ``headers``, ``body``: of every answer from now on. A ``content-length`` among the headers counts,
      whatever the body's length is.
    - ``stands_still_for``, ``hangs_up_on``: how many of the next requests get no answer, and how many find the
      connection ended.
    """

    def __init__(self, host: str, tls: ssl.SSLContext | None) -> None:
        self.status = 200
        self.headers: dict[str, str] = {}
        self.body = b""
        self.asked: list[Asked] = []
        self.stands_still_for = self.hangs_up_on = 0
        odd = self

        class Handler(_Handler):
            owner = odd

        self._server = ThreadingHTTPServer((host, 0), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients give up, as they should
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.port: int = self._server.server_address[1]
        self.url = f"{'https' if tls else 'http'}://{host}:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        """Args: ``headers``: with ``_`` for ``-`` in their names."""
        self.status, self.body = status, body
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}

    def refuse(self, status: int, code: str, message: str = "as asked") -> None:
        """Answer as S3 does when it refuses."""
        self.answer(status, f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode())

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextlib.contextmanager
def odd_server(host: str = "127.0.0.1", certificate: tuple[Path, Path] | None = None) -> Iterator[OddServer]:
    """Args: ``certificate``: with its key; the server then speaks TLS."""
    tls = None
    if certificate is not None:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(*certificate)
    server = OddServer(host, tls)
    try:
        yield server
    finally:
        server.close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    owner: OddServer

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def _handle(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        odd = self.owner
        odd.asked.append(Asked(self.command, self.path, {name.lower(): text for name, text in self.headers.items()}))
        if odd.stands_still_for or odd.hangs_up_on:
            if odd.hangs_up_on:
                odd.hangs_up_on -= 1
            else:
                odd.stands_still_for -= 1
                self.rfile.read(1)  # until the client gives up
            self.close_connection = True
            return
        self.send_response_only(odd.status)
        for name, value in ({"content-length": str(len(odd.body))} | odd.headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(odd.body)
        if "content-length" in odd.headers:
            self.close_connection = True

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _handle  # noqa: N815
