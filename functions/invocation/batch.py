"""Batches of records, each with an outcome of its own: those that failed come again, the others do not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec
from manifold_common.errors import ManifoldError

from functions.invocation.decode import refusal_of, request_of
from functions.invocation.logs import logger

Kind = Literal["sqs", "kafka"]


class _KafkaRecord(msgspec.Struct):
    topic: str
    partition: int
    offset: int
    value: str | None = None


class _KafkaBatch(msgspec.Struct):
    records: dict[str, list[_KafkaRecord]]


def kind_of(event: object) -> Kind | None:
    """Tell whose batch an event is; ``None`` for anything else."""
    if not isinstance(event, dict):
        return None
    if event.get("eventSource") in ("aws:kafka", "SelfManagedKafka"):
        return "kafka"
    records = event.get("Records")
    if isinstance(records, list) and records and all(_is_sqs(record) for record in records):
        return "sqs"
    return None


def _is_sqs(record: object) -> bool:
    return isinstance(record, dict) and record.get("eventSource") == "aws:sqs"


def each(kind: Kind, event: Mapping[str, Any], work: Callable[[Any], object]) -> dict[str, Any]:
    """Do ``work`` with each record; return which failed, as Lambda wants to know it.

    Raises:
        MalformedEvent: it is no batch, so that no record of it can be named.
    """
    if kind == "kafka" and not any(request_of(_KafkaBatch, event).records.values()):
        raise refusal_of("records", "there are none")
    # Its import takes a quarter of a handler's, and schedules and people have no use for it.
    from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response

    def handle(record: Any) -> object:
        try:
            return work(record)
        except ManifoldError as error:
            logger.warning(f"a record failed and will come again: {error.code}")
            raise

    processor = BatchProcessor(
        event_type=EventType.SQS if kind == "sqs" else EventType.Kafka, raise_on_entire_batch_failure=False
    )
    return dict(process_partial_response(dict(event), handle, processor))


def value_of(record: Any) -> bytes:
    """Return the content of a Kafka record. Raises InvalidInput."""
    try:
        value: bytes = record.decoded_value
    except (KeyError, TypeError, ValueError):
        raise refusal_of("value", "it is missing, or not base64", "the record") from None
    return value
