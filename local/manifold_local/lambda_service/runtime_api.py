"""Lambda's Runtime API for one container: the runtime fetches an invocation, answers it, fetches the next one.

https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from manifold_local.lambda_service.limits import MAX_ANSWER_BYTES

_NEXT = "/2018-06-01/runtime/invocation/next"
_INIT_ERROR = "/2018-06-01/runtime/init/error"
_DONE = re.compile(r"/2018-06-01/runtime/invocation/([^/]+)/(response|error)\Z")
_POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Invocation:
    request_id: str
    payload: bytes
    """The event as JSON."""
    arn: str
    deadline: float
    """When the function's time is over, as ``time.time()`` has it."""
    trace_id: str | None = None


@dataclass(frozen=True)
class Said:
    """What the runtime said of an invocation: an answer, or an error's description."""

    body: bytes
    is_error: bool = False


class RuntimeApi:
    """Serves one runtime on a port of its own, until ``close``. ``hand_over`` and ``wait`` are for one thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._invocation: Invocation | None = None
        self._current: str | None = None
        self._said: Said | None = None
        self._init_error: Said | None = None
        self._waits = False
        self._closed = False
        self._server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"api": self}))
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 5.0}, daemon=True).start()

    @property
    def address(self) -> str:
        host, port = self._server.server_address[:2]
        return f"{host!s}:{port}"

    @property
    def waits(self) -> bool:
        """Whether the runtime is done with what it was given, and asks for more."""
        return self._waits

    @property
    def init_error(self) -> Said | None:
        """Why the function could not be loaded."""
        return self._init_error

    def hand_over(self, invocation: Invocation) -> None:
        with self._changed:
            self._said = None
            self._invocation, self._current = invocation, invocation.request_id
            self._changed.notify_all()

    def wait(self, what: Callable[[], object], is_alive: Callable[[], bool], deadline: float) -> bool:
        """Wait until ``what()`` is true; tell whether it is. Ends early when the runtime has ended."""
        with self._changed:
            while not what():
                left = deadline - time.time()
                if left <= 0 or (not is_alive() and not self._changed.wait_for(what, _POLL_SECONDS)):
                    return bool(what())
                self._changed.wait(min(left, _POLL_SECONDS))
            return True

    def said(self) -> Said | None:
        return self._said

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        # Not here: it waits for the loop of the server to look up.
        threading.Thread(target=self._server.shutdown, daemon=True).start()
        self._server.server_close()

    # --- called by the server's threads -----------------------------------------------------------------------------

    def take(self) -> Invocation | None:
        with self._changed:
            self._waits = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._invocation is not None or self._closed)
            self._waits = False
            invocation, self._invocation = self._invocation, None
            return invocation

    def note_init_error(self, body: bytes) -> None:
        with self._changed:
            self._init_error = Said(body, is_error=True)
            self._changed.notify_all()

    def note(self, request_id: str, said: Said) -> bool:
        """Tell whether that is the invocation at hand."""
        with self._changed:
            if request_id != self._current or self._said is not None:
                return False
            self._said = said
            self._changed.notify_all()
            return True


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: a runtime that was killed leaves its connection as it is."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    api: RuntimeApi

    def do_GET(self) -> None:
        if self.path != _NEXT:
            return self._answer(404, b"")
        invocation = self.api.take()
        if invocation is None:
            self.close_connection = True
            return None
        headers = {
            "Content-Type": "application/json",
            "Lambda-Runtime-Aws-Request-Id": invocation.request_id,
            "Lambda-Runtime-Deadline-Ms": str(int(invocation.deadline * 1000)),
            "Lambda-Runtime-Invoked-Function-Arn": invocation.arn,
        }
        if invocation.trace_id:
            headers["Lambda-Runtime-Trace-Id"] = invocation.trace_id
        return self._answer(200, invocation.payload, headers)

    def do_POST(self) -> None:
        body = self._body()
        if self.path == _INIT_ERROR:
            self.api.note_init_error(body)
            return self._answer(202, b"")
        done = _DONE.match(self.path)
        if done is None:
            return self._answer(404, b"")
        request_id, kind = done.groups()
        if kind == "response" and len(body) > MAX_ANSWER_BYTES:
            refused = _error(
                "Function.ResponseSizeTooLarge",
                f"Response payload size exceeded maximum allowed payload size ({MAX_ANSWER_BYTES} bytes).",
            )
            self.api.note(request_id, Said(refused, is_error=True))
            return self._answer(413, _error("RequestEntityTooLarge", f"over {MAX_ANSWER_BYTES} bytes"))
        if not self.api.note(request_id, Said(body, is_error=kind == "error")):
            return self._answer(400, _error("InvalidRequestID", "Invalid request ID"))
        return self._answer(202, b'{"status":"OK"}')

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("transfer-encoding", "").lower():
            return self.rfile.read(int(self.headers.get("content-length") or 0))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b"".join(parts)

    def _answer(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response_only(status)
        for name, value in (headers or {"Content-Type": "application/json"}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Nothing: it would say so for each invocation."""


def _error(kind: str, message: str) -> bytes:
    return json.dumps({"errorType": kind, "errorMessage": message}).encode()
