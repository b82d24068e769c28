"""An endpoint for webhooks, on loopback, that checks signatures as its owner would and answers as it is told."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

SECRET = "whsec_c2VjcmV0LW9mLXRoZS10ZXN0LXNpeHRlZW4="


@dataclass(frozen=True)
class Request:
    path: str
    headers: dict[str, str]
    """Names in small letters."""
    body: bytes

    @property
    def event(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found


Answer = Callable[[Request, BaseHTTPRequestHandler], int | None]


def answering(status: int, header: str, value: str) -> Answer:
    """Answer each request with this status, and with a header more than usual."""

    def answer(request: Request, handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header(header, value)
        handler.send_header("content-length", "0")
        handler.end_headers()

    return answer


class WebhookEndpoint:
    """``answer`` is asked for the status of each request; ``None``: it has answered by itself."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.taken: list[Request] = []
        self.answer: Answer = lambda request, handler: 204
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                request = Request(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
                endpoint.requests.append(request)
                status = endpoint.answer(request, self)
                if status is None:
                    return
                if 200 <= status < 300:
                    endpoint.taken.append(request)
                self.send_response(status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                """A client that hung up is part of the tests."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/hook?token=hidden"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    @property
    def events(self) -> list[dict[str, Any]]:
        return [request.event for request in self.taken]

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def running_endpoint() -> Iterator[WebhookEndpoint]:
    endpoint = WebhookEndpoint()
    try:
        yield endpoint
    finally:
        endpoint.stop()


@pytest.fixture
def webhook_endpoint() -> Iterator[WebhookEndpoint]:
    with running_endpoint() as endpoint:
        yield endpoint
