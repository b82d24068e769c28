"""How much memory a description takes once it is decoded, told before a row of it is built.

The figures are upper bounds, measured with CPython 3.11 on 64 bits: what ``tracemalloc`` sees while rows are made, the
columns included. ``tests/unit/format/test_footprint.py`` holds them against both honest and hostile descriptions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from manifold_common.format.tree_columns import PlaceColumns, TreeColumns

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


def of_tree(columns: TreeColumns) -> int:
    """Return about how many bytes the rows take, as the columns tell; what the record says of counts is not proven."""
    text = len(columns.paths) + len(columns.deletes) + len(columns.targets)
    return (
        text * 2
        + len(columns.kinds) * ENTRY_BYTES
        + (columns.deletes.count(b"\0") + 1) * DELETE_BYTES
        + len(columns.chunk_lengths) // 4 * CHUNK_BYTES
        + max(0, len(columns.file_chunks) - len(columns.file_chunk_counts)) // 4 * REFERENCE_BYTES
    )


def of_places(columns: PlaceColumns) -> int:
    return len(columns.block_raw) // 4 * BLOCK_BYTES
