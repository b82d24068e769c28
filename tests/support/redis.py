"""A real Redis for tests: Valkey from its wheel (or the system's server), one process, on loopback, nothing on disk."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from manifold_common.adapters.redis.options import RedisOptions
from manifold_local.embedded.stack.child import free_ports
from manifold_local.embedded.stack.valkey import Valkey

from tests.support.waiting import frozen


class RedisServer:
    """One server, with a password, that may be stopped and started again. It then knows what ``save`` had kept."""

    def __init__(self, folder: Path) -> None:
        self._server = Valkey(folder, port=free_ports(1)[0], password=secrets.token_hex(16))

    @property
    def port(self) -> int:
        return self._server.port

    @property
    def password(self) -> str:
        return self._server.password

    @property
    def addr(self) -> str:
        return self._server.addr

    @property
    def variables(self) -> dict[str, str]:
        """Settings of a Manifold that uses it."""
        return {"REDIS_ENABLED": "true", "REDIS_ADDR": self.addr, "REDIS_PASSWORD": self.password}

    def options(self, **more: object) -> RedisOptions:
        return RedisOptions("127.0.0.1", self.port, password=self.password, **more)  # type: ignore[arg-type]

    @contextlib.contextmanager
    def admin(self) -> Iterator[redis.Redis]:
        """A plain client, for a test to look and to meddle."""
        client = redis.Redis(port=self.port, password=self.password, decode_responses=True)
        try:
            yield client
        finally:
            client.close()

    def start(self) -> None:
        self._server.start()

    def save(self) -> None:
        """Keep the data as it is now for the next start."""
        with self.admin() as client:
            client.save()

    def kill(self) -> None:
        """End it at once."""
        self._server.child.kill()

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """It holds its connections, and answers nothing."""
        pid = self._server.child.pid
        assert pid is not None
        with frozen(pid):
            yield


@contextlib.contextmanager
def running_redis() -> Iterator[RedisServer]:
    """Start a server of one's own; for tests that stop it."""
    folder = Path(tempfile.mkdtemp(prefix="redis-"))
    server = RedisServer(folder)
    try:
        server.start()
        yield server
    finally:
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """One server for the whole run. Each test keeps to projects of its own."""
    with running_redis() as server:
        yield server


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A server of this test, to be stopped and filled with nonsense."""
    with running_redis() as server:
        yield server
