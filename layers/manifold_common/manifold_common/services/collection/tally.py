"""What this process has collected since it was last asked, for whoever measures it."""

from __future__ import annotations

import threading
from typing import NamedTuple


class Collected(NamedTuple):
    removed_generations: int = 0
    condemned_objects: int = 0
    condemned_bytes: int = 0
    removed_objects: int = 0
    removed_bytes: int = 0


class Tally:
    """Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counted = Collected()

    def add(self, more: Collected) -> None:
        with self._lock:
            self._counted = Collected(*(sum(pair) for pair in zip(self._counted, more, strict=True)))

    def take(self) -> Collected:
        """Return what was counted, and begin anew."""
        with self._lock:
            counted, self._counted = self._counted, Collected()
        return counted
