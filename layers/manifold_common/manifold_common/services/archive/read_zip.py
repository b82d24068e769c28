"""Items of a zip. Its directory stands at its end, so the zip is first put into an unlinked file, in RAM where projects
are encrypted; what it declares is then checked before anything is unpacked."""

from __future__ import annotations

import os
import stat
import struct
import tempfile
import zipfile
import zlib
from calendar import timegm
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import BinaryIO

from manifold_common.domain.paths import to_display
from manifold_common.engine.working_set.folders import translate
from manifold_common.engine.working_set.ram import free_bytes
from manifold_common.errors import InvalidInput, NoSpace
from manifold_common.services.archive.limits import ArchiveLimits
from manifold_common.services.archive.source import Item, ItemKind, Source, clean_path
from manifold_common.services.edits import ReadInto

_PIECE_BYTES = 1 << 20
_SHARE_OF_FREE = 0.5
_END = b"PK\x05\x06"
_END_BYTES = 22
_MAX_COMMENT_BYTES = 0xFFFF
_LOCATOR_BYTES = 20
_WIDE_END_BYTES = 56
_DIRECTORY_ENTRY_BYTES = 46
_MAX_DIRECTORY_BYTES = 256 << 20
_MAX_TARGET_BYTES = 4095
_ENCRYPTED_FLAG, _UTF8_FLAG = 0x0001, 0x0800
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_UNIX = 3
_DAMAGED = "the zip is damaged, or not a zip"


def read_zip(source: Source, limits: ArchiveLimits, spool_folder: str) -> Generator[Item, None, None]:
    """Yield the items.

    Raises:
        InvalidInput: damaged, encrypted, or packed in a way that is not supported. UnsafePath. QuotaExceeded.
        NoSpace: the zip does not fit into ``spool_folder``.
    """
    with _spool(source, spool_folder) as file:
        _check_directory(file, limits)
        with _translated(), zipfile.ZipFile(file) as archive:
            yield from _items(archive, limits, source.taken_bytes)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError, struct.error, NotImplementedError, UnicodeError):
        raise InvalidInput(_DAMAGED, hint="make it again") from None


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
                    f"the zip has more than {room} bytes, half of what is free in {folder}",
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


def _check_directory(file: BinaryIO, limits: ArchiveLimits) -> None:
    """Bound the directory before it is read into memory. Raises InvalidInput, QuotaExceeded."""
    length = file.seek(0, os.SEEK_END)
    start = max(0, length - _END_BYTES - _MAX_COMMENT_BYTES - _LOCATOR_BYTES)
    file.seek(start)
    tail = file.read()
    at = tail.rfind(_END)
    if at < 0 or len(tail) - at < _END_BYTES:
        raise InvalidInput(_DAMAGED, hint="send the whole zip")
    count, size = struct.unpack_from("<HL", tail, at + 10)
    if tail[max(0, at - _LOCATOR_BYTES) : at].startswith(b"PK\x06\x07"):
        (told_at,) = struct.unpack_from("<Q", tail, at - _LOCATOR_BYTES + 8)
        # Where the locator points to, and where the library looks: right before it.
        for wide_at in (min(told_at, length), max(0, start + at - _LOCATOR_BYTES - _WIDE_END_BYTES)):
            file.seek(wide_at)
            wide = file.read(_WIDE_END_BYTES)
            if len(wide) < _WIDE_END_BYTES:
                raise InvalidInput(_DAMAGED, hint="send the whole zip")
            wide_count, wide_size = struct.unpack_from("<QQ", wide, 32)
            count, size = max(count, wide_count), max(size, wide_size)
    if size > min(length, _MAX_DIRECTORY_BYTES):
        raise InvalidInput(f"the zip's directory says that it has {size} bytes", hint="it is damaged")
    limits.check_entries(min(count, size // _DIRECTORY_ENTRY_BYTES))
    file.seek(0)


def _items(archive: zipfile.ZipFile, limits: ArchiveLimits, packed_bytes: int) -> Iterator[Item]:
    members = archive.infolist()
    limits.check_entries(len(members))
    declared = sum(member.file_size for member in members)
    limits.check_bytes(declared)
    limits.check_expansion(declared, packed_bytes)
    seen: set[bytes] = set()
    for member in members:
        path = _path(member)
        if path in seen:
            raise InvalidInput(f"the zip has {to_display(path)!r} twice", hint="make it again")
        if path:
            seen.add(path)
        if member.flag_bits & _ENCRYPTED_FLAG:
            raise InvalidInput("the zip is encrypted", hint="send one without a password")
        if member.compress_type not in _METHODS:
            raise InvalidInput(
                f"{to_display(path)!r} is packed by method {member.compress_type}", hint="use store or deflate"
            )
        yield from _item(archive, member, path)


def _item(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: bytes) -> Iterator[Item]:
    mode = member.external_attr >> 16 if member.create_system == _UNIX else 0
    mtime_ns = _mtime_ns(member)
    if member.orig_filename.endswith("/") or stat.S_ISDIR(mode):
        yield Item(path, ItemKind.FOLDER, mode & 0o777 or 0o755, mtime_ns, 0, b"", None)
    elif stat.S_ISLNK(mode):
        if member.file_size > _MAX_TARGET_BYTES:
            raise InvalidInput(f"the link {to_display(path)!r} has a target that no link can have")
        with archive.open(member) as content:
            yield Item(path, ItemKind.LINK, 0o777, mtime_ns, 0, content.read(_MAX_TARGET_BYTES + 1), None)
    elif stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        yield Item(path, ItemKind.UNSUPPORTED, 0, mtime_ns, 0, b"", None)
    else:
        with archive.open(member) as content:

            def read(into: memoryview) -> int:
                with _translated():
                    piece = content.read(min(len(into), _PIECE_BYTES))
                into[: len(piece)] = piece
                return len(piece)

            reader: ReadInto = read
            yield Item(path, ItemKind.FILE, mode & 0o777 or 0o644, mtime_ns, member.file_size, b"", reader)


def _path(member: zipfile.ZipInfo) -> bytes:
    """Return the path, checked. A name that is not marked as UTF-8 stands for its bytes."""
    name = member.orig_filename
    return clean_path(name.encode("utf-8") if member.flag_bits & _UTF8_FLAG else name.encode("cp437"))


def _mtime_ns(member: zipfile.ZipInfo) -> int:
    """Return the time of the extended-timestamp field, or else the DOS time read as UTC."""
    extra = member.extra
    while len(extra) >= 4:
        kind, size = struct.unpack_from("<HH", extra)
        if kind == 0x5455 and size >= 5 and len(extra) >= 9 and extra[4] & 1:
            seconds: int = struct.unpack_from("<l", extra, 5)[0]
            return seconds * 1_000_000_000
        extra = extra[4 + size :]
    try:
        return timegm((*member.date_time, 0, 0, 0)) * 1_000_000_000
    except ValueError:
        return 0
