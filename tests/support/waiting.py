"""Waiting for what comes about in its own time."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def wait_until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def later(seconds: float, work: Callable[[], object]) -> threading.Timer:
    """Do something in another thread, after so many seconds."""
    timer = threading.Timer(seconds, work)
    timer.start()
    return timer


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """A process stands still, with whatever connections it has. All of its threads do when this begins: each of them
    notices the signal in its own time, and may answer a request until then."""
    os.kill(pid, signal.SIGSTOP)
    try:
        wait_until(lambda: all(map(_stands_still, Path(f"/proc/{pid}/task").glob("*/stat"))))
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def _stands_still(stat: Path) -> bool:
    """Tell whether a thread was stopped, or has ended. What it does is a letter, after its name in brackets."""
    try:
        return stat.read_text().rpartition(") ")[2][0] in "Tt"
    except (FileNotFoundError, ProcessLookupError):
        return True
