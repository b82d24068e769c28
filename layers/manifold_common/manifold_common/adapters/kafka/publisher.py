"""Events on a Kafka topic, through an idempotent producer that waits for all in-sync replicas.

Events go out in rounds: the next one of each project at a time, and a project's second only after the broker has
stored its first. So the order within a project holds whatever fails, and projects do not wait for each other's
answers. A producer that met a failure is thrown away with all that it still holds; the next call makes a new one.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from kafka import KafkaAdminClient, KafkaProducer
from kafka import errors as kafka_errors

from manifold_common.adapters.kafka.client import start
from manifold_common.adapters.kafka.diagnosis import why_no_broker
from manifold_common.adapters.kafka.options import SINK, KafkaOptions
from manifold_common.domain.event import MEDIA_TYPE, CloudEvent
from manifold_common.ports.credentials import Credentials, Fixed
from manifold_common.ports.event_publisher import Delivery, Outcome

_log = logging.getLogger(__name__)

_REFUSALS = (
    kafka_errors.MessageSizeTooLargeError,
    kafka_errors.RecordListTooLargeError,
    kafka_errors.InvalidRecordError,
    kafka_errors.InvalidTimestampError,
    kafka_errors.PolicyViolationError,
)
"""What a broker says of one record, and would say again."""

_FORBIDDEN = (kafka_errors.AuthorizationError, kafka_errors.SaslAuthenticationFailedError)
"""What a broker says to a user who may not, or not any more."""

_NOT_OURS_TO_MAKE = (
    kafka_errors.TopicAlreadyExistsError,
    kafka_errors.AuthorizationError,
    kafka_errors.PolicyViolationError,
    kafka_errors.UnsupportedVersionError,
)
_NO_BROKER = (
    kafka_errors.KafkaTimeoutError,
    kafka_errors.KafkaConnectionError,
    kafka_errors.SaslAuthenticationFailedError,
)
"""What kafka-python says of brokers that it cannot reach, or that do not let it in."""

_STEPS = 5
"""Each takes the time-out at most: the topic, the start, its metadata, the answer, and the end after a failure."""
_DELIVERY_SHARE = 0.8  # a producer gives up before we do, so that it holds nothing when it is closed

_HEADERS = [("content-type", f"{MEDIA_TYPE}; charset=UTF-8".encode())]
_TAKEN = Outcome(Delivery.TAKEN)
_UNSENT = Outcome(Delivery.UNSENT)


class _NoWayIn(Exception):
    """No broker can be used; the text says why."""


class KafkaPublisher:
    """Implements the EventPublisher port. The key of a record is ``tenant:project``; its value is the event as JSON."""

    def __init__(self, options: KafkaOptions, credentials: Credentials[KafkaOptions] | None = None) -> None:
        """``credentials``: instead of the options' own, which are the ones to begin with."""
        self._options = options
        self._credentials = credentials or Fixed(options)
        self._producer: Any = None
        self._topic_is_there = False

    @property
    def name(self) -> str:
        return SINK

    @property
    def timeout_seconds(self) -> float:
        return self._options.timeout_seconds * _STEPS

    def publish(self, events: Sequence[CloudEvent], *, seconds: float) -> list[Outcome]:
        until = time.monotonic() + seconds
        outcomes = [_UNSENT] * len(events)
        streams: dict[str, deque[int]] = {}
        for index, event in enumerate(events):
            streams.setdefault(event.key, deque()).append(index)
        while streams and time.monotonic() < until:
            sent = {key: stream.popleft() for key, stream in streams.items()}
            answers = self._round([events[index] for index in sent.values()])
            for (key, index), answer in zip(sent.items(), answers, strict=True):
                outcomes[index] = answer
                if answer.delivery is not Delivery.TAKEN or not streams[key]:
                    del streams[key]
            if any(answer.delivery is Delivery.FAILED for answer in answers):
                self.close()
                break
        return outcomes

    def close(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            # What it still holds was reported as failed and will be sent again: it must not go out now, or later. By
            # itself, close() waits for it, and when that takes too long, leaves the thread that sends it.
            producer._sender.force_close()
            with suppress(kafka_errors.KafkaError):
                producer.close(timeout=self._options.timeout_seconds)

    def _round(self, events: list[CloudEvent]) -> list[Outcome]:
        """Send events of different projects and return their outcomes."""
        try:
            if self._producer is None:
                self._producer = self._let_in()
        except _NoWayIn as error:
            return [Outcome(Delivery.FAILED, str(error))] * len(events)
        except (kafka_errors.KafkaError, OSError, ValueError) as error:
            return [self._outcome(error)] * len(events)
        sent = [self._send(event) for event in events]
        until = time.monotonic() + self._options.timeout_seconds
        return [answer if isinstance(answer, Outcome) else self._wait(answer, until) for answer in sent]

    def _send(self, event: CloudEvent) -> Any:
        """Hand an event to the producer. Returns a future, or the outcome when that is known at once."""
        try:
            return self._producer.send(
                self._options.topic, key=event.key.encode(), value=event.encode(), headers=_HEADERS
            )
        except kafka_errors.KafkaError as error:
            return self._outcome(error)

    def _wait(self, future: Any, until: float) -> Outcome:
        try:
            future.get(timeout=max(0.0, until - time.monotonic()))
        except (kafka_errors.KafkaError, OSError) as error:
            return self._outcome(error)
        return _TAKEN

    def _outcome(self, error: Exception) -> Outcome:
        if isinstance(error, _FORBIDDEN):
            self._credentials.instead_of(self._credentials.current)  # for the producer that is made next
        delivery = Delivery.REFUSED if isinstance(error, _REFUSALS) else Delivery.FAILED
        text = str(error).replace(f"{type(error).__name__}:", "").strip()
        return Outcome(delivery, f"{type(error).__name__}: {text}" if text else type(error).__name__)

    def _let_in(self) -> Any:
        """Return a producer, with other credentials if these are refused and there are others by now.

        Raises:
            _NoWayIn, KafkaError, OSError, ValueError.
        """
        options = self._credentials.current
        try:
            return self._connect(options)
        except _NO_BROKER:
            obstacle = why_no_broker(options)
        fresh = self._credentials.instead_of(options) if obstacle.refuses else None
        if fresh is None:
            raise _NoWayIn(obstacle.reason)
        try:
            return self._connect(fresh)
        except _NO_BROKER:
            raise _NoWayIn(why_no_broker(fresh).reason) from None

    def _connect(self, options: KafkaOptions) -> Any:
        """Raises KafkaError, OSError, ValueError."""
        if not self._topic_is_there:
            self._make_topic(options)
            self._topic_is_there = True
        return start(
            KafkaProducer,
            options,
            acks="all",
            enable_idempotence=True,
            delivery_timeout_ms=int(options.timeout_ms * _DELIVERY_SHARE),
            max_block_ms=options.timeout_ms,
            metrics_enabled=False,
        )

    def _make_topic(self, options: KafkaOptions) -> None:
        """Make the topic unless it is there. Where that is not allowed, it has to be there, or brokers make it."""
        admin = start(KafkaAdminClient, options)
        try:
            admin.create_topics(
                {
                    options.topic: {
                        "num_partitions": options.partitions,
                        "replication_factor": options.replication_factor,
                    }
                },
                timeout_ms=options.timeout_ms // 2,
            )
            _log.info("made the Kafka topic %s with %d partitions", options.topic, options.partitions)
        except _NOT_OURS_TO_MAKE as error:
            _log.debug("the Kafka topic %s was not made: %s", options.topic, type(error).__name__)
        finally:
            admin.close()
