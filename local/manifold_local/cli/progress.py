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
Reached = Callable[[int, int, str], None]
"""Called with (things done, things known of, how that reads), from any thread."""

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
    done = _Sum(thing)
    bar = _Bar(what, total_bytes, done.text(), has_speed=True)

    def report(count: int, size: int) -> None:
        with done.lock:
            done.count += count
            done.bytes += size
            bar.show(done.bytes, total_bytes, done.text())

    try:
        yield report
    finally:
        bar.close()


@contextmanager
def counting(what: str, *, wanted: bool = True) -> Iterator[Reached | None]:
    """As ``progress``, for work whose items are counted elsewhere."""
    if not (wanted and sys.stderr.isatty()):
        yield None
        return
    bar = _Bar(what, None, "", has_speed=False)
    try:
        yield lambda done, known, text: bar.show(done, known or None, text)
    finally:
        bar.close()


class _Sum:
    def __init__(self, thing: str) -> None:
        self.lock = threading.Lock()
        self.count = 0
        self.bytes = 0
        self._thing = thing

    def text(self) -> str:
        return f"{plural(self.count, self._thing)}, {human_bytes(self.bytes)}"


class _Bar:
    """A bar that appears once the work has taken a while, whether anything was done by then or not.

    Only then is the library for it loaded.
    """

    def __init__(self, what: str, total: int | None, text: str, *, has_speed: bool) -> None:
        self._what = what
        self._completed = 0
        self._total = total
        self._text = text
        self._has_speed = has_speed
        self._appears_at = time.monotonic() + PATIENCE_SECONDS
        self._lock = threading.Lock()
        self._shown: tuple[Progress, TaskID] | None = None
        self._is_over = False
        self._appearing = threading.Timer(PATIENCE_SECONDS, self._draw)
        self._appearing.daemon = True
        self._appearing.start()

    def show(self, completed: int, total: int | None, text: str) -> None:
        with self._lock:
            self._completed, self._total, self._text = completed, total, text
        self._draw()

    def _draw(self) -> None:
        with self._lock:
            if self._shown is None and not self._is_over and time.monotonic() >= self._appears_at:
                self._shown = self._begin()
            if self._shown is not None:
                bar, task = self._shown
                bar.update(task, completed=self._completed, total=self._total, done=self._text)

    def _begin(self) -> tuple[Progress, TaskID] | None:
        """Return the bar, ``None`` on a terminal that cannot redraw a line."""
        from rich.console import Console
        from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TransferSpeedColumn

        console = Console(stderr=True)
        if console.is_dumb_terminal:
            self._is_over = True
            return None
        what, done = TextColumn("{task.description}"), TextColumn("{task.fields[done]}")
        columns: list[ProgressColumn] = [what, done]
        if console.width >= _WIDE:
            columns = [what, BarColumn(_BAR), done, *([TransferSpeedColumn()] if self._has_speed else [])]
        bar = Progress(*columns, console=console, transient=True)
        task = bar.add_task(self._what, total=self._total, done=self._text)
        bar.start()
        return bar, task

    def close(self) -> None:
        self._appearing.cancel()
        with self._lock:
            self._is_over = True
            if self._shown is not None:
                self._shown[0].stop()
                self._shown = None
