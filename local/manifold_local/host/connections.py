"""The connections of a server: how many there may be, of all clients and of one, and who has them."""

from __future__ import annotations

import resource
from collections import Counter
from enum import Enum

from manifold_common.domain.wording import plural
from manifold_common.errors import ManifoldError, Overloaded, TooManyRequests

from functions.api.traffic import Traffic

_RESERVE = 32
"""Connections over the limit, which have a moment to ask how the server is."""
_RESERVE_OF_PEER = 8
_TOLD = 256
"""Connections over that, which are told so before they are closed. Further ones are just closed."""
_AT_LEAST = 64
_OTHER_FILES = 256 + _RESERVE + _TOLD
"""What a process has open besides connections."""


class Admission(Enum):
    """What a connection may be used for."""

    FULL = "full"
    HEALTH = "health"
    """To ask how the server is. Any other request is refused."""
    DEAF = "deaf"
    """To be told that there is no room."""
    NOTHING = "nothing"


class Connections:
    """Counts the connections of one server. On the event loop."""

    def __init__(self, traffic: Traffic) -> None:
        self.traffic = traffic
        self._limit = min(traffic.limits.max_connections, max(_AT_LEAST, _files() - _OTHER_FILES))
        self._full = 0
        self._of_peer: Counter[str] = Counter()
        self._reserve: Counter[str] = Counter()
        self._told = 0

    def enter(self, address: str) -> tuple[str, Admission, ManifoldError | None]:
        """Count a new connection. Returns whose it is, what it may be used for, and what to say of anything else."""
        peer = self.traffic.peer_of(address)
        refusal = self._refusal(peer, address)
        if refusal is None:
            self._full += 1
            self._of_peer[peer] += 1
            return peer, Admission.FULL, None
        if self._reserve.total() >= _RESERVE or self._reserve[peer] >= _RESERVE_OF_PEER:
            if self._told >= _TOLD:
                return peer, Admission.NOTHING, refusal
            self._told += 1
            return peer, Admission.DEAF, refusal
        self._reserve[peer] += 1
        return peer, Admission.HEALTH, refusal

    def leave(self, peer: str, admission: Admission) -> None:
        if admission is Admission.NOTHING:
            return
        if admission is Admission.DEAF:
            self._told -= 1
            return
        counts = self._of_peer if admission is Admission.FULL else self._reserve
        counts[peer] -= 1
        if not counts[peer]:
            del counts[peer]
        if admission is Admission.FULL:
            self._full -= 1

    def _refusal(self, peer: str, address: str) -> ManifoldError | None:
        if self._full >= self._limit:
            return Overloaded(
                f"this server has {plural(self._full, 'connection')}, and takes no more",
                hint="try again later; the operator may raise server.maxConnections",
            )
        most = self.traffic.limits.max_connections_per_peer
        if self._of_peer[peer] >= most and not self.traffic.is_proxy(address):
            return TooManyRequests(
                f"{peer} has {plural(most, 'connection')} open, as many as one client may have",
                hint="close some, then try again; the operator may raise server.maxConnectionsPerPeer",
            )
        return None


def allow_files(connections: int) -> bool:
    """Let this process have so many connections open, as far as that may be. Returns whether it may have all."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _OTHER_FILES
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return _files() >= wanted


def _files() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1 << 30 if soft == resource.RLIM_INFINITY else soft
