"""TLS in front of a server of 127.0.0.1 that has none of its own. Asks clients for a certificate."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def tls_front(target_port: int, *, cert: Path, key: Path, client_ca: Path) -> Iterator[int]:
    """Yield the port of the front."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    context.load_verify_locations(client_ca)
    context.verify_mode = ssl.CERT_REQUIRED
    listener = socket.create_server(("127.0.0.1", 0))
    ends: list[socket.socket] = [listener]
    threads: list[threading.Thread] = []

    def start(work: object, *args: object) -> None:
        threads.append(threading.Thread(target=work, args=args, daemon=True))  # type: ignore[arg-type]
        threads[-1].start()

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                plain, _ = listener.accept()
                ends.append(plain)
                start(serve, plain)

    def serve(plain: socket.socket) -> None:
        try:
            client = context.wrap_socket(plain, server_side=True)
        except OSError:
            _end(plain)
            return
        server = socket.create_connection(("127.0.0.1", target_port))
        ends.extend((client, server))
        start(relay, client, server)
        relay(server, client)

    def relay(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        _end(source)
        _end(target)

    start(accept)
    try:
        yield listener.getsockname()[1]
    finally:
        for end in ends:
            _end(end)
        for thread in threads:
            thread.join(5)


def _end(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
