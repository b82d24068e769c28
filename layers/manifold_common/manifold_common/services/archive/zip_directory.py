"""A zip's directory: read member by member, so that memory does not grow with the number of members that it claims.

What the directory says is checked as a whole before anything is unpacked: how many members there are, that together
they unpack to what is allowed, and that no two share their bytes.
"""

from __future__ import annotations

import os
import stat
import struct
from array import array
from calendar import timegm
from collections.abc import Iterator
from typing import NamedTuple

from blake3 import blake3

from manifold_common.domain.paths import to_display
from manifold_common.domain.patience import check_wanted
from manifold_common.errors import InvalidInput
from manifold_common.services.archive.limits import ArchiveLimits
from manifold_common.services.archive.source import clean_path

STORED, DEFLATED = 0, 8
MAX_DIRECTORY_BYTES = 256 << 20
"""Names, extra fields and comments included. A million members with names of 80 bytes take 150 MiB."""

_END = struct.Struct("<4s4H2LH")
_LOCATOR = struct.Struct("<4sLQL")
_WIDE_END = struct.Struct("<4sQ2H2L4Q")
_MEMBER = struct.Struct("<4s6H3L5H2L")
LOCAL = struct.Struct("<4s5H3L2H")
_END_MARK, _LOCATOR_MARK, _WIDE_END_MARK = b"PK\x05\x06", b"PK\x06\x07", b"PK\x06\x06"
_MEMBER_MARK = b"PK\x01\x02"
_MAX_COMMENT_BYTES = 0xFFFF
_WINDOW_BYTES = 1 << 20
_LONGEST_MEMBER_BYTES = _MEMBER.size + 3 * 0xFFFF
_ENCRYPTED_FLAGS, _UTF8_FLAG = 0x2041, 0x0800
_UNIX = 3
_UNSAID = 0xFFFFFFFF
_WIDE_FIELD, _TIME_FIELD = 0x0001, 0x5455
_PATH_MARK_BYTES = 8


class Member(NamedTuple):
    name: bytes
    """As it stands there; a local header says the same."""
    path: bytes
    """Checked; ``b""`` for the archive's root."""
    method: int
    crc: int
    packed_bytes: int
    raw_bytes: int
    mode: int
    """With the type; 0 where no Unix made it."""
    mtime_ns: int
    offset: int
    """Of its local header."""

    @property
    def is_folder(self) -> bool:
        return self.name.endswith(b"/") or stat.S_ISDIR(self.mode)


def damaged(reason: str) -> InvalidInput:
    return InvalidInput(f"the zip is damaged, or not a zip: {reason}", hint="send the whole zip, or make it again")


