"""Wakes whoever delivers events in this process, when there is one more. Nothing depends on it: without it they look
by themselves, only later."""

from __future__ import annotations

import threading


class Nudge:
    """Safe for threads."""

    def __init__(self) -> None:
        self._listeners: list[threading.Event] = []

    def listen(self) -> threading.Event:
        """Return an event of the caller's own, which is set with each nudge."""
        event = threading.Event()
        self._listeners.append(event)
        return event

    def give(self) -> None:
        for event in self._listeners:
            event.set()
