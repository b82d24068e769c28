"""Listening to the events of commits on the Kafka topic: all partitions, from their ends, without a consumer group."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
from kafka import KafkaConsumer, TopicPartition
from kafka import errors as kafka_errors

from manifold_common.adapters.kafka.client import start
from manifold_common.adapters.kafka.diagnosis import why_no_broker
from manifold_common.adapters.kafka.options import KafkaOptions
from manifold_common.domain.event import PROJECT_COMMIT
from manifold_common.errors import Unavailable
from manifold_common.ids import Generation, ProjectId, TenantId
from manifold_common.ports.credentials import Credentials
from manifold_common.ports.generation_cache import Invalidation, Listener

_PARTITIONS_SECONDS = 60.0
_FETCH_MS = 500
_HINT = "see projects.events in the configuration, and whether a broker can be reached"


class _Commit(msgspec.Struct):
    tenant_id: TenantId
    project_id: ProjectId
    generation: Generation
    skills_generation: Generation


class _Event(msgspec.Struct):
    type: str
    data: _Commit


_EVENT = msgspec.json.Decoder(_Event)


@contextmanager
def listen(credentials: Credentials[KafkaOptions]) -> Iterator[Listener]:
    """Raises Unavailable: no broker could be reached or lets us in, or there is no such topic."""
    options = credentials.current
    try:
        consumer = start(
            KafkaConsumer,
            options,
            group_id=None,
            fetch_max_wait_ms=min(_FETCH_MS, options.timeout_ms // 4),
            enable_auto_commit=False,
            auto_offset_reset="latest",
            metadata_max_age_ms=int(_PARTITIONS_SECONDS * 1000),
            metrics_enabled=False,
        )
    except (kafka_errors.KafkaError, OSError, ValueError) as error:
        if why_no_broker(options).refuses:
            credentials.instead_of(options)  # for the next attempt, which whoever listens makes soon
        raise _unavailable(error) from error
    try:
        yield KafkaListener(consumer, options)
    finally:
        consumer.close()


class KafkaListener:
    """Implements the Listener port."""

    def __init__(self, consumer: Any, options: KafkaOptions) -> None:
        """Raises Unavailable."""
        self._consumer = consumer
        self._options = options
        self._heard: deque[Invalidation] = deque()
        self._assigned: set[TopicPartition] = set()
        self._look_again_at = 0.0
        self._assign()
        if not self._assigned:
            raise Unavailable(f"there is no Kafka topic {options.topic}", hint=_HINT)

    def next(self, timeout_seconds: float) -> Invalidation | None:
        if not self._heard:
            self._poll(timeout_seconds)
        return self._heard.popleft() if self._heard else None

    def _poll(self, timeout_seconds: float) -> None:
        if time.monotonic() >= self._look_again_at:
            self._assign()
        try:
            found = self._consumer.poll(timeout_ms=max(0, int(timeout_seconds * 1000)))
        except (kafka_errors.KafkaError, OSError) as error:
            raise _unavailable(error) from error
        for records in found.values():
            self._heard.extend(news for record in records if (news := _news(record.value)) is not None)

    def _assign(self) -> None:
        """Read every partition: from its end at first, from its start when it is added later."""
        self._look_again_at = time.monotonic() + _PARTITIONS_SECONDS
        topic = self._options.topic
        try:
            numbers = self._consumer.partitions_for_topic(topic) or set()
            added = {TopicPartition(topic, number) for number in numbers} - self._assigned
            if not added:
                return
            places = {partition: self._consumer.position(partition) for partition in self._assigned}
            ends = self._consumer.end_offsets(list(added)) if not self._assigned else dict.fromkeys(added, 0)
            self._consumer.assign(list(self._assigned | added))
            for partition, offset in {**places, **ends}.items():
                self._consumer.seek(partition, offset)
        except (kafka_errors.KafkaError, OSError) as error:
            raise _unavailable(error) from error
        self._assigned |= added


def _news(value: bytes | None) -> Invalidation | None:
    """Return what a record announces; ``None`` for whatever else may stand in a topic, whoever wrote it."""
    try:
        event = _EVENT.decode(value or b"")
    except (ValueError, RecursionError):
        return None
    said = event.data
    if event.type != PROJECT_COMMIT:
        return None
    return Invalidation(said.tenant_id, said.project_id, said.generation, said.skills_generation)


def _unavailable(error: Exception) -> Unavailable:
    return Unavailable(f"Kafka cannot be listened to: {type(error).__name__}", hint=_HINT)
