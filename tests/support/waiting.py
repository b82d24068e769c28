"""Waiting for what comes about in its own time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


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
