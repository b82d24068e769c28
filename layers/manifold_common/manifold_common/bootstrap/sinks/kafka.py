"""A topic of Kafka."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from manifold_common.bootstrap.adapters import kafka_credentials, kafka_options

if TYPE_CHECKING:
    from manifold_common.ports.clock import Clock
    from manifold_common.ports.event_publisher import EventPublisher
    from manifold_common.settings import Settings


def names(settings: Settings) -> list[str]:
    from manifold_common.adapters.kafka.options import SINK

    return [SINK] * settings.projects.events.enabled


def publishers(settings: Settings, clock: Clock) -> list[EventPublisher]:
    if not settings.projects.events.enabled:
        return []
    from manifold_common.adapters.kafka.publisher import KafkaPublisher

    return [KafkaPublisher(kafka_options(settings), kafka_credentials(settings, clock))]


def probes(settings: Settings) -> dict[str, Callable[[], str]]:
    if not settings.projects.events.enabled:
        return {}
    from manifold_common.adapters.kafka.diagnosis import trouble_with_brokers
    from manifold_common.adapters.kafka.options import SINK

    options = kafka_options(settings)
    return {SINK: lambda: trouble_with_brokers(options)}


def checks(settings: Settings) -> dict[str, Callable[[], object]]:
    return {"projects.events.tls": lambda: kafka_options(settings).client()} if settings.projects.events.enabled else {}
