"""The port of the HTTP server."""

from __future__ import annotations

import errno
import ipaddress
import socket
import sys

from manifold_common.errors import AlreadyExists, ConfigError

_UNSENT_BYTES = 128 << 10


def reserve(host: str, port: int) -> socket.socket:
    """Return a socket that has the port, but does not listen yet: clients are refused, and nobody else can take it.

    Args:
        host: an IP address, or ``localhost``. Other names are refused: what they stand for can change.
        port: 0 for any.

    Raises:
        ConfigError: the address is not this machine's, or not an address. AlreadyExists: the port is taken.
    """
    try:
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        raise ConfigError(
            f"server.host: {host!r} is not an IP address",
            hint="write 127.0.0.1, or 0.0.0.0 to let other machines in",
        ) from None
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    # Named as TCP, or else asyncio would not switch Nagle's algorithm off, and small answers take 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if sys.platform == "linux":
            # Its connections have it too. Without it the system keeps some MiB for each client that does not read.
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_BYTES)
        listener.bind((str(address), port))
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise AlreadyExists(
                f"port {port} of {host} is in use by another program",
                hint=f"stop it ('ss -ltnp sport = :{port}' names it), or set server.port (SERVER_PORT)",
            ) from None
        raise ConfigError(
            f"server.host: {host} port {port} cannot be listened on: {error.strerror}",
            hint="use an address of this machine, and a port from 1024 up",
        ) from None
    return listener


def is_loopback(host: str) -> bool:
    return host == "localhost" or ipaddress.ip_address(host).is_loopback
