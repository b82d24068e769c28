"""Content that is not compared by lines, as git's binary patches have it: whole, deflated, in git's base 85.

Content passes through in pieces: memory stays bounded however large it is.
"""

from __future__ import annotations

import hashlib
import zlib
from base64 import b85encode
from collections.abc import Iterable, Iterator
from typing import TypeAlias

Piece: TypeAlias = bytes | bytearray | memoryview
"""A part of a file's content."""
NO_BLOB = b"0" * 40
"""What an index line has for a side that there is not."""
_LINE_BYTES = 52
"""What a full line carries; it is 65 characters."""
_LINE_CHARS = _LINE_BYTES // 4 * 5


def blob_id(size: int, pieces: Iterable[Piece]) -> bytes:
    """Return the id that a repository with SHA-1 gives to content of ``size`` bytes."""
    digest = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest().encode()


def literal(size: int, pieces: Iterable[Piece]) -> Iterator[bytes]:
    """Yield one direction of a binary patch, which makes content of ``size`` bytes: some lines at a time."""
    yield b"literal %d\n" % size
    rest = b""
    for packed in _deflated(pieces):
        rest += packed
        whole = len(rest) - len(rest) % _LINE_BYTES
        if whole:
            yield _full_lines(rest[:whole])
            rest = rest[whole:]
    if rest:
        yield _length_mark(len(rest)) + b85encode(rest, pad=True) + b"\n"
    yield b"\n"


def _deflated(pieces: Iterable[Piece]) -> Iterator[bytes]:
    deflater = zlib.compressobj(zlib.Z_BEST_SPEED)
    for piece in pieces:
        yield deflater.compress(piece)
    yield deflater.flush()


def _full_lines(data: bytes) -> bytes:
    text = b85encode(data)
    mark = _length_mark(_LINE_BYTES)
    return b"".join(b"%b%b\n" % (mark, text[at : at + _LINE_CHARS]) for at in range(0, len(text), _LINE_CHARS))


def _length_mark(count: int) -> bytes:
    """Return the letter that a line begins with: A to Z for 1 to 26 bytes, a to z for 27 to 52."""
    return bytes([ord("A") + count - 1 if count <= 26 else ord("a") + count - 27])
