"""A server between a client and a real one: it passes on what is asked, and answers as a test has it answer."""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import urllib3


@dataclass
class Answer:
    """One answer, as bytes."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})
    endless: bytes = b""
    """Sent after the body, again and again, while anybody listens."""


Lie = Callable[[str, Any], Any]
"""Given what is asked (method and path) and the true answer, parsed, returns another one, or an ``Answer``."""


def truth(asked: str, answer: Any) -> Any:
    return answer


def lie_about(end: str, change: Callable[[Any], object]) -> Callable[[str, Any], Any]:
    """Return a lie that changes the answers of one route."""

    def lie(asked: str, answer: Any) -> Any:
        if not asked.partition("?")[0].endswith(end):
            return answer
        said = copy.deepcopy(answer)
        other = change(said)
        return said if other is None or other is said else other

    return lie


def setting(path: str, value: object) -> Callable[[Any], None]:
    """Return a change of one field, such as ``plan.tree.grant.key``."""

    def change(said: Any) -> None:
        *above, last = path.split(".")
        for name in above:
            said = said[int(name)] if name.isdigit() else said[name]
        said[int(last) if last.isdigit() else last] = value

    return change


class LyingServer:
    def __init__(self, true_url: str) -> None:
        self.true_url = true_url
        self.lie: Lie = truth
        self.asked: list[str] = []
        self._pool = urllib3.PoolManager(retries=False)
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *arguments: Any) -> None:
                """Nothing."""

            def do_GET(self) -> None:
                outer._answer(self)

            do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815 - http.server looks for these names

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._pool.clear()

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        length = int(request.headers.get("Content-Length") or 0)
        body = request.rfile.read(length)
        headers = {name: value for name, value in request.headers.items() if name.lower() != "host"}
        true = self._pool.request(request.command, self.true_url + request.path, body=body or None, headers=headers)
        asked = f"{request.command} {request.path}"
        self.asked.append(asked)
        said = self.lie(asked, json.loads(true.data) if true.data else None)
        if not isinstance(said, Answer):
            said = Answer(b"" if said is None else json.dumps(said).encode(), true.status)
        self._send(request, said)

    @staticmethod
    def _send(request: BaseHTTPRequestHandler, said: Answer) -> None:
        try:
            request.send_response(said.status)
            for name, value in said.headers.items():
                request.send_header(name, value)
            if said.endless:
                request.send_header("Connection", "close")
            elif "Content-Length" not in said.headers:
                request.send_header("Content-Length", str(len(said.body)))
            request.end_headers()
            request.wfile.write(said.body)
            while said.endless:
                request.wfile.write(said.endless)
        except OSError:
            pass  # it has heard enough
        if said.endless or "Content-Length" in said.headers:
            request.close_connection = True


@contextmanager
def lying(true_url: str) -> Iterator[LyingServer]:
    server = LyingServer(true_url)
    try:
        yield server
    finally:
        server.stop()
