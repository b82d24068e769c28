"""Whom a request counts for, who gets memory when there is too little, and how work learns that its client is gone."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import Request
from fastapi.responses import StreamingResponse
from manifold_common.domain.patience import check_wanted
from manifold_common.engine import contents
from manifold_common.engine.block_reader import BlockReader
from manifold_common.errors import Abandoned, ConfigError, Overloaded, TooManyRequests
from manifold_common.format.places import MAX_BLOCK_RAW_BYTES
from manifold_common.services.archive import exported
from manifold_common.settings import load_settings

from functions.api import traffic as traffic_module
from functions.api.response_body import stream
from functions.api.traffic import Room, Traffic, Transfer
from tests.support.api import Api
from tests.support.waiting import wait_until


def traffic(tmp_path: Path, **variables: str) -> Traffic:
    return Traffic(load_settings(environ={"WORKDIR": str(tmp_path), **variables}, cwd=tmp_path))


@pytest.mark.parametrize(
    ("address", "forwarded", "peer"),
    [
        ("192.0.2.1", [], "192.0.2.1"),
        ("192.0.2.1", ["198.51.100.1"], "192.0.2.1"),
        ("10.0.0.7", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.7", ["198.51.100.1, 198.51.100.2"], "198.51.100.2"),
        ("10.0.0.7", ["198.51.100.1", "198.51.100.2, 10.0.0.8"], "198.51.100.2"),
        ("10.0.0.7", ["198.51.100.1, nonsense"], "10.0.0.7"),
        ("10.0.0.7", [], "10.0.0.7"),
        ("::ffff:192.0.2.1", [], "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", [], "2001:db8:1:2::/64"),
        ("fe80::1%eth0", [], "fe80::/64"),
        ("", ["198.51.100.1"], ""),
    ],
)
def test_whom_a_request_counts_for(tmp_path: Path, address: str, forwarded: list[str], peer: str) -> None:
    found = traffic(tmp_path, SERVER_TRUSTED_PROXIES="10.0.0.0/24, 2001:db8:f::1")
    assert found.peer_of(address, forwarded) == peer


def test_what_is_no_network_is_no_trusted_proxy(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"server\.trustedProxies.*10\.0\.0\.0/8"):
        traffic(tmp_path, SERVER_TRUSTED_PROXIES="proxy.example")


def test_requests_are_counted_while_they_last(tmp_path: Path) -> None:
    found = traffic(tmp_path, SERVER_MAX_REQUESTS="3", SERVER_MAX_REQUESTS_PER_PEER="2")
    with found.request("a"), found.request("a"):
        with pytest.raises(TooManyRequests, match=r"server\.maxRequestsPerPeer"), found.request("a"):
            pass
        with found.request("b"):
            with pytest.raises(Overloaded, match=r"server\.maxRequests"), found.request("c"):
                pass
            assert found.requests == 3
    assert found.requests == 0
    assert found.refusals == {"too_many_requests": 1, "overloaded": 1}
    with found.request("a"), found.request("a"):
        pass


class Scene:
    """A room of 1000 bytes, and who was ended in it."""

    def __init__(self, patience_seconds: float = 5.0) -> None:
        self.ended: list[str] = []
        self.room = Room(1000, patience_seconds, on_ended=lambda: None)

    async def transfer(self, peer: str, held: int, *, still: bool = False) -> Transfer:
        made = Transfer(peer, end=lambda: self.ended.append(peer))
        await self.room.take(made, held)
        if still:
            made.waits_since = time.monotonic() - 60
        return made


def test_room_is_made_by_ending_who_stands_still_of_the_client_with_the_most() -> None:
    async def scene() -> None:
        found = Scene()
        await found.transfer("modest", 100, still=True)
        greedy = [await found.transfer("greedy", 300, still=True) for _ in range(3)]
        await found.transfer("new", 250)
        assert found.ended == ["greedy"]
        assert sorted(one.held_bytes for one in greedy) == [0, 300, 300]
        assert found.room.held_bytes == 950

    asyncio.run(scene())


def test_whoever_gets_on_is_not_ended_but_waited_for() -> None:
    async def scene() -> None:
        found = Scene()
        first = await found.transfer("a", 900)
        waiting = asyncio.ensure_future(found.transfer("b", 200))
        await asyncio.sleep(0.15)
        assert not waiting.done()
        found.room.give_back(first)
        assert (await waiting).held_bytes == 200
        assert found.ended == []

    asyncio.run(scene())


def test_slow_is_not_still(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traffic_module, "_TAKES_NOTHING_SECONDS", 0.15)

    async def scene() -> None:
        found = Scene(patience_seconds=0.6)
        slow = await found.transfer("a", 900, still=True)
        slow.taken = lambda: int(time.monotonic() * (1 << 20))
        with pytest.raises(Overloaded):
            await found.transfer("b", 200)
        slow.taken = lambda: None  # all that there is was taken; the server is late
        with pytest.raises(Overloaded):
            await found.transfer("b", 200)
        assert found.ended == []
        slow.taken = lambda: 7
        assert (await found.transfer("b", 200)).held_bytes == 200
        assert found.ended == ["a"]

    asyncio.run(scene())


def test_an_answer_that_has_begun_goes_on_before_another_begins() -> None:
    async def scene() -> None:
        found = Scene()
        first = await found.transfer("a", 1000)
        served: list[str] = []

        async def wait(name: str, *, has_begun: bool) -> None:
            await found.room.take(Transfer("a", has_begun=has_begun), 1000)
            served.append(name)

        waiting = [asyncio.ensure_future(wait("begun", has_begun=True))]
        await asyncio.sleep(0.01)
        waiting.append(asyncio.ensure_future(wait("new", has_begun=False)))
        await asyncio.sleep(0.01)
        found.room.give_back(first)
        await waiting[0]
        assert served == ["begun"]
        waiting[1].cancel()

    asyncio.run(scene())


def test_an_answer_that_keeps_up_does_not_queue_again_for_the_room_that_it_had() -> None:
    async def scene() -> None:
        found = Scene()
        going = await found.transfer("a", 300)
        await found.transfer("a", 100)
        await found.transfer("b", 300)
        waiting = asyncio.ensure_future(found.transfer("c", 400))
        await asyncio.sleep(0.01)
        found.room.give_back(going)
        await found.room.take(going, 300, keeps_up=True)
        assert not waiting.done()
        found.room.give_back(going)
        assert (await waiting).held_bytes == 400

    asyncio.run(scene())


def test_a_download_of_a_known_length_asks_for_no_more_room_than_is_left(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.project()
    content = os.urandom(6 << 20)
    assert api.raw("PUT", "/api/v1/projects/demo/files/a", body=content).status == 201
    taken: list[int] = []
    take = Room.take

    async def noted(room: Room, transfer: Transfer, count: int, **how: bool) -> None:
        taken.append(count)
        await take(room, transfer, count, **how)

    monkeypatch.setattr(Room, "take", noted)
    assert api.raw("GET", "/api/v1/projects/demo/files/a").body == content
    assert taken[0] == 4 << 20
    assert 0 < taken[-1] < 4 << 20
    assert taken == sorted(taken, reverse=True)


def test_where_no_room_can_be_made_there_is_an_error_and_nothing_is_held() -> None:
    async def scene() -> None:
        found = Scene(patience_seconds=0.2)
        await found.transfer("a", 900)
        with pytest.raises(Overloaded, match=r"server\.maxBufferedBytes"):
            await found.transfer("b", 200)
        assert found.room.held_bytes == 900
        await found.transfer("b", 100)

    asyncio.run(scene())


def test_what_is_large_leaves_room_for_what_is_small_and_one_alone_may_have_it_all() -> None:
    async def scene() -> None:
        found = Scene(patience_seconds=0.1)
        alone = Transfer("a")
        await found.room.take(alone, 5000, large=True)
        found.room.give_back(alone)
        await found.room.take(Transfer("a"), 750, large=True)
        with pytest.raises(Overloaded):
            await found.room.take(Transfer("b"), 1, large=True)
        await found.room.take(Transfer("b"), 250)

    asyncio.run(scene())


def test_reading_for_a_client_that_is_gone_ends_at_its_next_step(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    api.project()
    begun, given_up = threading.Event(), threading.Event()

    def long_listing(*arguments: object, **words: object) -> Any:
        begun.set()
        while True:
            try:
                check_wanted()
            except Abandoned:
                given_up.set()
                raise
            time.sleep(0.01)

    monkeypatch.setattr(api.manifold.history, "list_tree", long_listing)
    with api.connect() as client:
        client.sendall(b"GET /api/v1/projects/demo/tree HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert begun.wait(10)
        assert not given_up.wait(0.2)
    assert given_up.wait(10)


def test_a_change_whose_client_is_gone_goes_on(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    api.project()
    write, begun, gone = api.manifold.edits.write, threading.Event(), threading.Event()

    def late(*arguments: Any, **words: Any) -> Any:
        begun.set()
        assert gone.wait(10)
        time.sleep(0.2)
        check_wanted()
        return write(*arguments, **words)

    monkeypatch.setattr(api.manifold.edits, "write", late)
    with api.connect() as client:
        client.sendall(b"PUT /api/v1/projects/demo/files/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx")
        assert begun.wait(10)
    gone.set()
    wait_until(lambda: api.get("/api/v1/projects/demo").json()["generation"] == 1)


def test_who_gave_up_waiting_for_room_is_given_none() -> None:
    async def scene() -> None:
        found = Scene()
        first, late = await found.transfer("a", 900), Transfer("b")
        waiting = asyncio.ensure_future(found.room.take(late, 200))
        await asyncio.sleep(0.01)
        found.room.give_back(first)  # room is looked for at the loop's next turn, and before
        waiting.cancel()  # comes to be known
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await asyncio.sleep(0.01)
        assert (late.held_bytes, found.room.held_bytes) == (0, 0)

    asyncio.run(scene())


def test_what_an_archive_reads_ahead_counts_while_its_client_takes_its_time(api: Api) -> None:
    api.project()
    assert api.raw("PUT", "/api/v1/projects/demo/files/a", body=os.urandom(24 << 20)).status == 201

    def buffered() -> int:
        return int(api.get("/health").json()["traffic"]["buffered_bytes"])

    with api.connect() as client:
        client.sendall(b"GET /api/v1/projects/demo/archive?format=tar HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert client.recv(16)
        for _ in range(5):
            time.sleep(0.05)
            assert buffered() == contents.MOST_HELD_BYTES
    wait_until(lambda: buffered() == 0)


@pytest.mark.parametrize("form", ["tar.gz", "zip"])
def test_a_part_that_is_kept_counts_before_it_is_made(api: Api, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    api.project()
    assert api.raw("PUT", "/api/v1/projects/demo/files/a", body=os.urandom(24 << 20)).status == 201
    held, most = Transfer(""), 0
    take, read_all = Room.take, BlockReader.read_all

    async def noted(room: Room, transfer: Transfer, count: int, **how: bool) -> None:
        nonlocal held
        held = transfer
        await take(room, transfer, count, **how)

    def reading(*arguments: Any) -> None:
        nonlocal most
        most = max(most, held.held_bytes)
        read_all(*arguments)

    monkeypatch.setattr(Room, "take", noted)
    monkeypatch.setattr(BlockReader, "read_all", reading)
    part = api.raw("GET", f"/api/v1/projects/demo/archive?format={form}", {"Range": "bytes=0-999"})
    assert (part.status, len(part.body)) == (206, 1000)
    assert most == contents.MOST_HELD_BYTES + MAX_BLOCK_RAW_BYTES + exported._HELD_BYTES


def test_what_an_answer_reads_ahead_goes_with_its_end_and_not_with_its_last_reference() -> None:
    is_closed = False

    def pieces() -> Iterator[bytes]:
        nonlocal is_closed
        try:
            yield b"x"
            yield b"y"
        finally:
            is_closed = True

    async def send(_: object) -> None:
        raise ConnectionResetError

    async def scene() -> None:
        request = Request({"type": "http", "method": "GET", "state": {"transfer": Transfer("a")}})
        answer = stream(request, Scene().room, pieces(), headers={}, media_type="text/plain")
        assert isinstance(answer, StreamingResponse)
        with pytest.raises(ConnectionResetError):
            await answer.stream_response(send)
        assert is_closed

    asyncio.run(scene())
