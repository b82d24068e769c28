"""The standard streams of a program, arranged so that none can break its work.

- Descriptors 0 to 2 are taken before anything is opened. - What cannot be written to standard error is dropped: no work
fails because nobody hears of it. - What cannot be written to standard output raises an error of its own,
``OutputLost``, which is mistaken for no other.
"""

from __future__ import annotations

import errno
import io
import os
import select
import sys
from typing import TYPE_CHECKING, TextIO

from manifold_common.descriptors import occupy_descriptors

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class OutputLost(Exception):
    """Standard output was not written to, or not to its end.

    Attributes:
        reason: in words, such as ``No space left on device``.
        is_closed_pipe: its reader has gone away, as ``head`` does.
        hint: what to do, where more can be said than to print elsewhere.
    """

    hint: str | None = None

    def __init__(self, error: OSError) -> None:
        self.reason = "it is closed" if error.errno == errno.EBADF else error.strerror or str(error)
        self.is_closed_pipe = error.errno == errno.EPIPE
        super().__init__(f"standard output cannot be written to: {self.reason}")


def take_streams() -> None:
    """Occupy the descriptors, and replace ``sys.stdout`` and ``sys.stderr`` by streams as this module describes them.

    For the main function of a program: the streams belong to the whole process.
    """
    occupy_descriptors()
    sys.stdout = _text(_Output(1, "w", closefd=False), sys.stdout)
    sys.stderr = _text(_Messages(2, "w", closefd=False), sys.stderr)


def drop_output() -> None:
    """Let everything succeed that is still to be written to standard output, the last flush included."""
    devnull = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    os.dup2(devnull, 1)
    os.close(devnull)


class _Patient(io.FileIO):
    """A file to write to that waits until it can, even where a parent has made it non-blocking."""

    def write(self, data: ReadableBuffer, /) -> int:
        while (written := super().write(data)) is None:
            select.select((), (self,), ())
        return written


class _Output(_Patient):
    def write(self, data: ReadableBuffer, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            raise OutputLost(error) from None


class _Messages(_Patient):
    def write(self, data: ReadableBuffer, /) -> int:
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes


def _text(raw: io.FileIO, before: TextIO | None) -> io.TextIOWrapper:
    encoding = (before and before.encoding) or "utf-8"
    by_lines = isinstance(raw, _Messages) or raw.isatty()
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding, "backslashreplace", line_buffering=by_lines)
