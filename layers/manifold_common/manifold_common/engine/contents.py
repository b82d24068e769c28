"""The content of many files, one after another, each block of the store read once where possible.

Small files share blocks. So the next files' blocks are read together, in parallel, some megabytes at a time.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import TypeAlias

from manifold_common.domain.paths import to_display
from manifold_common.domain.tree import Entry, chunk_ids
from manifold_common.engine.block_reader import BlockReader
from manifold_common.errors import CorruptObject
from manifold_common.format.buffers import Buffer
from manifold_common.format.places import Block, Place, Places

WINDOW_BYTES = 16 << 20

Entries: TypeAlias = Sequence[tuple[bytes, Entry]]


class Contents:
    """Gives the files' content in the order of ``entries``. Ask for each file once, in that order."""

    def __init__(self, entries: Entries, places: Places, reader: BlockReader) -> None:
        self._reader = reader
        self._known = places
        self._pieces = self._all(self._places(entries, places))

    def of(self, entry: Entry) -> Iterator[Buffer]:
        """Yield the content of the next file."""
        for _ in chunk_ids(entry):
            yield next(self._pieces)

    @staticmethod
    def _places(entries: Entries, places: Places) -> Iterator[Place]:
        for path, entry in entries:
            for chunk in chunk_ids(entry):
                place = places.get(chunk)
                if place is None:
                    raise CorruptObject(to_display(path), "no object is known to hold its content")
                yield place

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
