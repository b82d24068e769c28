"""Wakes the process that delivers events, where it is not the one that wrote them."""

from __future__ import annotations

from typing import Protocol


class NudgeQueue(Protocol):
    """Nothing depends on it: without it events are delivered all the same, only later."""

    def send(self, correlation_id: str | None = None) -> bool:
        """Ask for a look into the outbox. Returns whether the request was taken, within a few seconds. Never raises.

        Args:
            correlation_id: of the request that wrote an event.
        """

    def close(self) -> None:
        """Give the connection back."""
