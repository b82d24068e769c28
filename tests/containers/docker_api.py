"""Docker's API as Podman serves it, with what Podman 4 says differently put right.

It gives a container's network by name where Docker gives its id: Compose then takes every container for one of another
network, and makes all of them anew at each ``up``. And it calls a container that was healthy before a restart healthy
until its check has failed several times.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import shutil
import socket
import socketserver
import threading
from datetime import datetime
from pathlib import Path
from typing import Any

_CONTAINERS = re.compile(rb"GET (?:http://[^/]+)?(/v[\d.]+)?/containers/(json|[^/? ]+/json)(\?\S*)? ")


class CorrectedApi(socketserver.ThreadingUnixStreamServer):
    """Listens at ``socket_path`` for what ``podman`` serves. A connection has one request."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, socket_path: Path, podman: Path) -> None:
        self.podman = podman
        super().__init__(str(socket_path), _Connection)

    def start(self) -> None:
        threading.Thread(target=self.serve_forever, name="Docker's API").start()

    def stop(self) -> None:
        self.shutdown()
        self.server_close()


class _Podman(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("podman")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self._path))


class _Connection(socketserver.StreamRequestHandler):
    server: CorrectedApi
    rbufsize = 0  # what follows the head is for another thread

    def handle(self) -> None:
        lines = []
        while (line := self.rfile.readline()) not in (b"\r\n", b""):
            lines.append(line)
        if not lines:
            return
        with contextlib.suppress(ConnectionError):  # who asked has gone
            if _CONTAINERS.match(lines[0]):
                self._answer(lines[0].split(b" ")[1].decode())
            else:
                self._pass_on(lines)

    def _answer(self, target: str) -> None:
        status, content = self._ask(target)
        if status == 200:
            ids = {network["Name"]: network["Id"] for network in self._ask("/networks")[1]}
            for container in content if isinstance(content, list) else [content]:
                for name, facts in (container["NetworkSettings"]["Networks"] or {}).items():
                    facts["NetworkID"] = ids.get(name, facts["NetworkID"])
                if isinstance(container["State"], dict):
                    _forget_checks_of_earlier_runs(container["State"])
        body = json.dumps(content).encode()
        head = f"HTTP/1.1 {status} \r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        self.wfile.write(head.encode() + b"Connection: close\r\n\r\n" + body)

    def _ask(self, target: str) -> tuple[int, Any]:
        podman = _Podman(self.server.podman)
        try:
            podman.request("GET", target)
            answer = podman.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            podman.close()

    def _pass_on(self, lines: list[bytes]) -> None:
        """Byte by byte, to the end of both directions: it may be a terminal."""
        if not any(line.lower().startswith(b"upgrade:") for line in lines):
            lines = [line for line in lines if not line.lower().startswith(b"connection:")]
            lines.append(b"Connection: close\r\n")
        with socket.socket(socket.AF_UNIX) as podman:
            podman.connect(str(self.server.podman))
            podman.sendall(b"".join(lines) + b"\r\n")
            upwards = threading.Thread(target=_pump, args=(self.connection, podman), daemon=True)
            upwards.start()
            with podman.makefile("rb", buffering=0) as answer:
                shutil.copyfileobj(answer, self.wfile)
            self.connection.shutdown(socket.SHUT_RDWR)


def _forget_checks_of_earlier_runs(state: dict[str, Any]) -> None:
    health = state.get("Health")
    if health and health["Status"] == "healthy":
        started = datetime.fromisoformat(state["StartedAt"])
        if not any(datetime.fromisoformat(check["Start"]) > started for check in health["Log"] or []):
            health["Status"] = "starting"


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):  # the other side has ended
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
