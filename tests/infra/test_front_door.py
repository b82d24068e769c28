"""The address of the HTTP API: requests pass as they are, with API Gateway's limits."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from manifold_local.functions_stack import front_door
from manifold_local.functions_stack.front_door import FrontDoor
from manifold_local.host.port import reserve


class _Mirror(BaseHTTPRequestHandler):
    """Answers with what it was asked."""

    protocol_version = "HTTP/1.1"

    def _say(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        asked = [self.command, self.path, self.headers["host"], self.headers.get("x-other"), body.decode("latin-1")]
        content = json.dumps(asked).encode()
        self.send_response(201)
        self.send_header("content-length", str(len(content)))
        self.send_header("etag", '"1"')
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_HEAD = do_PUT = _say  # noqa: N815 - http.server calls them so

    def log_message(self, *args: Any) -> None:
        pass


@contextmanager
def _mirror() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Mirror)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def client() -> Iterator[http.client.HTTPConnection]:
    listener = reserve("127.0.0.1", 0)
    with _mirror() as port, FrontDoor(listener, f"http://127.0.0.1:{port}", "abc"):
        connection = http.client.HTTPConnection("127.0.0.1", listener.getsockname()[1], timeout=20)
        yield connection
        connection.close()


def _ask(client: http.client.HTTPConnection, method: str, path: str, **more: Any) -> tuple[int, bytes]:
    client.request(method, path, **more)
    answer = client.getresponse()
    return answer.status, answer.read()


def test_a_request_passes_with_its_path_headers_and_body_unchanged(client: http.client.HTTPConnection) -> None:
    for _ in range(2):  # on one connection
        status, content = _ask(client, "PUT", "/a%2Fb/%ff?q=1&q=2", body=b"\x00\xff", headers={"X-Other": "y"})
        asked = json.loads(content)
        assert status == 201
        host = f"{client.host}:{client.port}"
        assert asked == ["PUT", "/_aws/execute-api/abc/$default/a%2Fb/%ff?q=1&q=2", host, "y", "\x00\xff"]


def test_a_body_in_chunks_arrives_whole(client: http.client.HTTPConnection) -> None:
    status, content = _ask(client, "PUT", "/x", body=iter([b"one", b"two"]), encode_chunked=True)
    assert (status, json.loads(content)[4]) == (201, "onetwo")


def test_an_answer_to_head_has_no_body(client: http.client.HTTPConnection) -> None:
    assert _ask(client, "HEAD", "/x") == (201, b"")
    assert _ask(client, "GET", "/x")[0] == 201


def test_what_api_gateway_would_not_take_is_refused(
    client: http.client.HTTPConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(front_door, "MAX_REQUEST_BYTES", 10)
    assert _ask(client, "PUT", "/x", body=b"x" * 10)[0] == 201
    assert _ask(client, "PUT", "/x", body=b"x" * 11) == (413, b'{"message": "Request Entity Too Large"}')
    assert _ask(client, "PUT", "/x", body=iter([b"x" * 6] * 2), encode_chunked=True)[0] == 413


def test_a_stand_in_that_is_gone_is_503() -> None:
    listener = reserve("127.0.0.1", 0)
    with FrontDoor(listener, "http://127.0.0.1:1", "abc"):
        connection = http.client.HTTPConnection("127.0.0.1", listener.getsockname()[1], timeout=20)
        assert _ask(connection, "GET", "/x")[0] == 503
        connection.close()
