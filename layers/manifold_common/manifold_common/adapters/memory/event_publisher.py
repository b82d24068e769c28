"""A sink in this process's memory, for tests and for trying things out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from manifold_common.domain.event import CloudEvent
from manifold_common.ids import TenantProject
from manifold_common.ports.event_publisher import Delivery, Outcome

TAKEN = Outcome(Delivery.TAKEN)
UNSENT = Outcome(Delivery.UNSENT)


class MemoryPublisher:
    """Implements the EventPublisher port. ``judge`` decides what becomes of an event; by default it is taken."""

    def __init__(self, name: str = "memory", judge: Callable[[CloudEvent], Outcome] = lambda _: TAKEN) -> None:
        self.name = name
        self.timeout_seconds = 0.0
        self.judge = judge
        self.taken: list[CloudEvent] = []
        self.is_closed = False

    def publish(self, events: Sequence[CloudEvent], *, seconds: float) -> list[Outcome]:
        stopped: set[TenantProject] = set()
        outcomes = []
        trouble = seconds <= 0
        for event in events:
            owner = (event.tenant, event.project)
            outcome = UNSENT if owner in stopped or trouble else self.judge(event)
            outcomes.append(outcome)
            trouble = trouble or outcome.delivery.is_trouble
            if outcome.delivery is Delivery.TAKEN:
                self.taken.append(event)
            else:
                stopped.add(owner)
        return outcomes

    def close(self) -> None:
        self.is_closed = True
