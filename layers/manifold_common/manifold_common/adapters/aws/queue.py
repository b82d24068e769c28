"""Messages through SQS on which nothing depends: each starts a function that would otherwise start later.

A queue, rather than a call of that function: what fails is tried again and then kept aside, how many run at once is
bounded, and sending a message takes a single request.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping

from manifold_common.adapters.aws.service import AwsOptions, AwsService
from manifold_common.errors import ManifoldError
from manifold_common.ports.clock import Clock

_log = logging.getLogger(__name__)


class SqsQueue:
    """Not for several threads."""

    def __init__(self, queue_url: str, options: AwsOptions, *, clock: Clock, otherwise: str) -> None:
        """
        Args:
            otherwise: what is logged of a message that was not taken: what happens without it.
        """
        self._queue_url = queue_url
        self._otherwise = otherwise
        self._sqs = AwsService("sqs", "AmazonSQS", "application/x-amz-json-1.0", options, clock=clock)

    def send(self, message: Mapping[str, object], correlation_id: str | None, *, delay_seconds: int = 0) -> bool:
        """Send a message, with the id of the request that it follows. Returns whether it was taken."""
        body = message if correlation_id is None else {**message, "correlation_id": correlation_id}
        delay = {"DelaySeconds": delay_seconds} if delay_seconds else {}
        try:
            self._sqs.call("SendMessage", {"QueueUrl": self._queue_url, "MessageBody": json.dumps(body), **delay})
        except ManifoldError as error:
            _log.warning("%s: %s", self._otherwise, error)
            return False
        return True

    def close(self) -> None:
        self._sqs.close()
