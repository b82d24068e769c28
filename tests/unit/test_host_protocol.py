"""What a connection may make the server do, and what it may not when it is gone."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import cast

import h11
import pytest
from manifold_common.settings import load_settings
from manifold_local.host.connections import Connections
from manifold_local.host.protocol import HostProtocol, _BoundedConnection
from uvicorn.config import Config
from uvicorn.server import ServerState

from functions.api.traffic import Traffic

_HEAD = b"PUT /x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
_AT_ONCE = 256 << 10
"""What the event loop reads from a socket at once."""


def receive(data: bytes, step: int = _AT_ONCE) -> int:
    """Hand a body over, ``step`` bytes at once; return how much was in it."""
    connection, size = _BoundedConnection(), 0
    for part in (_HEAD, *(data[at : at + step] for at in range(0, len(data), step))):
        connection.receive_data(part)
        while (event := connection.next_event()) is not h11.NEED_DATA:
            if isinstance(event, h11.Data):
                size += len(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return size
    raise AssertionError("the body did not end")


def chunks(size: int, count: int, extension: bytes = b"") -> bytes:
    return (b"%x%s\r\n%s\r\n" % (size, extension, b"a" * size)) * count + b"0\r\n\r\n"


@pytest.mark.parametrize("size", [16, 1000, 8192, 16384, 1 << 20])
def test_chunks_that_arrive_many_at_once_are_taken(size: int) -> None:
    count = (1 << 20) // size
    assert receive(chunks(size, count)) == size * count


@pytest.mark.parametrize("data", [chunks(1, 50_000), chunks(1, 1000, b";" + b"e" * 9000), chunks(1, 5000, b";ee")])
def test_framing_that_is_many_times_the_body_is_refused(data: bytes) -> None:
    with pytest.raises(h11.RemoteProtocolError, match="too small"):
        receive(data)


@pytest.mark.parametrize("step", [1, 2, 3, _AT_ONCE])
@pytest.mark.parametrize(
    "end",
    [b"0\r\n\n", b"0\r\nA: b\n\n", b"0\r\nA: b\r\n c\r\n\r\n", b"0\r\nA: b\n", b"0;\rx\r\n", b"0\r\nA: b\r\r\n\r\n"],
)
def test_an_odd_line_is_refused_however_it_arrives(end: bytes, step: int) -> None:
    with pytest.raises(h11.RemoteProtocolError):
        receive(b"1\r\nx\r\n" + end, step)


@pytest.mark.parametrize("step", [1, 2, 3, _AT_ONCE])
def test_lines_as_they_should_be_are_taken_however_they_arrive(step: int) -> None:
    assert receive(b"2;a=b\r\n\n\n\r\n3\r\n\r\n \r\n0\r\nA: b\r\nC:  d \r\n\r\n", step) == 5


def test_a_trailer_is_no_larger_than_a_head_may_be() -> None:
    for trailer in (b"A: b\r\n" * 300, b"A: " + b"a" * 40_000 + b"\r\n"):
        with pytest.raises(h11.RemoteProtocolError, match="large"):
            receive(b"1\r\nx\r\n0\r\n" + trailer + b"\r\n")


def test_a_client_that_has_hung_up_can_be_cut_off_while_its_request_is_worked_on(tmp_path: Path) -> None:
    """Whoever makes room for others does so for all of them, and must not fall over one."""
    connections = Connections(Traffic(load_settings(environ={"WORKDIR": str(tmp_path)}, cwd=tmp_path)))

    async def scene() -> None:
        begun, done = asyncio.Event(), asyncio.Event()

        async def app(scope: object, receive: object, send: object) -> None:
            begun.set()
            await done.wait()

        config = Config(app, lifespan="off", proxy_headers=False)
        config.load()
        ours, theirs = socket.socketpair()
        loop = asyncio.get_running_loop()
        made = HostProtocol(config, ServerState(), {}, loop, connections=connections)
        await loop.create_connection(lambda: made, sock=ours)
        theirs.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx")
        await begun.wait()
        theirs.close()
        while cast(socket.socket, made.transport.get_extra_info("socket")).fileno() >= 0:
            await asyncio.sleep(0.01)
        made.app_state["cut_off"]()
        done.set()

    asyncio.run(asyncio.wait_for(scene(), 5))
