"""What a command prints: results on standard output, everything else on standard error.

Names come from projects, and a project may come from anywhere: what a terminal would obey instead of show is escaped.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from manifold_common.shapes.decode import plain

_GAP = "  "
"""Between two columns."""
_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def safe(text: str) -> str:
    """Return ``text`` on one line, with control, bidirectional and undefined characters as ``\\xNN`` or ``\\uNNNN``."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_safe_char, text))


def safe_path(path: bytes) -> str:
    """Return a path as text that a terminal shows and does not obey."""
    return safe(path.decode("utf-8", "surrogateescape"))


def safe_lines(text: str) -> str:
    """Like ``safe``, but keeps line breaks."""
    return "\n".join(map(safe, text.split("\n")))


def _safe_char(char: str) -> str:
    if unicodedata.category(char) not in _UNSAFE:
        return char
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:
        code -= 0xDC00  # a byte that is not UTF-8
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def print_line(text: str = "") -> None:
    """Print a line whose unsafe characters are escaped already."""
    write_bytes(f"{text}\n".encode(sys.stdout.encoding or "utf-8", "backslashreplace"))


def write_bytes(data: bytes | bytearray | memoryview) -> None:
    """Write bytes to standard output as they are."""
    sys.stdout.buffer.write(data)


def flush() -> None:
    """Hand over what is printed so far. Raises OutputLost."""
    sys.stdout.flush()


def print_path(path: str) -> None:
    """Print the path of a folder exactly, whatever bytes it has, for ``cd $(...)``."""
    write_bytes(os.fsencode(path) + b"\n")


def print_json(value: Any) -> None:
    """Print one JSON document: a shape, or what JSON can say."""
    print_line(json.dumps(plain(value), indent=2))


def print_error(text: str) -> None:
    """Print a line to standard error."""
    encoding = sys.stderr.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding), file=sys.stderr, flush=True)


def print_table(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    right: frozenset[int] = frozenset(),
    *,
    title: int = 0,
    spare: Sequence[int] = (),
) -> None:
    """Print aligned columns. On a terminal too narrow for them: without ``spare`` columns, or else row by row.

    Nothing is ever cut, and for programs, which read from a pipe, a table is always whole.

    Args:
        right: numbers of the columns that are aligned to the right.
        title: number of the column that names a row.
        spare: numbers of columns that may be left out, the first to go first.
    """
    widths = [max(map(_width, column)) for column in zip(headings, *rows, strict=True)]
    room = shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
    columns = list(range(len(headings)))
    for left_out in (None, *spare):
        columns = [column for column in columns if column != left_out]
        if sum(widths[column] for column in columns) + len(_GAP) * (len(columns) - 1) <= room:
            for row in (headings, *rows):
                cells = [_fit(row[column], widths[column], to_right=column in right) for column in columns]
                print_line(_GAP.join(cells).rstrip())
            return
    _print_row_by_row(headings, rows, title)


def _print_row_by_row(headings: Sequence[str], rows: Sequence[Sequence[str]], title: int) -> None:
    label_width = max(map(_width, headings))
    for row in rows:
        print_line(row[title])
        for column, (heading, cell) in enumerate(zip(headings, row, strict=True)):
            if column != title and cell:
                print_line(f"{_GAP}{_fit(heading.lower(), label_width, to_right=False)}{_GAP}{cell}".rstrip())


def _width(text: str) -> int:
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def _fit(text: str, width: int, *, to_right: bool) -> str:
    padding = " " * (width - _width(text))
    return padding + text if to_right else text + padding


def shell_words(*words: str) -> str:
    """Return a command as a shell takes it."""
    return " ".join(map(shlex.quote, words))


def some_of(texts: Sequence[str], most: int = 10) -> str:
    """Return the first of many texts, and how many more there are. They are safe already."""
    more = len(texts) - most
    return ", ".join(texts[:most]) + (f" and {more:,} more" if more > 0 else "")


def human_bytes(count: int) -> str:
    """Return a number of bytes with a unit that leaves it short: ``1.5 MiB``."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{count} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def human_time(moment: datetime) -> str:
    """Return a moment in the local time zone, to the second."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def human_time_ns(moment_ns: int) -> str:
    """Return a moment, in nanoseconds since 1970, in the local time zone."""
    return human_time(datetime.fromtimestamp(moment_ns / 1e9, UTC))
