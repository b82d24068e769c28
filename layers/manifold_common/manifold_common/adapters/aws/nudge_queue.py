"""Nudges through SQS: one message after a change, which starts the function that delivers events.

The queue, rather than a call of that function: several nudges become one batch, a failed one is tried again and then
kept aside, and sending one takes a single request.
"""

from __future__ import annotations

import json
import logging

from manifold_common.adapters.aws.service import AwsOptions, AwsService
from manifold_common.errors import ManifoldError
from manifold_common.ports.clock import Clock

_log = logging.getLogger(__name__)

NUDGE: dict[str, int | str] = {"nudge": 1}
"""What a message says: its version, and whose request it follows. What there is to deliver, the outbox knows."""


class SqsNudgeQueue:
    """Implements the NudgeQueue port."""

    def __init__(self, queue_url: str, options: AwsOptions, *, clock: Clock) -> None:
        self._queue_url = queue_url
        self._sqs = AwsService("sqs", "AmazonSQS", "application/x-amz-json-1.0", options, clock=clock)

    def send(self, correlation_id: str | None = None) -> bool:
        body = NUDGE if correlation_id is None else {**NUDGE, "correlation_id": correlation_id}
        try:
            self._sqs.call("SendMessage", {"QueueUrl": self._queue_url, "MessageBody": json.dumps(body)})
        except ManifoldError as error:
            _log.warning("the fan-out was not woken, and finds the events at its next scheduled run: %s", error)
            return False
        return True

    def close(self) -> None:
        self._sqs.close()
