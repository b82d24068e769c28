"""Batches of records, each with an outcome of its own: only those that failed are delivered again.

Messages of a queue fail one by one. Records of Kafka come in partitions, whose order counts: what comes after one that
failed is not begun, and comes again with it. Only a source in provisioned mode asks which records failed; to any other,
whatever a function answers means that the whole batch is done. There, a batch with a failure fails as a whole.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec
from manifold_common.domain.panic import panics_as_errors
from manifold_common.errors import ManifoldError, PartlyDone, told

from functions.invocation.decode import refusal_of, request_of
from functions.invocation.logs import logger, where_of

Kind = Literal["sqs", "kafka"]
_NAMED = 20


class KafkaRecord(msgspec.Struct):
    """The part of a record that is used."""

    topic: str
    partition: int
    offset: int
    value: str | None = None

    def content(self) -> bytes:
        """Raises MalformedEvent."""
        try:
            return base64.b64decode(self.value or b"", validate=True)
        except (binascii.Error, ValueError):
            raise refusal_of("value", "it is not base64", "the record") from None


class _KafkaBatch(msgspec.Struct):
    records: dict[str, list[KafkaRecord]]


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


def each_message(event: Mapping[str, Any], work: Callable[[Any], object]) -> dict[str, Any]:
    """Do ``work`` with each message of a queue; return which failed, as Lambda wants to know it."""
    # Its import takes a quarter of a handler's, and schedules and people have no use for it.
    from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response

    def handle(record: Any) -> object:
        try:
            with panics_as_errors():
                return work(record)
        except ManifoldError as error:
            logger.warning(f"a message failed and will come again: {told(error)}")
            raise

    processor = BatchProcessor(event_type=EventType.SQS, raise_on_entire_batch_failure=False)
    return dict(process_partial_response(dict(event), handle, processor))


def each_record(
    event: Mapping[str, Any], work: Callable[[KafkaRecord], object], *, one_by_one: bool, discreet: bool
) -> dict[str, Any]:
    """Do ``work`` with the records of Kafka, each partition's in their order and up to the first that fails.

    Args:
        one_by_one: the source asks which records were not done.
        discreet: leave the text of unforeseen errors out of the log.

    Returns:
        Those that were not done, as Lambda wants to know it.

    Raises:
        MalformedEvent: it is no batch, so that no record of it can be named.
        PartlyDone: records were not done, and the source does not ask which.
    """
    partitions = request_of(_KafkaBatch, event).records
    if not any(partitions.values()):
        raise refusal_of("records", "there are none")
    left = [record for records in partitions.values() for record in _left(records, work, discreet=discreet)]
    if left and not one_by_one:
        total = sum(map(len, partitions.values()))
        raise PartlyDone(
            f"{len(left)} of {total} records were not done, from offset {left[0].offset} of {_place(left[0])} on",
            hint="the source sends the batch again; the function's log names what failed",
            done=total - len(left),
            failed={f"{_place(record)}@{record.offset}": "not_done" for record in left[:_NAMED]},
        )
    failed = [{"partition": _place(record), "offset": record.offset} for record in left]
    return {"batchItemFailures": [{"itemIdentifier": one} for one in failed]}


def _left(records: list[KafkaRecord], work: Callable[[KafkaRecord], object], *, discreet: bool) -> list[KafkaRecord]:
    """Work on one partition; return what was not done: the first record that failed and all that came after it."""
    for number, record in enumerate(records):
        try:
            with panics_as_errors():
                work(record)
        except ManifoldError as error:
            said = told(error)
        except Exception as error:
            said = where_of(error, discreet=discreet)
        else:
            continue
        logger.error(f"record {record.offset} of {_place(record)} failed, and those after it were not begun: {said}")
        return records[number:]
    return []


def _place(record: KafkaRecord) -> str:
    return f"{record.topic}-{record.partition}"
