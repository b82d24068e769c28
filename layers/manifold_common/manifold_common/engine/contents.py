"""The content of many files, one after another, each block of the store read once where possible.

Small files share blocks. So the next files' blocks are read together, in parallel, some megabytes at a time.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

from manifold_common.domain.paths import to_display
from manifold_common.domain.tree import Entry, chunk_ids, content_bytes
from manifold_common.domain.wording import plural
from manifold_common.engine.block_reader import BlockReader
from manifold_common.errors import CorruptObject
from manifold_common.format.buffers import Buffer
from manifold_common.format.places import MAX_BLOCK_RAW_BYTES, Block, Place, Places

WINDOW_BYTES = 8 << 20
MOST_HELD_BYTES = WINDOW_BYTES + MAX_BLOCK_RAW_BYTES
"""Of blocks that are read ahead, and of the last of those before, while its content is being taken."""

Entries: TypeAlias = Sequence[tuple[bytes, Entry]]


def held_bytes(entries: Entries, places: Places) -> int:
    """Return how much of the store is held at most while content of ``entries`` is taken."""
    blocks: set[Block] = set()
    size = 0
    for _, entry in entries:
        for chunk in chunk_ids(entry):
            place = places.get(chunk)
            if place is not None and place.block not in blocks:
                blocks.add(place.block)
                size += place.block.raw_bytes
                if size >= MOST_HELD_BYTES:
                    return MOST_HELD_BYTES
    return size


class Contents:
    """Gives the files' content in the order of ``entries``. Ask for each file once, in that order.

    What is read ahead goes with the last reference to this: nothing here refers back to it.

    Args: ``start``, ``end``: what is wanted of all the contents, one after another. Of the rest nothing is given, and
    no chunk is read.
    """

    def __init__(
        self, entries: Entries, places: Places, reader: BlockReader, *, start: int = 0, end: int | None = None
    ) -> None:
        self._wanted = _Wanted(start, end)
        self._at = 0
        self._pieces = pieces_of(_places_of(entries, places, self._wanted), places, reader)

    def of(self, entry: Entry) -> Iterator[Buffer]:
        """Yield the content of the next file, as far as it is wanted. Raises CorruptObject."""
        first, last = self._wanted.of(self._at, content_bytes(entry))
        self._at += content_bytes(entry)
        left = last - first
        while left > 0:
            piece = next(self._pieces)
            left -= len(piece)
            yield piece


class _Wanted(NamedTuple):
    start: int
    end: int | None

    def of(self, at: int, size: int) -> tuple[int, int]:
        """Return what is wanted of ``size`` bytes that begin at ``at``, counted from there."""
        return max(0, self.start - at), size if self.end is None else min(size, self.end - at)


def _places_of(entries: Entries, places: Places, wanted: _Wanted) -> Iterator[Place]:
    at = 0
    for path, entry in entries:
        end = at + content_bytes(entry)
        for chunk in chunk_ids(entry):
            place = places.get(chunk)
            if place is None:
                raise CorruptObject(to_display(path), "no object is known to hold its content")
            first, last = wanted.of(at, place.length)
            at += place.length
            if first < last:
                yield place._replace(offset=place.offset + first, length=last - first)
        if at != end:
            raise CorruptObject(to_display(path), f"its content has not the {plural(entry.size, 'byte')} it is said to")


def pieces_of(wanted: Iterable[Place], places: Places, reader: BlockReader) -> Iterator[Buffer]:
    """Yield what stands at each of these places, in their order; neighbours' blocks are read together.

    Args: ``places``: where the chunks are that are wanted.
    """
    window: list[Place] = []
    blocks: dict[Block, None] = {}
    size = 0
    for place in wanted:
        if place.block not in blocks:
            if size + place.block.raw_bytes > WINDOW_BYTES:
                yield from _read(window, blocks, places, reader)
                window, blocks, size = [], {}, 0
            blocks[place.block] = None
            size += place.block.raw_bytes
        window.append(place)
    yield from _read(window, blocks, places, reader)


def _read(window: list[Place], blocks: dict[Block, None], places: Places, reader: BlockReader) -> Iterator[Buffer]:
    raw: dict[Block, Buffer] = {}
    lock = threading.Lock()

    def keep(block: Block, data: Buffer) -> None:
        with lock:
            raw[block] = data

    reader.read_all(blocks, keep, places)
    for place in window:
        yield memoryview(raw[place.block])[place.offset : place.offset + place.length]
