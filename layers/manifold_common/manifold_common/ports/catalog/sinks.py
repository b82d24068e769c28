"""How each sink of the outbox does, for all who deliver: while it rests or is parked, nobody can claim anything for it,
and after a failure one claim of one event tries whether it works again before others are given out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from manifold_common.domain.event import SinkCondition


@dataclass(frozen=True, slots=True)
class SinkReport:
    """How the sink itself did, in one batch."""

    claimed_at: datetime
    """What was sent after that tells nothing of a rest that was asked for later."""
    answered: bool
    """It took an event, or turned one down for what the event is."""
    error: str | None = None
    """Why it did not do its part."""
    retry_at: datetime | None = None
    """With ``error``: it rests until then. A rest that was noted before is never made shorter."""
    park: bool = False
    """It is left alone until an operator redrives it."""


@dataclass(frozen=True, slots=True)
class SinkState:
    """How a sink does, as all who deliver have found it."""

    sink: str
    failures: int = 0
    """In a row; 0: it works, or nothing was sent yet."""
    since: datetime | None = None
    """Since when it works, or does not; ``None``: nothing was sent yet."""
    ok_at: datetime | None = None
    """When it last did its part, give or take a second."""
    failed_at: datetime | None = None
    retry_at: datetime | None = None
    parked_at: datetime | None = None
    error: str | None = None
    """Why it does not work."""

    def condition(self, now: datetime) -> SinkCondition:
        if self.parked_at is not None:
            return "parked"
        if self.failures:
            return "resting" if self.retry_at is not None and self.retry_at > now else "failing"
        return "ok" if self.ok_at is not None else "unused"


class Sinks(Protocol):
    def sink_states(self, sinks: Sequence[str]) -> list[SinkState]:
        """Return how each of ``sinks`` does, in their order."""

    def redrive_sinks(self, sink: str | None = None) -> int:
        """Let one sink, or all, be tried at once, where they are parked or at rest. Returns how many were."""
