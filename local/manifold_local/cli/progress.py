"""Progress of long work, on standard error, where that is a terminal that can redraw a line. Short work shows none."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from manifold_local.cli.call import Call

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

Report = Callable[[int, int], None]
"""Called with (things done, bytes done) since the last call, from any thread."""

PATIENCE_SECONDS = 0.4
_WITHOUT_CURSOR = ("", "dumb", "unknown")
"""Values of TERM."""


@contextmanager
def progress(
    call: Call, what: str, *, total_bytes: int | None = None, things: str = "files"
) -> Iterator[Report | None]:
    """Yield what to call as work goes on, or ``None`` where nobody would see it.

    Args:
        what: the work, such as ``importing``.
        total_bytes: all that will be done, if that is known.
        things: what is counted.
    """
    if call.quiet or call.json or not sys.stderr.isatty() or os.environ.get("TERM", "dumb") in _WITHOUT_CURSOR:
        yield None
        return
    bar = _Bar(what, total_bytes, things)
    try:
        yield bar.advance
    finally:
        bar.close()


class _Bar:
    """A bar that appears once the work has taken a while, whether anything was done by then or not.

    Only then is the library for it loaded.
    """

    def __init__(self, what: str, total_bytes: int | None, things: str) -> None:
        self._what = what
        self._total_bytes = total_bytes
        self._things = things
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
                bar.update(task, completed=self._bytes, count=f"{self._count:,} {self._things}")

    def _show(self) -> tuple[Progress, TaskID]:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TransferSpeedColumn,
        )

        bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[count]}"),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        task = bar.add_task(self._what, total=self._total_bytes, count="")
        bar.start()
        return bar, task

    def close(self) -> None:
        self._appearing.cancel()
        with self._lock:
            self._is_over = True
            if self._shown is not None:
                self._shown[0].stop()
                self._shown = None
