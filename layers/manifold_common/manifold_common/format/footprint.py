"""How much memory a description takes once it is decoded, estimated before any row of it is built.

The figures are upper bounds, measured with CPython 3.11 on 64 bits: what ``tracemalloc`` sees while rows are made, the
columns included. ``tests/unit/format/test_footprint.py`` holds them against both honest and hostile descriptions.
"""

from __future__ import annotations

from collections.abc import Callable

TakeMemory = Callable[[int], None]
"""Called with how many bytes more are about to be taken; raises what ends the decoding."""

ENTRY_BYTES = 340
DELETE_BYTES = 150
CHUNK_BYTES = 280
BLOCK_BYTES = 460
REFERENCE_BYTES = 150
"""Of a file that refers to several chunks, for each of them."""
FRAME_BYTES = 320
"""Of a whole object that is split."""
PLACES_FACTOR = 9
"""Of a description of places: its containers take so many times their own length, and the rest less."""
RECORD_FACTOR = 2
"""Of a record: itself and its columns."""


def no_bound(count: int) -> None:
    """Let everything be taken: for what was written on this machine, and for tests."""
