"""Differences as a patch in git's form, which ``git apply`` and ``patch -p1`` take.

Piped, the lines of files are printed byte for byte; on a terminal what it would obey is escaped, and lines have colour.
Folders are not part of such a patch, nor are modification times; of binary and of large files it says only that they
differ.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

from manifold_common.domain.tree import DIRECTORY, FILE, SYMLINK, Difference, Entry

from manifold_local.cli.output import print_line, safe, write_bytes

MAX_TEXT_BYTES = 1 << 20
"""Larger files are only named: comparing lines takes time that grows faster than the file."""
_BINARY_PROBE_BYTES = 8000
_LETTERS = {7: "a", 8: "b", 9: "t", 10: "n", 11: "v", 12: "f", 13: "r", 34: '"', 92: "\\"}
_COLOURS = {"+": "32", "-": "31", "@": "36"}

Read: TypeAlias = Callable[[bytes, Entry], bytes]
"""Returns the content of a file of at most ``MAX_TEXT_BYTES``."""


def print_patch(found: Iterable[Difference], read_before: Read, read_after: Read) -> None:
    """Print what turns one tree into another."""
    show = _terminal_printer() if sys.stdout.isatty() else write_bytes
    for difference in found:
        for line in patch_of(difference, read_before, read_after):
            show(line)


def patch_of(difference: Difference, read_before: Read, read_after: Read) -> Iterator[bytes]:
    """Yield the lines of the patch of one path, none for a folder."""
    path, before, after = difference
    before = None if before is not None and before.kind == DIRECTORY else before
    after = None if after is not None and after.kind == DIRECTORY else after
    if before is not None and after is not None and before.kind != after.kind:
        yield from patch_of(Difference(path, before, None), read_before, read_after)
        before = None
    if before is None and after is None:
        return
    same = before is not None and after is not None and before.content == after.content
    if same and before is not None and after is not None and before.mode == after.mode:
        return
    old_name, new_name = _quoted(b"a/" + path), _quoted(b"b/" + path)
    yield b"diff --git %b %b\n" % (old_name, new_name)
    yield from _modes(before, after)
    if same:
        return
    old = _text(path, before, read_before)
    new = _text(path, after, read_after)
    if old is None or new is None:
        yield b"Binary files %b and %b differ\n" % (
            old_name if before is not None else b"/dev/null",
            new_name if after is not None else b"/dev/null",
        )
        return
    yield from _hunks(old, new, old_name if before else b"/dev/null", new_name if after else b"/dev/null")


def _modes(before: Entry | None, after: Entry | None) -> Iterator[bytes]:
    if before is None and after is not None:
        yield b"new file mode %b\n" % _git_mode(after)
    elif after is None and before is not None:
        yield b"deleted file mode %b\n" % _git_mode(before)
    elif before is not None and after is not None and _git_mode(before) != _git_mode(after):
        yield b"old mode %b\nnew mode %b\n" % (_git_mode(before), _git_mode(after))


def _git_mode(entry: Entry) -> bytes:
    """Git knows two modes of files."""
    if entry.kind == SYMLINK:
        return b"120000"
    return b"100755" if entry.mode & 0o100 else b"100644"


def _text(path: bytes, entry: Entry | None, read: Read) -> bytes | None:
    """Return the content to compare by lines, or ``None`` for a file that is binary or too large."""
    if entry is None:
        return b""
    if entry.kind == SYMLINK:
        return entry.content
    assert entry.kind == FILE
    if entry.size > MAX_TEXT_BYTES:
        return None
    content = read(path, entry)
    return None if b"\0" in content[:_BINARY_PROBE_BYTES] else content


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
    """Return a name as git writes it: in double quotes with escapes where it has unusual bytes."""
    if all(0x20 <= byte < 0x7F and byte not in (0x22, 0x5C) for byte in name):
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
