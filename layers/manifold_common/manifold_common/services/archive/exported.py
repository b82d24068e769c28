"""A generation as an archive, whole or in part: the same bytes whenever they are asked for.

Where a part of a tar stands is known, and no more than that is read. A compressed archive has to be made from its
beginning; what is before the part is thrown away.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Generator, Iterator
from contextlib import closing
from enum import Enum
from threading import Lock
from typing import NamedTuple

from manifold_common.domain.byte_range import ByteRange
from manifold_common.domain.paths import ROOT
from manifold_common.domain.patience import check_wanted
from manifold_common.engine.block_reader import BlockReader
from manifold_common.engine.contents import Contents, Entries, held_bytes
from manifold_common.engine.tree_log import Snapshot
from manifold_common.format.buffers import Buffer
from manifold_common.format.places import MAX_BLOCK_RAW_BYTES
from manifold_common.ids import Generation
from manifold_common.services.archive.deflate import compressor, gzipped
from manifold_common.services.archive.write_tar import tar_bytes, write_tar
from manifold_common.services.archive.write_zip import write_zip

WRITER_VERSION = 1
"""Goes up with every change of the bytes that are made of the same tree."""
_HELD_BYTES = 4 << 20
"""A part of a compressed archive that is no longer is kept while it is made; a longer one is made twice, first to know
that it is there."""
_MOST_SIZES = 256
_TAG_DIGITS = 16


class ArchiveFormat(Enum):
    TAR_GZ = "tar.gz"
    ZIP = "zip"
    TAR = "tar"


class ArchivePart(NamedTuple):
    start: int
    length: int
    total: int | None
    """Bytes of the whole archive; ``None``: not known."""
    pieces: Iterator[Buffer]


class KnownSizes:
    """How long the last compressed archives were that somebody read or counted to their end."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._sizes: OrderedDict[str, int] = OrderedDict()

    def get(self, archive: str) -> int | None:
        with self._lock:
            return self._sizes.get(archive)

    def keep(self, archive: str, size: int) -> None:
        with self._lock:
            self._sizes[archive] = size
            if len(self._sizes) > _MOST_SIZES:
                self._sizes.popitem(last=False)


class ExportedArchive:
    def __init__(
        self, snapshot: Snapshot, reader: BlockReader, archive_format: ArchiveFormat, sizes: KnownSizes
    ) -> None:
        self.point = snapshot.head.point
        self.made_at = snapshot.head.committed_at
        """When that generation was; ``None`` for generation 0."""
        self.version = f"{self.point}:{_writer(archive_format)}"
        """Stands for the bytes: another one where any of them may differ."""
        self._snapshot = snapshot
        self._reader = reader
        self._format = archive_format
        self._sizes = sizes
        self._entries = sorted((path, entry) for path, entry in snapshot.tree.items() if path != ROOT)
        self._known_bytes = tar_bytes(self._entries) if archive_format is ArchiveFormat.TAR else None

    @property
    def generation(self) -> Generation:
        return self.point.generation

    @property
    def size(self) -> int | None:
        """In bytes; ``None``: nobody has counted them."""
        return self._sizes.get(self.version) if self._known_bytes is None else self._known_bytes

    def held_bytes(self, wanted: ByteRange | None) -> int:
        """Return how much memory is held at most, from before what is ``wanted`` is made until it is read."""
        held = held_bytes(self._entries, self._snapshot.places)
        if self._known_bytes is None:
            held += MAX_BLOCK_RAW_BYTES  # of one, compressed
            held += _HELD_BYTES if wanted is not None and self.size is None else 0
        return held

    def read(self, start: int = 0) -> Iterator[Buffer]:
        """Yield the archive from byte ``start`` on, read from the store as it is taken. Raises CorruptObject."""
        if self._known_bytes is not None:
            yield from write_tar(self._entries, self._contents, start)
            return
        size = 0
        with closing(self._compressed()) as pieces:
            for piece in pieces:
                size += len(piece)
                if size > start:
                    yield memoryview(piece)[max(0, len(piece) - (size - start)) :]
        self._sizes.keep(self.version, size)

    def part(self, wanted: ByteRange) -> ArchivePart:
        """Return a part, read from the store as it is taken.

        Raises UnsatisfiableRange. CorruptObject, Abandoned: a compressed archive was made to know where it ends.
        """
        if self.size is not None:
            return self._part_of(self.size, wanted)
        if wanted.first is None or wanted.last is None:
            return self._part_of(self._counted(), wanted)
        return self._bounded_part(wanted.first, wanted.last + 1)

    def _part_of(self, size: int, wanted: ByteRange) -> ArchivePart:
        start, length = wanted.within(size)
        return ArchivePart(start, length, size, self._between(start, start + length))

    def _bounded_part(self, start: int, end: int) -> ArchivePart:
        """Return what there is from ``start`` up to ``end`` of an archive whose size is not known."""
        held: list[bytes] = []
        at = 0
        is_held = end - start <= _HELD_BYTES
        with closing(self._compressed()) as pieces:
            for piece in pieces:
                check_wanted()
                if is_held:
                    held += map(bytes, _cut(at, piece, start, end))
                at += len(piece)
                if at >= end:
                    pieces_of_part = iter(held) if is_held else self._between(start, end)
                    return ArchivePart(start, end - start, None, pieces_of_part)
        self._sizes.keep(self.version, at)
        return self._part_of(at, ByteRange(start, end - 1))

    def _counted(self) -> int:
        size = 0
        for piece in self.read():
            check_wanted()
            size += len(piece)
        return size

    def _between(self, start: int, end: int) -> Iterator[Buffer]:
        if self._known_bytes is not None:
            yield from write_tar(self._entries, self._contents, start, end)
            return
        at = 0
        with closing(self._compressed()) as pieces:
            for piece in pieces:
                check_wanted()
                yield from _cut(at, piece, start, end)
                at += len(piece)
                if at >= end:
                    return

    def _compressed(self) -> Generator[bytes, None, None]:
        if self._format is ArchiveFormat.ZIP:
            return write_zip(self._entries, self._contents(self._entries))
        return gzipped(write_tar(self._entries, self._contents))

    def _contents(self, entries: Entries, start: int = 0, end: int | None = None) -> Contents:
        return Contents(entries, self._snapshot.places, self._reader, start=start, end=end)


def _cut(at: int, piece: Buffer, start: int, end: int) -> Iterator[Buffer]:
    first, last = max(0, start - at), min(len(piece), end - at)
    if first < last:
        yield memoryview(piece)[first:last]


def _writer(archive_format: ArchiveFormat) -> str:
    facts = [archive_format.value, str(WRITER_VERSION)]
    if archive_format is not ArchiveFormat.TAR:
        facts.append(compressor())
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:_TAG_DIGITS]
