"""A tree as a zip, written without going back: sizes follow each file in a descriptor, zip64 throughout where needed.

Modes and links are kept as Unix attributes, times to the second in the extended-timestamp field. Names that are UTF-8
are marked so; others are written as their bytes, which is what unzip on Unix reads.
"""

from __future__ import annotations

import stat
import struct
import zlib
from collections.abc import Generator, Iterator
from datetime import UTC, datetime

from manifold_common.domain.tree import DIRECTORY, FILE, Entry
from manifold_common.engine.contents import Contents, Entries
from manifold_common.services.archive.deflate import raw_deflater

_LIMIT32 = 0xFFFFFFFF
_LIMIT16 = 0xFFFF
_ZIP64_FROM_BYTES = 0xF0000000  # leaves room for data that grows when it is compressed
_STORED, _DEFLATED = 0, 8
_DESCRIPTOR_FLAG, _UTF8_FLAG = 0x0008, 0x0800
_UNIX = 3 << 8
_VERSION, _VERSION_ZIP64 = 20, 45
_FIRST_DOS_TIME = 315_532_800  # 1980-01-01
_LAST_DOS_TIME = 4_354_819_199  # 2107-12-31


def write_zip(entries: Entries, contents: Contents) -> Generator[bytes, None, None]:
    """Yield the archive."""
    directory: list[bytes] = []
    at = 0
    for path, entry in entries:
        start = at
        for piece in (member := _Member(path, entry)).write(contents):
            at += len(piece)
            yield piece
        directory.append(member.directory_entry(start))
    table = b"".join(directory)
    yield table
    yield _end(len(directory), len(table), at)


class _Member:
    def __init__(self, path: bytes, entry: Entry) -> None:
        self._entry = entry
        self._name = path + b"/" if entry.kind == DIRECTORY else path
        self._flags = _UTF8_FLAG if _is_utf8(path) else 0
        self._method = _STORED
        self._crc = 0
        self._raw_bytes = 0
        self._packed_bytes = 0
        self._zip64 = entry.size >= _ZIP64_FROM_BYTES
        if entry.kind == FILE and entry.size:
            self._flags |= _DESCRIPTOR_FLAG
            self._method = _DEFLATED

    def write(self, contents: Contents) -> Iterator[bytes]:
        entry = self._entry
        if self._method == _STORED:
            data = b"" if entry.kind in (FILE, DIRECTORY) else entry.content
            self._crc, self._raw_bytes, self._packed_bytes = zlib.crc32(data), len(data), len(data)
            yield self._local_header() + data
            return
        yield self._local_header()
        deflater = raw_deflater()
        for piece in contents.of(entry):
            self._crc = zlib.crc32(piece, self._crc)
            self._raw_bytes += len(piece)
            if packed := deflater.compress(piece):
                self._packed_bytes += len(packed)
                yield packed
        packed = deflater.flush()
        self._packed_bytes += len(packed)
        sizes = "<QQ" if self._zip64 else "<LL"
        yield (
            packed
            + struct.pack("<4sL", b"PK\x07\x08", self._crc)
            + struct.pack(sizes, self._packed_bytes, self._raw_bytes)
        )

    def directory_entry(self, offset: int) -> bytes:
        """Return what the directory at the end says. Args: ``offset``: where the member starts."""
        mode = self._entry.mode | {FILE: stat.S_IFREG, DIRECTORY: stat.S_IFDIR}.get(self._entry.kind, stat.S_IFLNK)
        attributes = mode << 16 | (0x10 if self._entry.kind == DIRECTORY else 0)
        large = [size for size in (self._raw_bytes, self._packed_bytes, offset) if size >= _LIMIT32]
        wide = struct.pack(f"<HH{len(large)}Q", 1, 8 * len(large), *large) if large else b""
        extra = wide + self._timestamp()
        return (
            struct.pack(
                "<4s4B4HL2L5H2L",
                b"PK\x01\x02",
                _VERSION_ZIP64 if large or self._zip64 else _VERSION,
                _UNIX >> 8,
                _VERSION_ZIP64 if large or self._zip64 else _VERSION,
                0,
                self._flags,
                self._method,
                *self._dos_time(),
                self._crc,
                min(self._packed_bytes, _LIMIT32),
                min(self._raw_bytes, _LIMIT32),
                len(self._name),
                len(extra),
                0,
                0,
                0,
                attributes,
                min(offset, _LIMIT32),
            )
            + self._name
            + extra
        )

    def _local_header(self) -> bytes:
        extra = self._timestamp()
        known = not self._flags & _DESCRIPTOR_FLAG
        sizes = (self._packed_bytes, self._raw_bytes) if known else (0, 0)
        if self._zip64:
            extra = struct.pack("<HHQQ", 1, 16, 0, 0) + extra
            sizes = (_LIMIT32, _LIMIT32)
        return (
            struct.pack(
                "<4s5H3L2H",
                b"PK\x03\x04",
                _VERSION_ZIP64 if self._zip64 else _VERSION,
                self._flags,
                self._method,
                *self._dos_time(),
                self._crc if known else 0,
                *sizes,
                len(self._name),
                len(extra),
            )
            + self._name
            + extra
        )

    def _timestamp(self) -> bytes:
        """Return the extended-timestamp field, where the time fits into it."""
        seconds = self._entry.mtime_ns // 1_000_000_000
        return struct.pack("<HHBl", 0x5455, 5, 1, seconds) if -(2**31) <= seconds < 2**31 else b""

    def _dos_time(self) -> tuple[int, int]:
        seconds = max(_FIRST_DOS_TIME, min(self._entry.mtime_ns // 1_000_000_000, _LAST_DOS_TIME))
        when = datetime.fromtimestamp(seconds, UTC)
        return (
            when.hour << 11 | when.minute << 5 | when.second // 2,
            (when.year - 1980) << 9 | when.month << 5 | when.day,
        )


def _end(count: int, size: int, offset: int) -> bytes:
    end = struct.pack(
        "<4s4H2LH",
        b"PK\x05\x06",
        0,
        0,
        min(count, _LIMIT16),
        min(count, _LIMIT16),
        min(size, _LIMIT32),
        min(offset, _LIMIT32),
        0,
    )
    if count < _LIMIT16 and size < _LIMIT32 and offset < _LIMIT32:
        return end
    wide = struct.pack(
        "<4sQ2H2L4Q", b"PK\x06\x06", 44, _UNIX | _VERSION_ZIP64, _VERSION_ZIP64, 0, 0, count, count, size, offset
    )
    return wide + struct.pack("<4sLQL", b"PK\x06\x07", 0, offset + size, 1) + end


def _is_utf8(path: bytes) -> bool:
    try:
        path.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
