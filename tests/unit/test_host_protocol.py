"""What frames a chunked body is judged by what has been read of it, however much of it has arrived."""

from __future__ import annotations

import h11
import pytest
from manifold_local.host.protocol import _BoundedConnection

_HEAD = b"PUT /x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
_AT_ONCE = 256 << 10
"""What the event loop reads from a socket at once."""


def receive(data: bytes) -> int:
    """Hand a body over as fast as it can come; return how much was in it."""
    connection, size = _BoundedConnection(), 0
    for part in (_HEAD, *(data[at : at + _AT_ONCE] for at in range(0, len(data), _AT_ONCE))):
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
