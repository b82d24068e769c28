"""A TCP relay in front of a real PostgreSQL that counts round trips and fails on request."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Literal, Self
from urllib.parse import parse_qs, urlsplit

_READY_FOR_QUERY = b"Z\x00\x00\x00\x05I"
_PROTOCOL = 3 << 16

Fault = Literal["", "cut_after_answer", "cut_before_request", "freeze"]


class PostgresProxy:
    """Relays between a free port of 127.0.0.1 and the server of ``dsn``, at its Unix socket or its port of 127.0.0.1.

    ``fault`` names what happens to the next statement (to every one, for ``freeze``):

    ``cut_after_answer``: it runs, and the connection ends before the client learns of it.
    ``cut_before_request``: the connection ends before the server sees it.
    ``freeze``: nothing is passed on in either direction, and nothing ends.
    """

    def __init__(self, dsn: str) -> None:
        parts = urlsplit(dsn)
        folder = parse_qs(parts.query).get("host", [""])[0]
        self._server: str | tuple[str, int] = (
            f"{folder}/.s.PGSQL.5432" if folder else (str(parts.hostname), int(parts.port or 5432))
        )
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.dsn = f"postgresql://{parts.username}@127.0.0.1:{self.port}{parts.path}?sslmode=disable&gssencmode=disable"
        self.fault: Fault = ""
        self.round_trips = 0
        self.sent: list[bytearray] = []
        """What each client has sent, in the order in which they came."""
        self._freezes_at: int | None = None
        self._freezes_after = False
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        _end(self._listener)
        self.cut_all()
        for thread in self._threads:
            thread.join(5)

    def freeze_at(self, round_trip: int, *, after: bool = False) -> None:
        """Freeze when so many more round trips have begun. The last of them does not reach the server; ``after``: it
        does, and only its answer is not passed on."""
        self._freezes_at, self._freezes_after = self.round_trips + round_trip, after

    def thaw(self) -> None:
        """Pass on again what new connections bring; those that were frozen end."""
        self.fault, self._freezes_at = "", None
        self.cut_all()

    def cut_all(self) -> None:
        """End every connection, as a restarted server or a dropped network does."""
        for end in self._open:
            _end(end)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX if isinstance(self._server, str) else socket.AF_INET)
            try:
                server.connect(self._server)
            except OSError:  # it is down
                _end(client)
                server.close()
                continue
            self._open += [client, server]
            sent = bytearray()
            self.sent.append(sent)
            for source, target, record in ((client, server, sent), (server, client, None)):
                thread = threading.Thread(target=self._relay, args=(source, target, record), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _relay(self, source: socket.socket, target: socket.socket, record: bytearray | None) -> None:
        try:
            while data := source.recv(65536):
                if self.fault == "freeze":
                    continue
                if record is not None:
                    record += data
                    self.round_trips += 1
                    if self.round_trips == self._freezes_at:
                        self.fault, self._freezes_at = "freeze", None
                        if not self._freezes_after:
                            continue
                    if self.fault == "cut_before_request":
                        self.fault = ""
                        break
                elif self.fault == "cut_after_answer" and data.endswith(_READY_FOR_QUERY):
                    self.fault = ""
                    break
                target.sendall(data)
        except OSError:
            pass
        _end(source)
        _end(target)


def startup_parameters(sent: bytes) -> dict[str, str]:
    """Return what a client said of itself as it came; nothing, if it only came to have a statement stopped."""
    length, version = struct.unpack_from("!II", sent)
    if version != _PROTOCOL:
        return {}
    words = sent[8 : length - 2].decode().split("\0")
    return dict(zip(words[::2], words[1::2], strict=True))


def messages(sent: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield what a client sent after it had come: the kind of each message, and its content."""
    (place,) = struct.unpack_from("!I", sent)
    while place < len(sent):
        kind, length = struct.unpack_from("!cI", sent, place)
        yield kind.decode(), sent[place + 5 : place + 1 + length]
        place += 1 + length


def _end(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
