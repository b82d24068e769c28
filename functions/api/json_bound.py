"""How many values a JSON body has, told before anything is made of it.

A body of some megabytes that is nothing but ``{},{},{}`` takes gigabytes once it is parsed: what counts is how many
values there are, not how many bytes. Text may hold any number of commas and braces.
"""

from __future__ import annotations

from manifold_common.errors import QuotaExceeded

MAX_JSON_VALUES = 200_000
MAX_CHANGE_VALUES = 2_000_000
"""Of a request with up to 100,000 changes, each of which has up to 12 values."""
_BETWEEN = (b",", b"[", b"{")


class JsonBound:
    """Counts the values of one body, piece by piece, in one pass over it."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._found = 0
        self._in_text = False
        self._escape = b""

    def feed(self, piece: bytes) -> None:
        """Raises QuotaExceeded: there are more than the limit."""
        piece = self._escape + piece
        self._escape = b""
        if b"\\" in piece:
            piece = piece.replace(b"\\\\", b"")
            if piece.endswith(b"\\"):
                piece, self._escape = piece[:-1], b"\\"
            piece = piece.replace(b'\\"', b"")
        parts = piece.split(b'"')
        outside = b"".join(parts[self._in_text :: 2])
        self._in_text ^= len(parts) % 2 == 0
        self._found += sum(map(outside.count, _BETWEEN))
        if self._found > self._limit:
            raise QuotaExceeded(
                f"the request's body has more than {self._limit} values",
                hint="send less in one request",
                limit=self._limit,
            )
