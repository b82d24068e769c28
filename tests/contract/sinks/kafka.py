from __future__ import annotations

from dataclasses import replace

import pytest
from manifold_common.adapters.kafka.publisher import KafkaPublisher

from tests.contract.sinks.sink import TIMEOUT_SECONDS, Sink, closed_port
from tests.support.kafka import KafkaBroker


def sink(request: pytest.FixtureRequest) -> Sink:
    broker: KafkaBroker = request.getfixturevalue("kafka_broker")
    topic: str = request.getfixturevalue("kafka_topic")

    def publisher(addr: str) -> KafkaPublisher:
        return KafkaPublisher(replace(broker.options(topic, timeout_seconds=TIMEOUT_SECONDS), brokers=(addr,)))

    return Sink(publisher(broker.addr), lambda: broker.events(topic), lambda: publisher(f"127.0.0.1:{closed_port()}"))
