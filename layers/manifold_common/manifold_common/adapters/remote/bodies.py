"""Bodies of answers, from whoever sends them: bounded in length, and in how long they may take."""

from __future__ import annotations

import urllib3

from manifold_common.ports.clock import Clock

_PIECE_BYTES = 256 << 10
_SLOWEST_BYTES_A_SECOND = 4096
"""On the whole. Whoever sends less keeps a client waiting for no end."""


def read_body(answer: urllib3.BaseHTTPResponse, most: int, clock: Clock, patience_seconds: float) -> bytearray:
    """Return the body as it was sent; of one that is longer than ``most``, ``most + 1`` bytes. The connection is given
    back if all was read, and closed otherwise.

    Raises:
        urllib3.exceptions.HTTPError: it broke off, or came too slowly.
    """
    body = bytearray()
    begun = clock.monotonic()
    try:
        while len(body) <= most:
            # As it was sent: what nobody asked to have compressed is not inflated.
            piece = answer.read1(min(_PIECE_BYTES, most + 1 - len(body)), decode_content=False)
            if not piece:
                break
            body += piece
            if clock.monotonic() - begun > patience_seconds + len(body) / _SLOWEST_BYTES_A_SECOND:
                raise urllib3.exceptions.TimeoutError("the answer came too slowly")
        if answer.length_remaining and len(body) <= most:
            raise urllib3.exceptions.ProtocolError("the answer broke off")
    except BaseException:
        answer.close()
        raise
    if len(body) > most:
        answer.close()
    else:
        answer.release_conn()
    return body
