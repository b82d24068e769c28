"""The content of many files, one after another, each block of the store read once where possible.

Small files share blocks. So the next files' blocks are read together, in parallel, some megabytes at a time.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import TypeAlias

from manifold_common.domain.paths import to_display
from manifold_common.domain.tree import FILE, Entry, chunk_ids
from manifold_common.domain.wording import plural
from manifold_common.engine.block_reader import BlockReader
from manifold_common.errors import CorruptObject
from manifold_common.format.buffers import Buffer
from manifold_common.format.places import Block, Place, Places

WINDOW_BYTES = 16 << 20

Entries: TypeAlias = Sequence[tuple[bytes, Entry]]


class Contents:
    """Gives the files' content in the order of ``entries``. Ask for each file once, in that order.

    Args: ``start``, ``end``: what is wanted of all the contents, one after another. Of the rest nothing is given, and
    no chunk is read.
    """

    def __init__(
        self, entries: Entries, places: Places, reader: BlockReader, *, start: int = 0, end: int | None = None
    ) -> None:
        self._reader = reader
        self._known = places
        self._start = start
        self._end = end
        self._at = 0
        self._pieces = self._all(self._wanted(entries, places))

    def of(self, entry: Entry) -> Iterator[Buffer]:
        """Yield the content of the next file, as far as it is wanted. Raises CorruptObject."""
        first, last = self._overlap(self._at, entry.size if entry.kind == FILE else 0)
        self._at += entry.size if entry.kind == FILE else 0
        left = last - first
        while left > 0:
            piece = next(self._pieces)
            left -= len(piece)
            yield piece

    def _overlap(self, at: int, size: int) -> tuple[int, int]:
        """Return what is wanted of ``size`` bytes that begin at ``at``, counted from there."""
        return max(0, self._start - at), size if self._end is None else min(size, self._end - at)

    def _wanted(self, entries: Entries, places: Places) -> Iterator[Place]:
        at = 0
        for path, entry in entries:
            end = at + (entry.size if entry.kind == FILE else 0)
            for chunk in chunk_ids(entry):
                place = places.get(chunk)
                if place is None:
                    raise CorruptObject(to_display(path), "no object is known to hold its content")
                first, last = self._overlap(at, place.length)
                at += place.length
                if first < last:
                    yield place._replace(offset=place.offset + first, length=last - first)
            if at != end:
                raise CorruptObject(
                    to_display(path), f"its content has not the {plural(entry.size, 'byte')} it is said to"
                )

    def _all(self, places: Iterator[Place]) -> Iterator[Buffer]:
        window: list[Place] = []
        blocks: dict[Block, None] = {}
        size = 0
        for place in places:
            window.append(place)
            if place.block not in blocks:
                blocks[place.block] = None
                size += place.block.raw_bytes
            if size >= WINDOW_BYTES:
                yield from self._read(window, blocks)
                window, blocks, size = [], {}, 0
        yield from self._read(window, blocks)

    def _read(self, window: list[Place], blocks: dict[Block, None]) -> Iterator[Buffer]:
        raw: dict[Block, Buffer] = {}
        lock = threading.Lock()

        def keep(block: Block, data: Buffer) -> None:
            with lock:
                raw[block] = data

        self._reader.read_all(blocks, keep, self._known)
        for place in window:
            yield memoryview(raw[place.block])[place.offset : place.offset + place.length]
