"""The API over a real socket, as clients meet it."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from manifold_common.bootstrap import Manifold
from manifold_local.host.app import host_app
from manifold_local.host.port import reserve
from manifold_local.host.server import HostServer

from functions.api.traffic import Traffic
from tests.support.manifold import MakeManifold


@dataclass
class Raw:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Api(httpx.Client):
    """A client of one running server, which also sends what httpx would put right."""

    def __init__(self, manifold: Manifold, port: int) -> None:
        super().__init__(base_url=f"http://127.0.0.1:{port}", timeout=30)
        self.manifold = manifold
        self.port = port

    def project(self, name: str = "demo") -> str:
        """Make a project and return its id."""
        made = self.post("/api/v1/projects", json={"name": name})
        assert made.status_code == 201, made.text
        return str(made.json()["id"])

    def raw(self, method: str, target: str, headers: dict[str, str] | None = None, body: bytes | None = None) -> Raw:
        """Send ``target`` as it is."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            connection.putrequest(method, target, skip_host="Host" in (headers or {}))
            for name, value in (headers or {}).items():
                connection.putheader(name, value)
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            answer = connection.getresponse()
            return Raw(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)


def ask(api: Api, path: str, **headers: str) -> socket.socket:
    """Send a request whose answer is awaited elsewhere."""
    connection = api.connect()
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{lines}\r\n".encode())
    return connection


@pytest.fixture(scope="session")
def _stopping() -> Iterator[list[threading.Thread]]:
    """Servers on their way out: each needs a fifth of a second, for which no test has to wait."""
    threads: list[threading.Thread] = []
    yield threads
    for thread in threads:
        thread.join(20)
    assert not any(thread.is_alive() for thread in threads)


@contextmanager
def serving(manifold: Manifold, stopping: list[threading.Thread] | None = None) -> Iterator[Api]:
    """Serve as the host does. Args: ``stopping``: takes the server on its way out; ``None``: it is waited for."""
    listener = reserve("127.0.0.1", 0)
    listener.listen()  # so that clients may come before the server's thread has got there
    traffic = Traffic(manifold.settings)
    server = HostServer(host_app(manifold, traffic), traffic, shutdown_seconds=5)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])))
    thread.start()
    try:
        with Api(manifold, listener.getsockname()[1]) as client:
            yield client
    finally:
        server.should_exit = True
        if stopping is None:
            thread.join(20)
        else:
            stopping.append(thread)


MakeApi = Callable[..., Api]


@pytest.fixture
def make_api(make_manifold: MakeManifold, _stopping: list[threading.Thread]) -> Iterator[MakeApi]:
    """Return a function that serves a new Manifold as the host does; arguments as for ``make_manifold``."""
    with ExitStack() as stack:

        def make(**settings: Any) -> Api:
            return stack.enter_context(serving(make_manifold(**settings), _stopping))

        yield make


@pytest.fixture
def api(make_api: MakeApi) -> Api:
    return make_api()
