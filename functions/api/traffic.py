"""How much clients may have under way at once: requests, and memory for what is being sent.

Nothing here waits for a client. Where memory is used up, room is made by ending transfers whose clients stand still,
those of the client with the most first: clients that keep up are served however many others do not. Slow is not still:
a client that has just sent or taken something keeps its place, and who comes waits. Everything is called on the event
loop.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from manifold_common.domain.wording import plural
from manifold_common.errors import Overloaded, TooManyRequests

if TYPE_CHECKING:
    from manifold_common.settings import Settings

_log = logging.getLogger("manifold.api")

_STANDS_STILL_SECONDS = 1.0
_TAKES_NOTHING_SECONDS = 2.0
"""The same for one that takes an answer. What a slow client takes shows in steps, as large as what the system keeps."""
GETS_ON_BYTES = 64 << 10
"""What a client has sent or taken at least in that time, if it does not stand still."""
_QUEUES_SECONDS = 2.0
_LOOK_SECONDS = 0.1
_END_SECONDS = 0.5
"""What a client has to take the end of an answer that goes on, when the server ends."""
_SHARE_OF_LARGE = 0.75
"""What is large leaves room for what is small."""
_LOG_SECONDS = 10.0


@dataclass(slots=True, eq=False)
class Transfer:
    """The memory that one request holds."""

    peer: str
    held_bytes: int = 0
    waits_since: float | None = None
    """Since when it has been waiting for its client; ``None``: it does not."""
    taken: Callable[[], int | None] | None = None
    """Tells how much of an answer its client has taken so far; ``None``: all that there was for it. No function: it is
    not an answer."""
    has_begun: bool = False
    """A part of its answer has gone out, so that it cannot be refused any more, only cut off."""
    seen: tuple[float, int] | None = None
    """When its client was last seen to get on, and what it had taken by then. For ``Room``."""
    end: Callable[[], None] | None = None
    """Ends it. ``None``: it cannot be ended from outside."""


@dataclass(slots=True, eq=False)
class Wait:
    """A request that waits for something to happen on the server."""

    is_over: bool = False
    """The server ends: whoever waits is answered now."""
    wake: Callable[[], None] = lambda: None
    """Set by whoever sleeps."""
    cut_off: Callable[[], None] | None = None
    """Ends an answer that goes on, taken or not: its client takes it up again. ``None``: it is short, or it cannot be
    ended from outside."""

    def end(self) -> None:
        self.is_over = True
        self.wake()
        if self.cut_off is not None:
            asyncio.get_running_loop().call_later(_END_SECONDS, self.cut_off)


@dataclass(slots=True, eq=False)
class _Waiting:
    transfer: Transfer
    count: int
    limit: int
    since: float
    granted: asyncio.Future[None]


class Room:
    """Memory that transfers share.

    Where there is too little, the client that holds least is served first; of one client's what has begun, in turn, and
    then the newest: a queue of those who will stand still again is not waited for. Room is made by ending transfers
    that hold some and do not get on: because their client stands still, or because they wait for more themselves.
    """

    def __init__(self, limit_bytes: int, patience_seconds: float, *, on_ended: Callable[[], None]) -> None:
        self._limit_bytes = limit_bytes
        self._patience_seconds = patience_seconds
        self._on_ended = on_ended
        self._transfers: set[Transfer] = set()
        self._of_peer: Counter[str] = Counter()
        self._waiting: list[_Waiting] = []
        self._serving: asyncio.Task[None] | None = None
        self._given_back = asyncio.Event()
        self.held_bytes = 0

    async def take(self, transfer: Transfer, count: int, *, large: bool = False, keeps_up: bool = False) -> None:
        """Let ``transfer`` hold ``count`` bytes more. Raises Overloaded: there is no room, and none can be made.

        Args:
            large: leave room for what is small.
            keeps_up: its client has just taken what it had, and fast. It does not queue again for the room of that.
        """
        limit = int(self._limit_bytes * (_SHARE_OF_LARGE if large else 1))
        loop = asyncio.get_running_loop()
        wanted = _Waiting(transfer, count, limit, time.monotonic(), loop.create_future())
        if (keeps_up or not self._waiting) and self._fits(wanted):
            self._grant(wanted)
            return
        self._waiting.append(wanted)
        if self._serving is None or self._serving.done():
            self._serving = loop.create_task(self._serve())
        try:
            async with asyncio.timeout(self._patience_seconds):
                await wanted.granted
        except TimeoutError:
            raise Overloaded(
                "the memory for bodies and answers under way is used up",
                hint="try again later; the operator may raise server.maxBufferedBytes",
            ) from None
        finally:
            if wanted in self._waiting:
                self._waiting.remove(wanted)

    def give_back(self, transfer: Transfer, count: int | None = None) -> None:
        """Let ``transfer`` hold ``count`` bytes less; ``None``: nothing any more."""
        self._hold(transfer, -(transfer.held_bytes if count is None else min(count, transfer.held_bytes)))
        self._given_back.set()

    def _hold(self, transfer: Transfer, count: int) -> None:
        transfer.held_bytes += count
        self.held_bytes += count
        self._of_peer[transfer.peer] += count
        if transfer.held_bytes:
            self._transfers.add(transfer)
        else:
            self._transfers.discard(transfer)
        if not self._of_peer[transfer.peer]:
            del self._of_peer[transfer.peer]

    def _fits(self, wanted: _Waiting) -> bool:
        return self.held_bytes + wanted.count <= wanted.limit or self.held_bytes == wanted.transfer.held_bytes

    def _grant(self, wanted: _Waiting) -> None:
        if not wanted.granted.done():  # given up, and about to leave: nobody would give anything back
            self._hold(wanted.transfer, wanted.count)
            wanted.granted.set_result(None)

    async def _serve(self) -> None:
        """Serve those who wait, for as long as there are any."""
        while self._waiting:
            self._waiting.sort(key=self._order)
            for wanted in list(self._waiting):
                if self._fits(wanted) or (wanted is self._waiting[0] and self._make_room(wanted)):
                    self._waiting.remove(wanted)
                    self._grant(wanted)
            self._given_back.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._given_back.wait()

    def _order(self, one: _Waiting) -> tuple[int, bool, float]:
        has_begun = one.transfer.has_begun
        return self._of_peer[one.transfer.peer], not has_begun, one.since if has_begun else -one.since

    def _make_room(self, wanted: _Waiting) -> bool:
        """End transfers until ``wanted`` fits. Returns whether it does now."""
        now = time.monotonic()
        still = {one: _still_seconds(one, now) for one in self._transfers}
        idle = {one: seconds for one, seconds in still.items() if seconds > 0}
        queued = {one.transfer: now - one.since for one in self._waiting if now - one.since > _QUEUES_SECONDS}
        found = [one for one in {**queued, **idle} if one is not wanted.transfer and one.end and one.held_bytes]
        found.sort(key=lambda one: (self._of_peer[one.peer], idle.get(one, 0.0)), reverse=True)
        for one in found:
            if self._fits(wanted):
                break
            self.give_back(one)
            self._on_ended()
            if one.end is not None:
                one.end()
        return self._fits(wanted)


def _still_seconds(transfer: Transfer, now: float) -> float:
    """Return for how much longer than it may its client has stood still, as far as that was seen; or no more than 0."""
    if transfer.waits_since is None:
        return 0.0
    if transfer.taken is None:
        return now - transfer.waits_since - _STANDS_STILL_SECONDS
    taken = transfer.taken()
    if taken is None:
        transfer.seen = None
        return 0.0
    if transfer.seen is None or taken - transfer.seen[1] >= GETS_ON_BYTES:
        transfer.seen = (now, taken)
    return now - max(transfer.waits_since, transfer.seen[0]) - _TAKES_NOTHING_SECONDS


class Traffic:
    """What all clients have under way, in one process, and what was refused them."""

    def __init__(self, settings: Settings) -> None:
        server = settings.server
        self.limits = server
        self._proxies = [ipaddress.ip_network(name, strict=False) for name in server.trusted_proxies]
        self._requests: Counter[str] = Counter()
        self._under_way = 0
        self._waits: set[Wait] = set()
        self._waiting_of_peer: Counter[str] = Counter()
        self._ends: set[Callable[[], None]] = set()
        self._is_ending = False
        self.room = Room(server.max_buffered_bytes, server.stall_seconds, on_ended=partial(self.refused, "stood_still"))
        self.refusals: Counter[str] = Counter()
        """How often what happened, by reason, since the process started."""
        self._unsaid: Counter[str] = Counter()
        self._said_at = float("-inf")

    @property
    def requests(self) -> int:
        """How many are under way."""
        return self._under_way

    @contextmanager
    def request(self, peer: str) -> Iterator[Transfer]:
        """Count a request for as long as it lasts.

        Raises Overloaded, TooManyRequests: there are too many, of all clients or of this one.
        """
        if self._under_way >= self.limits.max_requests:
            self.refused("overloaded")
            raise Overloaded(
                f"this server has {plural(self._under_way, 'request')} under way, and takes no more",
                hint="try again later; the operator may raise server.maxRequests",
            )
        if self._requests[peer] >= self.limits.max_requests_per_peer:
            self.refused("too_many_requests")
            raise TooManyRequests(
                f"{peer} has {plural(self._requests[peer], 'request')} under way, as many as one client may have",
                hint="try again when some have ended; the operator may raise server.maxRequestsPerPeer",
            )
        self._under_way += 1
        self._requests[peer] += 1
        transfer = Transfer(peer)
        try:
            yield transfer
        finally:
            self.room.give_back(transfer)
            transfer.end = transfer.taken = None  # they refer to what holds the transfer
            self._under_way -= 1
            self._requests[peer] -= 1
            if not self._requests[peer]:
                del self._requests[peer]

    @contextmanager
    def waiting(self, peer: str, *, cut_off: Callable[[], None] | None = None) -> Iterator[Wait]:
        """Count a request, which counts already, as one that waits, for as long as it may.

        Those that wait get half of the places for requests, so that they keep nobody from being served. Raises
        Overloaded, TooManyRequests: that many wait, of all clients or of this one.

        Args:
            cut_off: ends its answer soon after the server was to end, where that goes on.
        """
        most, most_of_peer = self.limits.max_requests // 2, self.limits.max_requests_per_peer // 2
        if len(self._waits) >= most:
            self.refused("overloaded")
            raise Overloaded(
                f"{plural(len(self._waits), 'request')} wait here, and no more may",
                hint="ask later, or without wait; the operator may raise server.maxRequests, half of which may wait",
            )
        if self._waiting_of_peer[peer] >= most_of_peer:
            self.refused("too_many_requests")
            raise TooManyRequests(
                f"{plural(most_of_peer, 'request')} of {peer} wait, as many as one client may have",
                hint="follow all projects by one request, or ask without wait; the operator may raise "
                "server.maxRequestsPerPeer, half of which may wait",
            )
        wait = Wait(cut_off=cut_off)
        if self._is_ending:
            wait.end()
        self._waits.add(wait)
        self._waiting_of_peer[peer] += 1
        try:
            yield wait
        finally:
            self._waits.remove(wait)
            self._waiting_of_peer[peer] -= 1
            if not self._waiting_of_peer[peer]:
                del self._waiting_of_peer[peer]

    @contextmanager
    def ending(self, end: Callable[[], None]) -> Iterator[None]:
        """Have ``end`` called once the server ends, or now if it does already."""
        if self._is_ending:
            end()
        self._ends.add(end)
        try:
            yield
        finally:
            self._ends.remove(end)

    def end(self) -> None:
        """Have everybody answered who waits, and who comes to wait, and cut off what can go on elsewhere: the server
        ends."""
        self._is_ending = True
        for wait in list(self._waits):
            wait.end()
        for end in list(self._ends):
            end()

    def refused(self, reason: str) -> None:
        """Count something that a client was refused, or ended for; now and then a line of the log sums it up."""
        self.refusals[reason] += 1
        self._unsaid[reason] += 1
        now = time.monotonic()
        if now - self._said_at >= _LOG_SECONDS:
            self._said_at = now
            _log.warning(
                "clients were refused or cut off: %s (docs/operations.md, 'Slow and greedy clients')",
                ", ".join(f"{reason} {count}" for reason, count in sorted(self._unsaid.items())),
            )
            self._unsaid.clear()

    def is_proxy(self, address: str) -> bool:
        """Tell whether ``server.trustedProxies`` has it."""
        if not self._proxies:
            return False
        found = _address(address)
        return found is not None and any(found in network for network in self._proxies)

    def peer_of(self, address: str, forwarded: Iterable[str] = ()) -> str:
        """Return whom a request counts for.

        Args:
            address: what the connection comes from.
            forwarded: the values of ``X-Forwarded-For``, which count only from a trusted proxy.
        """
        if self.is_proxy(address):
            for one in reversed([part.strip() for value in forwarded for part in value.split(",")]):
                if _address(one) is None:
                    break
                address = one
                if not self.is_proxy(one):
                    break
        found = _address(address)
        if isinstance(found, ipaddress.IPv6Address):
            return str(ipaddress.ip_network((found, 64), strict=False))
        return str(found) if found is not None else address


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        return found.ipv4_mapped
    return found
