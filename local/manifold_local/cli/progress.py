"""Progress of long work, on standard error, where that is a terminal that can redraw a line. Short work shows none."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from manifold_common.domain.wording import plural

from manifold_local.cli.output import human_bytes

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

Report = Callable[[int, int], None]
"""Called with (things done, bytes done) since the last call, from any thread."""

PATIENCE_SECONDS = 0.4
_WIDE = 70
"""Columns of a terminal from which there is room for more than what is done: a bar, and the speed."""
_BAR = 12
"""Columns that the bar takes."""


@contextmanager
def progress(
    what: str, *, wanted: bool = True, total_bytes: int | None = None, thing: str = "file"
) -> Iterator[Report | None]:
    """Yield what to call as work goes on, or ``None`` where nobody would see it.

    Args:
        what: the work, such as ``importing``.
        wanted: whether a person is to be told at all.
        total_bytes: all that will be done, if that is known.
        thing: what is counted.
    """
    if not (wanted and sys.stderr.isatty()):
        yield None
        return
    bar = _Bar(what, total_bytes, thing)
    try:
        yield bar.advance
    finally:
        bar.close()


class _Bar:
    """A bar that appears once the work has taken a while, whether anything was done by then or not.

    Only then is the library for it loaded.
    """

    def __init__(self, what: str, total_bytes: int | None, thing: str) -> None:
        self._what = what
        self._total_bytes = total_bytes
        self._thing = thing
        self._count = 0
        self._bytes = 0
        self._appears_at = time.monotonic() + PATIENCE_SECONDS
        self._lock = threading.Lock()
        self._shown: tuple[Progress, TaskID] | None = None
        self._is_over = False
        self._appearing = threading.Timer(PATIENCE_SECONDS, self.advance, (0, 0))
        self._appearing.daemon = True
        self._appearing.start()

    def advance(self, count: int, size: int) -> None:
        with self._lock:
            self._count += count
            self._bytes += size
            if self._shown is None and not self._is_over and time.monotonic() >= self._appears_at:
                self._shown = self._show()
            if self._shown is not None:
                bar, task = self._shown
                bar.update(task, completed=self._bytes, done=self._done())

    def _done(self) -> str:
        return f"{plural(self._count, self._thing)}, {human_bytes(self._bytes)}"

    def _show(self) -> tuple[Progress, TaskID] | None:
        """Return the bar, ``None`` on a terminal that cannot redraw a line."""
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TransferSpeedColumn

        console = Console(stderr=True)
        if console.is_dumb_terminal:
            self._is_over = True
            return None
        what, done = TextColumn("{task.description}"), TextColumn("{task.fields[done]}")
        is_wide = console.width >= _WIDE
        columns = (what, BarColumn(_BAR), done, TransferSpeedColumn()) if is_wide else (what, done)
        bar = Progress(*columns, console=console, transient=True)
        task = bar.add_task(self._what, total=self._total_bytes, done=self._done())
        bar.start()
        return bar, task

    def close(self) -> None:
        self._appearing.cancel()
        with self._lock:
            self._is_over = True
            if self._shown is not None:
                self._shown[0].stop()
                self._shown = None
