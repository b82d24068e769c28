"""What the contract of sinks sees of one: what it was sent, and what it has.

Beside this module stands one for each module of ``SINKS``, by the same name, whose ``sink(request)`` makes one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from manifold_common.domain.event import CloudEvent
from manifold_common.ports.event_publisher import Delivery, EventPublisher
from manifold_local.embedded.stack.child import free_ports

TOO_LARGE = 1_100_000
"""Bytes of an event that no sink takes."""
TIMEOUT_SECONDS = 1.0


@dataclass
class Sink:
    publisher: EventPublisher
    received: Callable[[], list[dict[str, Any]]]
    """What it has, in the order in which it came; across Kafka's partitions there is none."""
    dead: Callable[[], EventPublisher]
    """A publisher whose sink cannot be reached."""

    def publish(self, *events: CloudEvent, seconds: float = 30.0) -> list[Delivery]:
        return [outcome.delivery for outcome in self.publisher.publish(events, seconds=seconds)]

    def generations(self, project: str, tenant: str = "acme") -> list[int]:
        source = f"/tenants/{tenant}/projects/{project}"
        return [int(document["sequence"]) for document in self.received() if document["source"] == source]


def closed_port() -> int:
    """Return one at which nobody listens."""
    return free_ports(1)[0]
