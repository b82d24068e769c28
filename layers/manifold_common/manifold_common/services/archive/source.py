"""The bytes of an arriving archive, and the items that readers make of them."""

from __future__ import annotations

import zlib
from enum import Enum
from typing import NamedTuple

from manifold_common.domain.paths import check_path
from manifold_common.domain.patience import check_wanted
from manifold_common.errors import InvalidInput
from manifold_common.services.archive.limits import ArchiveLimits
from manifold_common.services.projects.edits import ReadInto

_PIECE_BYTES = 256 << 10
_INFLATED_AT_ONCE = 32 << 10
"""Of packed bytes: what is left of them after a stream's end is copied, for each stream that ends among them."""
_GZIP_WINDOW = 31  # zlib's name for a gzip stream


class ItemKind(Enum):
    FILE = "file"
    FOLDER = "folder"
    LINK = "link"
    HARD_LINK = "hard link"
    UNSUPPORTED = "unsupported"
    """A device or FIFO: reported, not taken."""


class Item(NamedTuple):
    """One entry of an archive, in the order they come."""

    path: bytes
    kind: ItemKind
    mode: int
    mtime_ns: int
    size: int
    target: bytes
    read: ReadInto | None
    """Content of a file; good until the next item is asked for."""
    has_attributes: bool = False
    """Extended attributes or access control lists."""


class Source:
    """Reads ahead where asked. Args: ``read``: fills a buffer and returns how many bytes; 0 at the end."""

    def __init__(self, read: ReadInto) -> None:
        self._read = read
        self._ahead = b""
        self._at = 0
        self.taken_bytes = 0

    def peek(self, size: int) -> bytes:
        """Return the next ``size`` bytes, fewer at the end, without taking them."""
        while len(self._ahead) - self._at < size:
            piece = self._more()
            if not piece:
                break
            self._ahead, self._at = self._ahead[self._at :] + piece, 0
        return self._ahead[self._at : self._at + size]

    def take(self, size: int) -> bytes:
        """Return the next bytes: at least one and at most ``size``; none at the end."""
        if size and self._at == len(self._ahead):
            self._ahead, self._at = self._more(), 0
        piece = self._ahead[self._at : self._at + size]
        self._at += len(piece)
        self.taken_bytes += len(piece)
        return piece

    def take_exactly(self, size: int) -> bytes:
        """Raises InvalidInput: the end comes first."""
        pieces = []
        while size:
            piece = self.take(size)
            if not piece:
                raise ends_early()
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)

    def skip(self, size: int) -> None:
        """Raises InvalidInput: the end comes first."""
        while size:
            piece = self.take(min(size, _PIECE_BYTES))
            if not piece:
                raise ends_early()
            size -= len(piece)

    def skip_all(self) -> None:
        while self.take(_PIECE_BYTES):
            pass

    def _more(self) -> bytes:
        check_wanted()
        buffer = bytearray(_PIECE_BYTES)
        return bytes(memoryview(buffer)[: self._read(memoryview(buffer))])


def gunzip(source: Source, limits: ArchiveLimits) -> ReadInto:
    """Return a reader of what the gzip stream ``source`` holds, several members in a row included.

    It raises InvalidInput: damaged, or ends early. QuotaExceeded: it expands too far, or too little.
    """
    inflater = zlib.decompressobj(_GZIP_WINDOW)
    waiting = b""
    expanded = 0
    members = 1

    def read(into: memoryview) -> int:
        nonlocal inflater, waiting, expanded, members
        while True:
            if inflater.eof:
                waiting = (inflater.unused_data or source.take(_INFLATED_AT_ONCE)).lstrip(b"\0")
                if not waiting:
                    if source.peek(1):
                        continue
                    return 0
                members += 1
                limits.check_members(members, expanded)
                inflater = zlib.decompressobj(_GZIP_WINDOW)
            waiting = waiting or source.take(_INFLATED_AT_ONCE)
            if not waiting:
                raise ends_early()
            try:
                piece = inflater.decompress(waiting, len(into))
            except zlib.error:
                raise InvalidInput("the archive is damaged: it is not gzip throughout", hint="make it again") from None
            waiting = inflater.unconsumed_tail
            limits.check_yield(expanded + len(piece), source.taken_bytes)
            if piece:
                expanded += len(piece)
                limits.check_expansion(expanded, source.taken_bytes)
                into[: len(piece)] = piece
                return len(piece)

    return read


def clean_path(raw: bytes) -> bytes:
    """Return the path that an archive's name stands for; ``b""`` for the archive's root.

    Raises:
        UnsafePath: absolute, or it leaves the archive.
    """
    while raw.startswith(b"./"):
        raw = raw[2:]
    raw = raw.rstrip(b"/") or raw[:1]
    return b"" if raw in (b"", b".") else check_path(raw)


def ends_early() -> InvalidInput:
    return InvalidInput("the archive ends early", hint="send the whole archive")
