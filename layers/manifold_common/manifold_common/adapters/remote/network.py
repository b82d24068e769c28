"""Connections to a server, and to wherever its links lead.

A link names any host that the server likes. This machine reaches places that the server's owner does not: itself, its
local network, a cloud's metadata service. So a link may lead no further in than the server itself is: to this machine
only for a server on this machine, to private addresses only for a server at one. What counts is the address that was
really connected to, whatever a name resolves to at the time; nothing was sent there yet.
"""

from __future__ import annotations

import ipaddress
import threading
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

if TYPE_CHECKING:
    import socket


class Reach(IntEnum):
    """From where an address can be reached; the smaller, the further in."""

    MACHINE = 0
    LINK = 1
    """Link-local, where metadata services are, and whatever else is nobody's address."""
    PRIVATE = 2
    EVERYWHERE = 3


class Forbidden(urllib3.exceptions.HTTPError):
    """A link leads further in than it may."""


def reach_of(address: str) -> Reach:
    """Args: ``address``: IPv4 or IPv6, as the operating system says it."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    if found.is_loopback or found.is_unspecified:
        return Reach.MACHINE
    if found.is_global:
        return Reach.EVERYWHERE
    odd = found.is_link_local or found.is_multicast or found.is_reserved
    return Reach.LINK if odd else Reach.PRIVATE


class Network:
    """Safe for threads. Args: ``private_store``: links may lead to private addresses, wherever the server is."""

    def __init__(self, *, private_store: bool = False) -> None:
        self._private_store = private_store
        self._server: Reach | None = None
        self._lock = threading.Lock()

    def to_server(self, **options: Any) -> urllib3.PoolManager:
        return _pools(self._note, options)

    def to_links(self, **options: Any) -> urllib3.PoolManager:
        """Requests raise ``Forbidden``."""
        return _pools(self._check, options)

    def _note(self, address: str) -> None:
        """Of several addresses the furthest out counts: whose server it is may choose what its name resolves to."""
        reach = reach_of(address)
        with self._lock:
            self._server = reach if self._server is None else max(self._server, reach)

    def _check(self, address: str) -> None:
        with self._lock:
            server = Reach.EVERYWHERE if self._server is None else self._server
        allowed = min(server, Reach.PRIVATE) if self._private_store else server
        if reach_of(address) < allowed:
            raise Forbidden(f"a link of the server leads to {address}, which is further in than the server itself")


def _pools(see: Any, options: dict[str, Any]) -> urllib3.PoolManager:
    class Plain(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return _seen(super()._new_conn(), see)

    class Secure(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return _seen(super()._new_conn(), see)

    class PlainPool(urllib3.HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(urllib3.HTTPSConnectionPool):
        ConnectionCls = Secure

    pools = urllib3.PoolManager(retries=False, **options)
    pools.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}
    return pools


def _seen(connected: socket.socket, see: Any) -> socket.socket:
    try:
        see(connected.getpeername()[0])
    except BaseException:
        connected.close()
        raise
    return connected
