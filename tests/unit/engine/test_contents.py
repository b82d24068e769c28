"""What is read ahead of the content of many files: how much it is at most, and that it goes with who asked for it."""

from __future__ import annotations

import gc
import os
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast

import pytest
from manifold_common.domain.tree import FILE, Entry
from manifold_common.engine.block_reader import BlockReader
from manifold_common.engine.contents import MOST_HELD_BYTES, Contents, Entries, held_bytes
from manifold_common.format.buffers import Buffer
from manifold_common.format.places import Block, Container, Place, Places
from manifold_common.ids import ChunkId
from manifold_common.services.archive.deflate import gzipped
from manifold_common.services.archive.write_tar import write_tar
from manifold_common.services.archive.write_zip import write_zip

BLOCK_BYTES = 3_000_000


class Raw(bytearray):
    """A block's bytes, to which there are weak references."""


class Blocks:
    """Stands for a reader of blocks, and sees which of them somebody still holds."""

    def __init__(self) -> None:
        self._given: list[weakref.ref[Raw]] = []
        self.most_bytes = 0

    @property
    def held_bytes(self) -> int:
        return sum(BLOCK_BYTES for one in self._given if one() is not None)

    def read_all(self, blocks: Iterable[Block], consume: Callable[[Block, Buffer], None], _: Places) -> None:
        for block in blocks:
            raw = Raw(os.urandom(BLOCK_BYTES))
            self._given.append(weakref.ref(raw))
            consume(block, raw)
        del raw
        self.most_bytes = max(self.most_bytes, self.held_bytes)


def files(count: int) -> tuple[Entries, Places]:
    chunks = [ChunkId(b"%032d" % number) for number in range(count)]
    entries = [(b"%05d" % number, Entry(FILE, 0o644, 0, BLOCK_BYTES, chunk)) for number, chunk in enumerate(chunks)]
    places = {
        chunk: Place(Block(cast(Container, "a"), 2, number, 10, BLOCK_BYTES), 0, BLOCK_BYTES)
        for number, chunk in enumerate(chunks)
    }
    return entries, places


def of_files(contents: Contents, entries: Entries) -> Iterator[Buffer]:
    for _, entry in entries:
        yield from contents.of(entry)


WRITERS: dict[str, Callable[[Contents, Entries], Iterator[Any]]] = {
    "files": of_files,
    "tar": lambda contents, entries: write_tar(entries, lambda *_: contents),
    "tar.gz": lambda contents, entries: gzipped(write_tar(entries, lambda *_: contents)),
    "zip": lambda contents, entries: write_zip(entries, contents),
}


@pytest.mark.parametrize("form", WRITERS)
def test_what_was_read_ahead_goes_at_once_with_who_stops_halfway(form: str) -> None:
    entries, places = files(4)
    blocks = Blocks()
    gc.disable()
    try:
        pieces = WRITERS[form](Contents(entries, places, cast(BlockReader, blocks)), entries)
        while not blocks.held_bytes:
            next(pieces)
        del pieces
        assert blocks.held_bytes == 0
    finally:
        gc.enable()


def test_no_more_is_held_than_is_said() -> None:
    entries, places = files(12)
    blocks = Blocks()
    for _ in write_tar(entries, lambda *_: Contents(entries, places, cast(BlockReader, blocks))):
        assert blocks.held_bytes <= MOST_HELD_BYTES
    assert BLOCK_BYTES < blocks.most_bytes <= MOST_HELD_BYTES == held_bytes(entries, places)


def test_of_a_small_tree_no_more_is_held_than_its_blocks() -> None:
    entries, places = files(2)
    assert held_bytes([*entries, *entries], places) == 2 * BLOCK_BYTES
    assert held_bytes([], places) == 0
