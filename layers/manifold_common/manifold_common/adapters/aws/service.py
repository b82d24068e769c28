"""One AWS service with a JSON protocol: signed requests over a connection that is kept.

A function that was frozen may find its connection dead, so a request that breaks on a kept connection is sent once more
on a new one. Only operations that may run twice belong here.
"""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from manifold_common.adapters.aws.signature import signed
from manifold_common.domain.wording import span
from manifold_common.errors import Denied, ManifoldError, Unavailable
from manifold_common.ports.aws_account import AwsAccount, NoAwsKeys
from manifold_common.ports.clock import Clock
from manifold_common.ports.deadline import within

_MAX_ANSWER_BYTES = 1 << 20
_DENIED = ("AccessDenied", "UnrecognizedClient", "InvalidClientToken", "ExpiredToken", "InvalidSignature")


@dataclass(frozen=True, slots=True)
class AwsOptions:
    region: str
    account: AwsAccount
    endpoint: str | None = None
    """Of all services; ``None``: AWS's own."""
    timeout_seconds: float = 3.0
    """For one call, all in all."""


class AwsService:
    """Not for several threads.

    Args:
        name: as in its address and in the signature: ``sqs``, ``secretsmanager``.
        target: what stands before an operation's name in the header of the JSON protocol.
        media_type: of the protocol's version.
    """

    def __init__(self, name: str, target: str, media_type: str, options: AwsOptions, *, clock: Clock) -> None:
        self._name = name
        self._target = target
        self._media_type = media_type
        self._options = options
        self._clock = clock
        self._connection: http.client.HTTPConnection | None = None

    def call(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Raises Denied; Unavailable: no answer in time, or one that is of no use."""
        body = json.dumps(parameters).encode()
        seconds = self._options.timeout_seconds
        try:
            status, answer = within(seconds, lambda: self._send(operation, body))
        except NoAwsKeys as error:
            raise Denied(f"AWS {self._name} cannot be asked for {operation}: {error}", hint=error.hint) from None
        except TimeoutError:
            self.close()
            raise self._failure(operation, f"no answer within {span(seconds)}") from None
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise self._failure(operation, type(error).__name__) from None
        try:
            found = json.loads(answer) if answer else {}
        except ValueError:
            raise self._failure(operation, f"status {status} and no JSON") from None
        if status == 200 and isinstance(found, dict):
            return found
        kind = str(found.get("__type", "")).rpartition("#")[2] if isinstance(found, dict) else ""
        raise self._failure(operation, f"status {status} {kind}".rstrip(), denied=kind.startswith(_DENIED))

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _send(self, operation: str, body: bytes) -> tuple[int, bytes]:
        kept = self._connection is not None
        try:
            return self._try(operation, body)
        except (OSError, http.client.HTTPException):
            self.close()
            if not kept:
                raise
        return self._try(operation, body)

    def _try(self, operation: str, body: bytes) -> tuple[int, bytes]:
        options = self._options
        address = urlsplit(options.endpoint or f"https://{self._name}.{options.region}.amazonaws.com")
        headers = {
            "host": address.netloc,
            "content-type": self._media_type,
            "x-amz-target": f"{self._target}.{operation}",
        }
        keys = options.account.keys()
        headers = signed(headers, body, keys, region=options.region, service=self._name, now=self._clock.now())
        connection = self._connection
        if connection is None:
            host, port = address.hostname or "", address.port
            if address.scheme == "https":
                connection = http.client.HTTPSConnection(
                    host, port, timeout=options.timeout_seconds, context=ssl.create_default_context()
                )
            else:
                connection = http.client.HTTPConnection(host, port, timeout=options.timeout_seconds)
            self._connection = connection
        connection.request("POST", "/", body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read(_MAX_ANSWER_BYTES)

    def _failure(self, operation: str, reason: str, *, denied: bool = False) -> ManifoldError:
        message = f"AWS {self._name} did not do {operation}: {reason}"
        if denied:
            return Denied(message, hint=f"allow the function's role {self._name}:{operation}")
        return Unavailable(message, hint="check the network of the function (VPC endpoints, security groups)")
