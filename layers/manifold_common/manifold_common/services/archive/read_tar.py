"""Items of a tar, as they stream by: ustar, pax and GNU long names. Nothing is read into memory but bounded headers,
and nothing of them is kept but what an item is made of.
"""

from __future__ import annotations

import tarfile
from collections.abc import Generator, Mapping
from decimal import Decimal

from manifold_common.domain.paths import to_display
from manifold_common.domain.wording import plural
from manifold_common.errors import InvalidInput
from manifold_common.services.archive.limits import ArchiveLimits
from manifold_common.services.archive.source import Item, ItemKind, Source, clean_path
from manifold_common.services.projects.edits import ReadInto

_RECORD_BYTES = 512
_MAX_PAX_BYTES = 1 << 20
_MAX_HEADERS_IN_A_ROW = 64
"""Headers that only say more of the entry after them. Three are usual."""
_MAX_NAME_BYTES = 64 << 10
_SPARSE = b"GNU.sparse"
_HAS_ATTRIBUTES = b"attributes"
_ATTRIBUTES = (b"SCHILY.xattr.user.", b"SCHILY.xattr.security.capability", b"SCHILY.acl.", b"LIBARCHIVE.xattr.user.")
"""How the keys begin that extended attributes and access control lists stand under."""
_KEPT = frozenset({b"path", b"linkpath", b"size", b"mtime"})
_PAX, _PAX_GLOBAL, _GNU_NAME, _GNU_LINK = b"x", b"g", b"L", b"K"
_FILES = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
_SPECIAL = (tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE)


def read_tar(source: Source, limits: ArchiveLimits) -> Generator[Item, None, None]:
    """Yield the items.

    Raises:
        InvalidInput: not a tar, damaged, or with entries that cannot be kept (sparse files). UnsafePath.
        QuotaExceeded: its headers are too much for its entries.
    """
    fixed: dict[bytes, bytes] = {}
    extra: dict[bytes, bytes] = {}
    in_a_row = entries = 0
    while True:
        header = _header(source)
        if header is None:
            source.skip_all()  # the rest of the last block, so that a request's body is read to its end
            return
        kind = header.type
        in_a_row = in_a_row + 1 if kind in (_PAX, _PAX_GLOBAL, _GNU_NAME, _GNU_LINK) else 0
        if in_a_row > _MAX_HEADERS_IN_A_ROW:
            raise InvalidInput(
                f"the archive has more than {_MAX_HEADERS_IN_A_ROW} headers for one entry, the {entries + 1}.",
                hint="it is damaged, or made to do harm",
            )
        if kind in (_PAX, _PAX_GLOBAL):
            data = source.take_exactly(_bounded(header.size, _MAX_PAX_BYTES))
            records = _pax_records(data, fixed if kind == _PAX_GLOBAL else extra)
            source.skip(-header.size % _RECORD_BYTES)
            limits.take_header(header.size, records, entries)
            continue
        if kind in (_GNU_NAME, _GNU_LINK):
            name = source.take_exactly(_bounded(header.size, _MAX_NAME_BYTES)).rstrip(b"\0")
            source.skip(-header.size % _RECORD_BYTES)
            limits.take_header(header.size, 1, entries)
            extra.setdefault(b"path" if kind == _GNU_NAME else b"linkpath", name)
            continue
        facts = {**fixed, **extra}
        extra = {}
        entries += 1
        size = _number(facts[b"size"]) if b"size" in facts else header.size
        left = _Content(source, size)
        yield _item(header, facts, size, left)
        left.finish()
        source.skip(-size % _RECORD_BYTES)


class _Content:
    """What is left of one entry."""

    def __init__(self, source: Source, size: int) -> None:
        self._source = source
        self._left = size

    def read(self, into: memoryview) -> int:
        piece = self._source.take(min(self._left, len(into)))
        if not piece and self._left:
            self._source.take_exactly(self._left)
        into[: len(piece)] = piece
        self._left -= len(piece)
        return len(piece)

    def finish(self) -> None:
        self._source.skip(self._left)


def _header(source: Source) -> tarfile.TarInfo | None:
    """Return the next header, or ``None`` at the end mark."""
    try:
        info = tarfile.TarInfo.frombuf(source.take_exactly(_RECORD_BYTES), "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        if type(error).__name__ == "EOFHeaderError":
            return None
        raise InvalidInput(
            "this is not a tar archive, or it is damaged", hint="send a tar, tar.gz or zip archive"
        ) from None
    if info.size < 0:
        raise InvalidInput("the archive is damaged: an entry has a negative size")
    return info


def _item(header: tarfile.TarInfo, facts: Mapping[bytes, bytes], size: int, content: _Content) -> Item:
    path = clean_path(facts.get(b"path", _bytes(header.name)))
    if header.type == tarfile.GNUTYPE_SPARSE or _SPARSE in facts:
        raise InvalidInput(f"{to_display(path)!r} is stored as a sparse file", hint="make the archive without --sparse")
    target = facts.get(b"linkpath", _bytes(header.linkname))
    mtime_ns = _time_ns(facts[b"mtime"]) if b"mtime" in facts else int(header.mtime) * 1_000_000_000
    read: ReadInto | None = None
    if header.type in _FILES:
        kind, read = ItemKind.FILE, content.read
    elif header.type == tarfile.DIRTYPE:
        kind = ItemKind.FOLDER
    elif header.type == tarfile.SYMTYPE:
        kind = ItemKind.LINK
    elif header.type == tarfile.LNKTYPE:
        kind, target = ItemKind.HARD_LINK, clean_path(target)
    elif header.type in _SPECIAL:
        kind = ItemKind.UNSUPPORTED
    else:
        raise InvalidInput(
            f"{to_display(path)!r} is an entry of the unknown type {header.type!r}",
            hint="make the archive with GNU tar",
        )
    return Item(
        path, kind, header.mode, mtime_ns, size if kind is ItemKind.FILE else 0, target, read, _HAS_ATTRIBUTES in facts
    )


def _pax_records(data: bytes, facts: dict[bytes, bytes]) -> int:
    """Put what counts of a header's records ``b"LENGTH KEY=VALUE\\n"`` into ``facts``; return how many it has."""
    count = at = 0
    while at < len(data) and data[at] != 0:
        digits, space, _ = data[at : at + 20].partition(b" ")
        length = _number(digits)
        record = data[at + len(digits) + 1 : at + length]
        key, equals, value = record[:-1].partition(b"=")
        if not (space and equals and length > len(digits) and at + length <= len(data) and record.endswith(b"\n")):
            raise InvalidInput("the archive is damaged: a pax header does not hold together")
        if key in _KEPT:
            facts[key] = value
        elif key.startswith(_SPARSE):
            facts[_SPARSE] = b""
        elif key.startswith(_ATTRIBUTES):
            facts[_HAS_ATTRIBUTES] = b""
        at += length
        count += 1
    return count


def _bounded(size: int, limit: int) -> int:
    if size > limit:
        raise InvalidInput(
            f"the archive has a header of {plural(size, 'byte')}, over the limit of {limit}",
            hint="it is damaged, or made to do harm",
        )
    return size


def _number(digits: bytes) -> int:
    if not digits.isdigit() or len(digits) > 18:
        raise InvalidInput("the archive is damaged: a pax header has a wrong number")
    return int(digits)


def _time_ns(text: bytes) -> int:
    try:
        return int(Decimal(text[:64].decode("ascii")) * 1_000_000_000)
    except (ArithmeticError, ValueError):
        raise InvalidInput("the archive is damaged: an entry has a time that is none") from None


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
