"""Requests and their answers, whoever is asked: bounded in length, and in how long they may take.

The time-outs of the HTTP client are for one wait: a server that takes or sends a byte now and then keeps it for ever.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from http.client import HTTPException, IncompleteRead

import urllib3

from manifold_common.ports.clock import Clock
from manifold_common.ports.deadline import within

_PIECE_BYTES = 256 << 10
_SLOWEST_BYTES_A_SECOND = 4096
"""On the whole. Whoever sends less keeps a client waiting for no end."""


_BLOCK_BYTES = 64 << 10
"""What is sent at once. The time-out of a connection is also that of sending a block."""
_CONNECT_SECONDS = 10.0


def exchange(
    pool: urllib3.PoolManager,
    method: str,
    url: str,
    *,
    headers: Mapping[str, str],
    body: bytes,
    most: int,
    clock: Clock,
    patience_seconds: float,
) -> tuple[urllib3.BaseHTTPResponse, bytearray]:
    """Send a request and return its answer, and the body of that; of a body that is longer than ``most``, ``most + 1``
    bytes. Redirects are not followed.

    Raises:
        urllib3.exceptions.HTTPError: there is no whole answer, or it came too slowly.
    """
    has_length = any(name.lower() == "content-length" for name in headers)
    length = {} if has_length or not body else {"Content-Length": str(len(body))}

    def ask() -> urllib3.BaseHTTPResponse:
        return pool.request(
            method,
            url,
            body=_blocks(body) if body else None,
            headers={**headers, **length},
            redirect=False,
            preload_content=False,
        )

    try:
        answer = within(_CONNECT_SECONDS + patience_seconds + len(body) / _SLOWEST_BYTES_A_SECOND, ask)
    except TimeoutError:
        raise urllib3.exceptions.TimeoutError("the answer came too slowly") from None
    return answer, _read(answer, most, clock, patience_seconds)


def words_of(error: Exception) -> str:
    """Return why a request has failed, for people: what is said of it here names classes, and what the other side
    sent."""
    cause = error.__cause__ or (error.args[-1] if error.args else None)
    if type(error) in (urllib3.exceptions.TimeoutError, urllib3.exceptions.ProtocolError) and isinstance(cause, str):
        return cause  # of ``exchange``
    if isinstance(error, urllib3.exceptions.NameResolutionError):
        return "no address is known for its name"
    if isinstance(error, urllib3.exceptions.NewConnectionError):
        reason = cause.strerror if isinstance(cause, OSError) else None
        return (reason or "no connection can be made").lower()
    if isinstance(error, urllib3.exceptions.SSLError):
        found = cause.reason if isinstance(cause, ssl.SSLError) else None
        return "no secure connection can be made" + (f" ({found.replace('_', ' ').lower()})" if found else "")
    if isinstance(error, urllib3.exceptions.TimeoutError):
        return "no answer came in time"
    if isinstance(cause, IncompleteRead | urllib3.exceptions.IncompleteRead):
        return "the answer broke off"
    if isinstance(cause, OSError):  # among them ``RemoteDisconnected``
        return "it closed the connection"
    return "it does not speak HTTP" if isinstance(cause, HTTPException) else "the connection failed"


def _blocks(body: bytes) -> Iterator[bytes]:
    for at in range(0, len(body), _BLOCK_BYTES):
        yield body[at : at + _BLOCK_BYTES]


def _read(answer: urllib3.BaseHTTPResponse, most: int, clock: Clock, patience_seconds: float) -> bytearray:
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