class Directory:
    """Of the zip in the file ``fd``."""

    def __init__(self, fd: int) -> None:
        """Raises InvalidInput: there is none, or it is too long."""
        self._fd = fd
        self._start, self._bytes, self._count = _find(fd)

    def check(self, limits: ArchiveLimits) -> None:
        """Hold all members against what is allowed. Raises InvalidInput, UnsafePath, QuotaExceeded."""
        limits.check_entries(min(self._count, self._bytes // _MEMBER.size))
        starts, ends = array("Q"), array("Q")
        paths: set[bytes] = set()
        declared = packed = last_end = 0
        in_order = True
        for member in self.members():
            declared += member.raw_bytes
            packed += member.packed_bytes
            end = member.offset + LOCAL.size + len(member.name) + member.packed_bytes
            if end > self._start:
                raise damaged(f"{to_display(member.path)!r} is said to lie where the directory is")
            in_order = in_order and member.offset >= last_end
            last_end = end
            starts.append(member.offset)
            ends.append(end)
            if member.path:
                mark = blake3(member.path).digest(_PATH_MARK_BYTES)
                if mark in paths:
                    raise InvalidInput(f"the zip has {to_display(member.path)!r} twice", hint="make it again")
                paths.add(mark)
        limits.check_entries(len(starts))
        limits.check_bytes(declared)
        limits.check_expansion(declared, self._start)
        limits.check_yield(declared, packed)
        if not in_order and any(start < end for start, end in zip(sorted(starts)[1:], sorted(ends), strict=False)):
            raise damaged("two of its files share their bytes")

    def members(self) -> Iterator[Member]:
        """Yield them, as the directory has them. Raises InvalidInput, UnsafePath."""
        at, end = self._start, self._start + self._bytes
        window, window_at = b"", at
        for _ in range(self._count):
            if at - window_at + _LONGEST_MEMBER_BYTES > len(window):
                check_wanted()
                window = os.pread(self._fd, min(_WINDOW_BYTES, end - at), at)
                window_at = at
            member, size = _member(window, at - window_at)
            yield member
            at += size
        if at != end:
            raise damaged("its directory is longer than it says")


def _find(fd: int) -> tuple[int, int, int]:
    """Return where the directory starts, how many bytes it has, and how many members."""
    length = os.fstat(fd).st_size
    tail_at = max(0, length - _END.size - _MAX_COMMENT_BYTES - _LOCATOR.size)
    tail = os.pread(fd, length - tail_at, tail_at)
    at = tail.rfind(_END_MARK)
    if at < 0 or len(tail) - at < _END.size:
        raise damaged("it has no end")
    count, size, start = _END.unpack_from(tail, at)[4:7]
    end = tail_at + at
    if at >= _LOCATOR.size and tail[at - _LOCATOR.size : at].startswith(_LOCATOR_MARK):
        end -= _LOCATOR.size
        told_at = _LOCATOR.unpack_from(tail, at - _LOCATOR.size)[2]
        wide = os.pread(fd, _WIDE_END.size, told_at) if told_at + _WIDE_END.size <= end else b""
        if len(wide) < _WIDE_END.size or not wide.startswith(_WIDE_END_MARK):
            raise damaged("its end does not say where its directory is")
        count, size, start = _WIDE_END.unpack(wide)[7:10]
        end = told_at
    if size > MAX_DIRECTORY_BYTES:
        raise InvalidInput(
            f"the zip's directory has {size} bytes, over the limit of {MAX_DIRECTORY_BYTES}",
            hint="send a tar.gz, or several zips",
        )
    if start + size != end:
        raise damaged("its directory is not where its end says")
    return start, size, count


def _member(window: bytes, at: int) -> tuple[Member, int]:
    """Return the member at ``at``, and how many bytes it takes in the directory."""
    if len(window) < at + _MEMBER.size:
        raise damaged("its directory ends early")
    (
        mark, made_by, _, flags, method, time, date, crc, packed, raw, name_size, extra_size, comment_size,
        _, _, attributes, offset,
    ) = _MEMBER.unpack_from(window, at)  # fmt: skip
    name_at = at + _MEMBER.size
    extra_at = name_at + name_size
    size = _MEMBER.size + name_size + extra_size + comment_size
    if mark != _MEMBER_MARK or len(window) < at + size:
        raise damaged("its directory ends early")
    name, extra = window[name_at:extra_at], window[extra_at : extra_at + extra_size]
    path = clean_path(_checked_name(name, flags))
    if flags & _ENCRYPTED_FLAGS:
        raise InvalidInput("the zip is encrypted", hint="send one without a password")
    if method not in (STORED, DEFLATED):
        raise InvalidInput(f"{to_display(path)!r} is packed by method {method}", hint="use store or deflate")
    raw, packed, offset = _wide(extra, raw, packed, offset)
    if method == STORED and raw != packed:
        raise damaged(f"{to_display(path)!r} has two lengths")
    mode = attributes >> 16 if made_by >> 8 == _UNIX else 0
    return Member(name, path, method, crc, packed, raw, mode, _mtime_ns(extra, date, time), offset), size


def _checked_name(name: bytes, flags: int) -> bytes:
    """A name that is not marked as UTF-8 stands for its bytes."""
    if flags & _UTF8_FLAG:
        try:
            name.decode("utf-8")
        except UnicodeDecodeError:
            raise damaged("a name in it is not the UTF-8 that it is said to be") from None
    return name


def _fields(extra: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 4 <= len(extra):
        kind, size = struct.unpack_from("<HH", extra, at)
        yield kind, extra[at + 4 : at + 4 + size]
        at += 4 + size


def _wide(extra: bytes, *said: int) -> tuple[int, ...]:
    """Return the numbers, each from the zip64 field where the directory has no room for it."""
    if _UNSAID not in said:
        return said
    rest = next((data for kind, data in _fields(extra) if kind == _WIDE_FIELD), b"")
    numbers = []
    for number in said:
        if number == _UNSAID:
            if len(rest) < 8:
                raise damaged("a length is missing in it")
            number, rest = int.from_bytes(rest[:8], "little"), rest[8:]
        numbers.append(number)
    return tuple(numbers)


def _mtime_ns(extra: bytes, date: int, time: int) -> int:
    """Return the time of the extended-timestamp field, or else the DOS time read as UTC."""
    for kind, data in _fields(extra):
        if kind == _TIME_FIELD and len(data) >= 5 and data[0] & 1:
            return int.from_bytes(data[1:5], "little", signed=True) * 1_000_000_000
    try:
        moment = (1980 + (date >> 9), date >> 5 & 15, date & 31, time >> 11, time >> 5 & 63, (time & 31) * 2, 0, 0, 0)
        return timegm(moment) * 1_000_000_000
    except ValueError:
        return 0
