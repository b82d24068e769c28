"""Columns: many equal fields as one byte string, so that 100,000 rows decode without 100,000 objects.

Integers are little-endian arrays; byte strings are joined by NUL, which none of them contains.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Sequence

U8, U16, U32, I64, U64 = "B", "H", "I", "q", "Q"
_SWAP = sys.byteorder == "big"


def pack_ints(code: str, values: Iterable[int]) -> bytes:
    """Return the values as little-endian integers of the width of ``code`` (an ``array`` type code)."""
    column = array(code, values)
    if _SWAP:
        column.byteswap()
    return column.tobytes()


def unpack_ints(code: str, data: bytes, count: int, what: str) -> Sequence[int]:
    """Return ``count`` integers. Raises ValueError, naming ``what``, when the column has another length."""
    column = array(code)
    if len(data) != count * column.itemsize:
        raise ValueError(f"column {what} has {len(data)} bytes instead of {count * column.itemsize}")
    column.frombytes(data)
    if _SWAP:
        column.byteswap()
    return column


def pack_strings(values: Sequence[bytes]) -> bytes:
    """Return the values joined by NUL."""
    return b"\0".join(values)


def unpack_strings(data: bytes, count: int, what: str) -> list[bytes]:
    """Return ``count`` strings. Raises ValueError, naming ``what``, when there are more or fewer."""
    if count == 0:
        if data:
            raise ValueError(f"column {what} should be empty")
        return []
    if data.count(b"\0") != count - 1:
        raise ValueError(f"column {what} does not have {count} values")
    return data.split(b"\0")
