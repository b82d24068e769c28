"""A tree as tar: POSIX pax format, so that any name and times to the nanosecond survive.

The bytes depend on the tree alone: ``tarfile`` has written other headers in other versions of Python. And each member's
place follows from what is before it, so that a part is made without the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from manifold_common.domain.tree import DIRECTORY, FILE, Entry, content_bytes
from manifold_common.engine.contents import Contents, Entries
from manifold_common.format.buffers import Buffer

_RECORD_BYTES = 512
_END = bytes(2 * _RECORD_BYTES)
_NAME_BYTES = 100
_SIZES_BELOW = _TIMES_BELOW = 8**11
_FILE, _LINK, _FOLDER, _EXTENDED = b"0", b"2", b"5", b"x"

GetContents = Callable[[Entries, int, int], Contents]
"""Of some entries: what of all their contents, one after another, stands between two positions."""


def tar_bytes(entries: Entries) -> int:
    """Return how long the archive is."""
    return sum(_member_bytes(path, entry) for path, entry in entries) + len(_END)


def write_tar(entries: Entries, contents_of: GetContents, start: int = 0, end: int | None = None) -> Iterator[Buffer]:
    """Yield the bytes of the archive from ``start`` up to ``end``. Content that is not in them is not read."""
    if end is None:
        end = tar_bytes(entries)
    for at, piece in _members(_Chosen.of(entries, start, end), contents_of):
        first, last = max(0, start - at), min(len(piece), end - at)
        if first < last:
            yield memoryview(piece)[first:last]


class _Chosen(NamedTuple):
    """Members that have a part in the bytes from ``start`` up to ``end``."""

    entries: Entries
    at: int
    """Where the first one begins."""
    after: int
    """Where the last one ends."""
    start: int
    end: int

    @classmethod
    def of(cls, entries: Entries, start: int, end: int) -> _Chosen:
        at = after = 0
        chosen = []
        for path, entry in entries:
            if after >= end:
                break
            size = _member_bytes(path, entry)
            if after + size > start:
                chosen.append((path, entry))
            else:
                at += size
            after += size
        return cls(chosen, at, after, start, end)

    def wanted_content(self) -> tuple[int, int]:
        """Return from where to where, of all contents together. Only of the first and the last member may there be
        less than the whole."""
        if not self.entries:
            return 0, 0
        sizes = [content_bytes(entry) for _, entry in self.entries]
        before = self.start - self.at - _header_bytes(*self.entries[0])
        behind = self.after - (-sizes[-1] % _RECORD_BYTES) - self.end
        return max(0, min(before, sizes[0])), sum(sizes) - max(0, min(behind, sizes[-1]))


def _members(chosen: _Chosen, contents_of: GetContents) -> Iterator[tuple[int, Buffer]]:
    """Yield where each piece stands, and the piece: of content what is wanted, of all else the whole."""
    contents = contents_of(chosen.entries, *chosen.wanted_content())
    at = chosen.at
    for path, entry in chosen.entries:
        header = _header(path, entry)
        yield at, header
        at += len(header)
        of_piece = max(at, chosen.start)
        for piece in contents.of(entry):
            yield of_piece, piece
            of_piece += len(piece)
        at += (size := content_bytes(entry))
        yield at, bytes(-size % _RECORD_BYTES)
        at += -size % _RECORD_BYTES
    yield at, _END


def _member_bytes(path: bytes, entry: Entry) -> int:
    size = content_bytes(entry)
    return _header_bytes(path, entry) + size + -size % _RECORD_BYTES


def _header_bytes(path: bytes, entry: Entry) -> int:
    records = len(_records(path, entry))
    return _RECORD_BYTES + (_RECORD_BYTES + records + -records % _RECORD_BYTES if records else 0)


def _header(path: bytes, entry: Entry) -> bytes:
    name, target, kind, size = path, b"", _LINK, 0
    if entry.kind == DIRECTORY:
        name, kind = path + b"/", _FOLDER
    elif entry.kind == FILE:
        kind, size = _FILE, entry.size
    else:
        target = entry.content
    seconds = entry.mtime_ns // 1_000_000_000
    plain = _ustar(
        name,
        entry.mode,
        size if size < _SIZES_BELOW else 0,
        max(0, min(seconds, _TIMES_BELOW - 1)),
        kind,
        target,
    )
    records = _records(path, entry)
    if not records:
        return plain
    extended = _ustar(b"././@PaxHeader", 0, len(records), 0, _EXTENDED, b"")
    return extended + records + bytes(-len(records) % _RECORD_BYTES) + plain


def _records(path: bytes, entry: Entry) -> bytes:
    """Return what a plain header has no room for."""
    found = b""
    seconds, fraction = divmod(entry.mtime_ns, 1_000_000_000)
    if fraction or not 0 <= seconds < _TIMES_BELOW:
        found += _record(b"mtime", _decimal(entry.mtime_ns))
    name = path + b"/" if entry.kind == DIRECTORY else path
    target = b"" if entry.kind in (DIRECTORY, FILE) else entry.content
    raw = False
    for key, value in ((b"path", name), (b"linkpath", target)):
        if len(value) > _NAME_BYTES or not value.isascii():
            found += _record(key, value)
            raw = raw or not _is_utf8(value)
    if entry.kind == FILE and entry.size >= _SIZES_BELOW:
        found += _record(b"size", b"%d" % entry.size)
    return _record(b"hdrcharset", b"BINARY") + found if raw else found


def _record(key: bytes, value: bytes) -> bytes:
    rest = b" %s=%s\n" % (key, value)
    length = len(rest) + len(str(len(rest)))
    return b"%d%s" % (len(rest) + len(str(length)), rest)


def _ustar(name: bytes, mode: int, size: int, seconds: int, kind: bytes, target: bytes) -> bytes:
    before = b"%s%07o\0%07o\0%07o\0%011o\0%011o\0" % (_fitted(name), mode & 0o7777, 0, 0, size, seconds)
    after = kind + _fitted(target) + b"ustar\x0000"
    checksum = sum(before) + 8 * ord(" ") + sum(after)
    return (b"%s%06o\0 %s" % (before, checksum, after)).ljust(_RECORD_BYTES, b"\0")


def _fitted(name: bytes) -> bytes:
    """Return what is in the plain header: the name, or what is left of it where the whole is in a record."""
    plain = name if name.isascii() else bytes(byte if byte < 128 else ord("?") for byte in name)
    return plain[:_NAME_BYTES].ljust(_NAME_BYTES, b"\0")


def _decimal(time_ns: int) -> bytes:
    sign, time_ns = (b"-", -time_ns) if time_ns < 0 else (b"", time_ns)
    return b"%s%d.%09d" % (sign, time_ns // 1_000_000_000, time_ns % 1_000_000_000)


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
