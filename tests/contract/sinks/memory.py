from __future__ import annotations

import json

import pytest
from manifold_common.adapters.memory.event_publisher import MemoryPublisher
from manifold_common.domain.event import CloudEvent
from manifold_common.ports.event_publisher import Delivery, Outcome

from tests.contract.sinks.sink import TOO_LARGE, Sink


def sink(request: pytest.FixtureRequest) -> Sink:
    def judge(event: CloudEvent) -> Outcome:
        return Outcome(Delivery.REFUSED, "too large") if len(event.encode()) > TOO_LARGE else Outcome(Delivery.TAKEN)

    publisher = MemoryPublisher(judge=judge)
    return Sink(
        publisher,
        lambda: [json.loads(event.encode()) for event in publisher.taken],
        lambda: MemoryPublisher(judge=lambda event: Outcome(Delivery.FAILED, "away")),
    )
