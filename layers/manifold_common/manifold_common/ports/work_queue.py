"""Wakes the function that works on jobs of some kinds, where nobody looks for them every few seconds."""

from __future__ import annotations

from typing import Protocol


class WorkQueue(Protocol):
    """Nothing depends on it: without it jobs are worked on all the same, only later."""

    def wake_all(self) -> None:
        """Have as many workers look for work as there may be at once. Within a few seconds. Never raises."""

    def wake_one(self, *, delay_seconds: int = 0) -> None:
        """Have one worker look for work. Within a few seconds. Never raises.

        Args:
            delay_seconds: not before so many; 900 at most.
        """

    def close(self) -> None:
        """Give the connection back."""
