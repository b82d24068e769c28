"""Items of a zip. Its directory stands at its end, so the zip is first put into an unlinked file, in RAM where projects
are encrypted; what it declares is then checked before anything is unpacked."""

from __future__ import annotations

import os
import stat
import tempfile
import zlib
from collections.abc import Generator, Iterator
from typing import BinaryIO

from manifold_common.domain.paths import to_display
from manifold_common.domain.patience import check_wanted
from manifold_common.domain.wording import plural
from manifold_common.engine.working_set.folders import translate
from manifold_common.engine.working_set.ram import free_bytes
from manifold_common.errors import InvalidInput, NoSpace
from manifold_common.services.archive.limits import ArchiveLimits
from manifold_common.services.archive.source import Item, ItemKind, Source
from manifold_common.services.archive.zip_directory import DEFLATED, LOCAL, Directory, Member, damaged

_PIECE_BYTES = 1 << 20
_PACKED_PIECE_BYTES = 64 << 10
_SHARE_OF_FREE = 0.5
_LOCAL_MARK = b"PK\x03\x04"
_MAX_TARGET_BYTES = 4095
_RAW_DEFLATE = -15  # zlib's name for deflate without a header


def read_zip(source: Source, limits: ArchiveLimits, spool_folder: str) -> Generator[Item, None, None]:
    """Yield the items.

    Raises:
        InvalidInput: damaged, encrypted, or packed in a way that is not supported. UnsafePath. QuotaExceeded.
        NoSpace: the zip does not fit into ``spool_folder``.
    """
    with _spool(source, spool_folder) as file:
        directory = Directory(file.fileno())
        directory.check(limits)
        for member in directory.members():
            yield _item(file.fileno(), member)


def _spool(source: Source, folder: str) -> BinaryIO:
    """Return an unlinked file with all of ``source``. Raises NoSpace."""
    room = int(free_bytes(folder) * _SHARE_OF_FREE)
    try:
        file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - handed to the caller
    except OSError as error:
        raise translate(error, os.fsencode(folder)) from None
    try:
        while piece := source.take(_PIECE_BYTES):
            if source.taken_bytes > room:
                raise NoSpace(
                    f"the zip has more than {plural(room, 'byte')}, half of what is free in {folder}",
                    hint="send a tar.gz, which needs no room, or make room",
                )
            os.writev(file.fileno(), [piece])
        file.seek(0)
    except OSError as error:
        file.close()
        raise translate(error, os.fsencode(folder)) from None
    except BaseException:
        file.close()
        raise
    return file


def _item(fd: int, member: Member) -> Item:
    path, mode, mtime_ns = member.path, member.mode, member.mtime_ns
    if member.is_folder:
        return Item(path, ItemKind.FOLDER, stat.S_IMODE(mode) or 0o755, mtime_ns, 0, b"", None)
    if stat.S_ISLNK(mode):
        if member.raw_bytes > _MAX_TARGET_BYTES:
            raise InvalidInput(f"the link {to_display(path)!r} has a target that no link can have")
        return Item(path, ItemKind.LINK, 0o777, mtime_ns, 0, b"".join(_content(fd, member)), None)
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        return Item(path, ItemKind.UNSUPPORTED, 0, mtime_ns, 0, b"", None)
    pieces = _content(fd, member)
    rest = b""

    def read(into: memoryview) -> int:
        nonlocal rest
        rest = rest or next(pieces, b"")
        count = min(len(rest), len(into))
        into[:count] = rest[:count]
        rest = rest[count:]
        return count

    return Item(path, ItemKind.FILE, stat.S_IMODE(mode) or 0o644, mtime_ns, member.raw_bytes, b"", read)


def _content(fd: int, member: Member) -> Iterator[bytes]:
    """Yield a file's bytes. Raises InvalidInput: they are not what the directory says."""
    at = _content_at(fd, member)
    crc = raw_bytes = 0
    for piece in _unpacked(_packed(fd, at, member.packed_bytes), member):
        raw_bytes += len(piece)
        if raw_bytes > member.raw_bytes:
            break
        crc = zlib.crc32(piece, crc)
        yield piece
    if raw_bytes != member.raw_bytes or crc != member.crc:
        raise damaged(f"{to_display(member.path)!r} is not what its directory says")


def _content_at(fd: int, member: Member) -> int:
    header = os.pread(fd, LOCAL.size, member.offset)
    if len(header) < LOCAL.size or not header.startswith(_LOCAL_MARK):
        raise damaged(f"{to_display(member.path)!r} is not where its directory says")
    name_size: int
    extra_size: int
    name_size, extra_size = LOCAL.unpack(header)[9:]
    name_at = member.offset + LOCAL.size
    if os.pread(fd, name_size, name_at) != member.name:
        raise damaged(f"{to_display(member.path)!r} has two names")
    return name_at + name_size + extra_size


def _packed(fd: int, at: int, size: int) -> Iterator[bytes]:
    while size:
        check_wanted()
        piece = os.pread(fd, min(size, _PACKED_PIECE_BYTES), at)
        if not piece:
            raise damaged("it ends early")
        yield piece
        at += len(piece)
        size -= len(piece)


def _unpacked(pieces: Iterator[bytes], member: Member) -> Iterator[bytes]:
    if member.method != DEFLATED:
        yield from pieces
        return
    inflater = zlib.decompressobj(_RAW_DEFLATE)
    try:
        for packed in pieces:
            while packed:
                if inflater.eof:
                    raise damaged(f"bytes follow the end of {to_display(member.path)!r}")
                piece = inflater.decompress(packed, _PIECE_BYTES)
                packed = inflater.unconsumed_tail or inflater.unused_data
                if piece:
                    yield piece
        if rest := inflater.flush():
            yield rest
    except zlib.error:
        raise damaged(f"{to_display(member.path)!r} cannot be unpacked") from None
    if not inflater.eof:
        raise damaged(f"{to_display(member.path)!r} ends early")
