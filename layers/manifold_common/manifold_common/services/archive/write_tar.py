"""A tree as tar.gz: POSIX pax format, so that any name and times to the nanosecond survive."""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Iterator

from manifold_common.domain.tree import DIRECTORY, FILE, Entry
from manifold_common.engine.contents import Contents, Entries

_LEVEL = 4  # of 1 to 9: half the time of 6 for 3 % more bytes on source code
_GZIP_WINDOW = 31
_RECORD_BYTES = 512
_SMALLEST_PIECE = 64 << 10


def write_tar_gz(entries: Entries, contents: Contents) -> Iterator[bytes]:
    """Yield the archive."""
    deflater = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP_WINDOW)
    gathered: list[bytes] = []
    size = 0
    for piece in _tar(entries, contents):
        packed = deflater.compress(piece)
        gathered.append(packed)
        size += len(packed)
        if size >= _SMALLEST_PIECE:
            yield b"".join(gathered)
            gathered, size = [], 0
    yield b"".join((*gathered, deflater.flush()))


def _tar(entries: Entries, contents: Contents) -> Iterator[bytes | memoryview]:
    for path, entry in entries:
        yield _header(path, entry)
        if entry.kind == FILE and entry.size:
            for piece in contents.of(entry):
                yield memoryview(piece)
            yield bytes(-entry.size % _RECORD_BYTES)
    yield bytes(2 * _RECORD_BYTES)


def _header(path: bytes, entry: Entry) -> bytes:
    info = tarfile.TarInfo(path.decode("utf-8", "surrogateescape"))
    info.mode = entry.mode
    info.mtime, fraction = divmod(entry.mtime_ns, 1_000_000_000)
    if fraction or not 0 <= info.mtime < 8**11:
        info.pax_headers = {"mtime": _decimal(entry.mtime_ns)}
        info.mtime = max(0, min(info.mtime, 8**11 - 1))
    if entry.kind == DIRECTORY:
        info.type = tarfile.DIRTYPE
    elif entry.kind == FILE:
        info.size = entry.size
    else:
        info.type = tarfile.SYMTYPE
        info.linkname = entry.content.decode("utf-8", "surrogateescape")
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _decimal(time_ns: int) -> str:
    sign, time_ns = ("-", -time_ns) if time_ns < 0 else ("", time_ns)
    return f"{sign}{time_ns // 1_000_000_000}.{time_ns % 1_000_000_000:09}"
