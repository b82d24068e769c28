"""What a sink of events promises: a Kafka topic, a webhook.

Delivery is at least once. A sink says for each event what became of it, and so tells apart its own trouble from an
event that it will not take however often it is sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple, Protocol

from manifold_common.domain.event import CloudEvent


class Delivery(Enum):
    TAKEN = "taken"
    """The sink has it, durably as far as the sink goes."""
    REFUSED = "refused"
    """The sink looked at this very event and will not have it."""
    FAILED = "failed"
    """The sink did not do its part, or did not say so: it may have the event. Send it again later."""
    BUSY = "busy"
    """The sink wants to be left alone, whatever the event."""
    TURNED_AWAY = "turned away"
    """The sink does not let us in, whatever the event: the address or the secret is wrong, and an operator's matter."""
    GONE = "gone"
    """The sink was switched off for good. Nothing is sent until an operator says so."""
    UNSENT = "unsent"
    """Not tried: an earlier event was not taken, or the time was up."""

    @property
    def is_trouble(self) -> bool:
        """It is the sink's, so nothing more is sent for now."""
        return self in (Delivery.FAILED, Delivery.BUSY, Delivery.TURNED_AWAY, Delivery.GONE)


class Outcome(NamedTuple):
    delivery: Delivery
    reason: str = ""
    """For operators; never anything of the event's data, nor a secret."""
    wait_seconds: float | None = None
    """For how long the sink has asked to be left alone; ``None``: it did not say."""


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
        not, none of its project is sent, and after the sink's own trouble none at all but what is under way. Nothing
        is sent after ``seconds``, so that the call takes at most those and ``timeout_seconds``. Never raises for what
        a sink does.
        """

    def close(self) -> None:
        """Give connections back, within ``timeout_seconds``."""
