"""Paths inside a project: byte strings, ``/``-separated, relative to the project's root, which is ``b""``.

A name may hold any bytes but ``/`` and NUL, as POSIX has it. People and JSON see paths as text: UTF-8, with bytes
that are not UTF-8 carried as lone surrogates (PEP 383), so that the way back is exact.
"""

from __future__ import annotations

from collections.abc import Iterator

from manifold_common.errors import UnsafePath

ROOT = b""
MAX_PATH_BYTES = 4095
MAX_NAME_BYTES = 255
_SHOWN = 120


def check_path(path: bytes) -> bytes:
    """Return ``path`` if a project can hold it.

    Raises:
        UnsafePath: not bytes, absolute, empty, over-long, or with an empty, ``.`` or ``..`` segment or a NUL byte.
    """
    if not isinstance(path, bytes):
        raise UnsafePath(f"path {str(path)[:_SHOWN]!r} is not bytes", hint="'from_text' makes a path of text")
    reason = _fault(path)
    if reason is None:
        return path
    raise UnsafePath(
        f"path {to_text(path[:_SHOWN])!r} cannot be used: {reason}",
        hint="use a path relative to the project's root, such as 'src/main.py'",
    )


def _fault(path: bytes) -> str | None:
    if not path:
        return "it is empty"
    if b"\0" in path:
        return "it has a NUL byte"
    if path.startswith(b"/"):
        return "it is absolute"
    if len(path) > MAX_PATH_BYTES:
        return f"it is longer than {MAX_PATH_BYTES} bytes"
    for name in path.split(b"/"):
        if name in (b"", b".", b".."):
            return f"it has the segment {name.decode()!r}"
        if len(name) > MAX_NAME_BYTES:
            return f"it has a name longer than {MAX_NAME_BYTES} bytes"
    return None


def from_text(text: str) -> bytes:
    """Return the path that ``text`` stands for, checked as in ``check_path``.

    Raises:
        UnsafePath: as ``check_path``, or text that no bytes stand behind.
    """
    try:
        path = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise UnsafePath(f"path {text[:_SHOWN]!r} is not text", hint="use UTF-8") from None
    return check_path(path)


def to_text(path: bytes) -> str:
    """Return the exact text form; it may hold lone surrogates."""
    return path.decode("utf-8", "surrogateescape")


def to_display(path: bytes) -> str:
    """Return a printable form, in which bytes that are not UTF-8 read as ``\\xNN``."""
    return path.decode("utf-8", "backslashreplace")


def parent_of(path: bytes) -> bytes:
    """Return the folder of ``path``; the root for a path without a folder."""
    return path.rpartition(b"/")[0]


def ancestors_of(path: bytes) -> Iterator[bytes]:
    """Yield the folders above ``path``, nearest first, without the root."""
    end = path.rfind(b"/")
    while end > 0:
        yield path[:end]
        end = path.rfind(b"/", 0, end)
