"""What a sink of events promises: a Kafka topic, a webhook.

Delivery is at least once. A sink says for each event what became of it, and so tells apart its own trouble, which
passes, from an event that it will not take however often it is sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple, Protocol

from manifold_common.domain.event import CloudEvent


class Delivery(Enum):
    TAKEN = "taken"
    """The sink has it, durably as far as the sink goes."""
    FAILED = "failed"
    """The sink did not do its part, or did not say so: it may have the event. Send it again later."""
    REFUSED = "refused"
    """The sink looked at this very event and will not have it."""
    UNSENT = "unsent"
    """Not tried: an earlier event of its project was not taken, or the time was up."""


class Outcome(NamedTuple):
    delivery: Delivery
    reason: str = ""
    """For operators; never anything of the event's data, nor a secret."""


class EventPublisher(Protocol):
    """One sink. Used by one thread at a time. Connects at the first use."""

    @property
    def name(self) -> str:
        """Which sink this is; the same after every restart."""

    @property
    def timeout_seconds(self) -> float:
        """Longest time that one event can take."""

    def publish(self, events: Sequence[CloudEvent], *, seconds: float) -> list[Outcome]:
        """Send events and return one outcome for each.

        Events of one project are sent in the order given, each after the one before it was taken: after one that was
        not, none of its project is sent. Nothing is sent after ``seconds``, so that the call takes at most those and
        ``timeout_seconds``. Never raises for what a sink does.
        """

    def close(self) -> None:
        """Give connections back, within ``timeout_seconds``."""
