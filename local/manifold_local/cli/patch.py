"""Differences as a patch in git's form, which ``git apply`` takes in both directions.

Piped, the lines of files are printed byte for byte; on a terminal what it would obey is escaped, and lines have colour.
Binary and large files are git's binary patches, which ``patch -p1`` skips. ``patch_losses`` reports what a patch cannot
hold.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import TypeAlias

from manifold_common.domain.tree import DIRECTORY, FILE, SYMLINK, Difference, Entry

from manifold_local.cli.binary_patch import NO_BLOB, Piece, blob_id, literal
from manifold_local.cli.output import print_line, safe, write_bytes
from manifold_local.cli.patch_losses import git_refuses

MAX_TEXT_BYTES = 1 << 20
"""Larger files are treated as binary: comparing lines takes time that grows faster than the file."""
_LETTERS = {7: "a", 8: "b", 9: "t", 10: "n", 11: "v", 12: "f", 13: "r", 34: '"', 92: "\\"}
_COLOURS = {"+": "32", "-": "31", "@": "36"}

Read: TypeAlias = Callable[[bytes, Entry], Iterable[Piece]]
"""Returns the content of a file, in pieces."""


def print_patch(found: Iterable[Difference], read_before: Read, read_after: Read) -> int:
    """Print what turns one tree into another; return how many bytes it has."""
    show = _terminal_printer() if sys.stdout.isatty() else write_bytes
    size = 0
    for difference in found:
        for lines in patch_of(difference, read_before, read_after):
            show(lines)
            size += len(lines)
    return size


def patch_of(difference: Difference, read_before: Read, read_after: Read) -> Iterator[bytes]:
    """Yield the patch of one path, some lines at a time; nothing for what a patch cannot carry."""
    path, before, after = difference
    if before is not None and after is not None and before.kind != after.kind:
        yield from patch_of(Difference(path, before, None), read_before, read_after)
        yield from patch_of(Difference(path, None, after), read_before, read_after)
        return
    kinds = {entry.kind for entry in (before, after) if entry is not None}
    if DIRECTORY in kinds or git_refuses(path, is_link=SYMLINK in kinds):
        return
    old, new = _Version(path, before, read_before), _Version(path, after, read_after)
    is_same = before is not None and after is not None and before.content == after.content
    is_same = is_same or old.blob_id == new.blob_id
    if is_same and old.mode == new.mode:
        return
    old_name, new_name = _quoted(b"a/" + path), _quoted(b"b/" + path)
    yield b"diff --git %b %b\n" % (old_name, new_name)
    yield from _modes(old, new)
    if is_same:
        return
    kept_mode = b" " + new.mode if new.mode and old.mode == new.mode else b""
    yield b"index %b..%b%b\n" % (old.blob_id, new.blob_id, kept_mode)
    if old.text is None or new.text is None:
        yield b"GIT binary patch\n"
        yield from literal(new.size, new.pieces())
        yield from literal(old.size, old.pieces())
        return
    # A tab ends a name with spaces for GNU patch, as git writes it.
    old_name, new_name = (name + b"\t" * (b" " in name) for name in (old_name, new_name))
    yield from _hunks(old.text, new.text, old_name if before else b"/dev/null", new_name if after else b"/dev/null")


class _Version:
    """One side of a difference: a file, a link, or nothing."""

    def __init__(self, path: bytes, entry: Entry | None, read: Read) -> None:
        self._path = path
        self._entry = entry
        self._read = read

    @property
    def mode(self) -> bytes | None:
        """As git has it, which knows two modes of files."""
        if self._entry is None:
            return None
        if self._entry.kind == SYMLINK:
            return b"120000"
        return b"100755" if self._entry.mode & 0o100 else b"100644"

    @property
    def size(self) -> int:
        if self._entry is None:
            return 0
        return self._entry.size if self._entry.kind == FILE else len(self._entry.content)

    def pieces(self) -> Iterable[Piece]:
        return self._stored() if self._small is None else (self._small,)

    @cached_property
    def _small(self) -> bytes | None:
        """All of it, read once, unless it is large."""
        return b"".join(self._stored()) if self.size <= MAX_TEXT_BYTES else None

    def _stored(self) -> Iterable[Piece]:
        if self._entry is None:
            return ()
        return self._read(self._path, self._entry) if self._entry.kind == FILE else (self._entry.content,)

    @property
    def text(self) -> bytes | None:
        """The content to compare by lines; ``None``: it is binary, or large."""
        return None if self._small is None or b"\0" in self._small else self._small

    @cached_property
    def blob_id(self) -> bytes:
        if self._entry is None:
            return NO_BLOB
        return blob_id(self.size, self.pieces())


def _modes(old: _Version, new: _Version) -> Iterator[bytes]:
    if old.mode and new.mode:
        if old.mode != new.mode:
            yield b"old mode %b\nnew mode %b\n" % (old.mode, new.mode)
    elif new.mode:
        yield b"new file mode %b\n" % new.mode
    elif old.mode:
        yield b"deleted file mode %b\n" % old.mode


def _hunks(old: bytes, new: bytes, old_name: bytes, new_name: bytes) -> Iterator[bytes]:
    lines = difflib.diff_bytes(difflib.unified_diff, _lines(old), _lines(new), old_name, new_name, lineterm=b"\n")
    for line in lines:
        if line.endswith(b"\n"):
            yield line
        else:
            yield line + b"\n\\ No newline at end of file\n"


def _lines(content: bytes) -> list[bytes]:
    """Split at line feeds alone, as patches have it."""
    parts = content.split(b"\n")
    last = parts.pop()
    return [part + b"\n" for part in parts] + ([last] if last else [])


def _quoted(name: bytes) -> bytes:
    """Return a name as git writes it: in double quotes with escapes where it has unusual bytes.

    And where a part ends with a space, which git does not read without them.
    """
    if b" /" not in name and all(0x20 <= byte < 0x7F and byte not in (0x22, 0x5C) for byte in name):
        return name
    escaped = "".join(
        f"\\{_LETTERS[byte]}" if byte in _LETTERS else chr(byte) if 0x20 <= byte < 0x7F else f"\\{byte:03o}"
        for byte in name
    )
    return f'"{escaped}"'.encode()


def _terminal_printer() -> Callable[[bytes], None]:
    from rich.console import Console

    coloured = not Console().no_color

    def show(lines: bytes) -> None:
        for line in lines.removesuffix(b"\n").split(b"\n"):
            text = safe(line.decode("utf-8", "surrogateescape").expandtabs(4))
            colour = None if line.startswith((b"+++ ", b"--- ")) else _COLOURS.get(text[:1])
            print_line(f"\x1b[{colour}m{text}\x1b[0m" if colour and coloured else text)

    return show
