"""Sends one request to KMS, through botocore.

Importing this module imports botocore (some 200 ms); the provider does so when first used.
"""

from __future__ import annotations

import threading
from typing import Any

from botocore.exceptions import BotoCoreError

from manifold_common.adapters.kms.failures import DOES_NOT_OPEN, code_of, translate, unreachable
from manifold_common.adapters.kms.options import KmsOptions, region_of
from manifold_common.domain.patience import patience
from manifold_common.ports.aws_account import AwsAccount, NoAwsKeys
from manifold_common.ports.deadline import within

_CALLS = {  # as IAM names it: botocore's method, and what its answer holds
    "Encrypt": ("encrypt", ("KeyId", "CiphertextBlob")),
    "Decrypt": ("decrypt", ("Plaintext",)),
    "ReEncrypt": ("re_encrypt", ("KeyId", "CiphertextBlob")),
    "DescribeKey": ("describe_key", ("KeyMetadata",)),
    "RotateKeyOnDemand": ("rotate_key_on_demand", ("KeyId",)),
}


class DoesNotOpen(Exception):
    """The service says that a blob is not what was wrapped, or not in this context, or not with this key."""


class KmsClient:
    """Thread-safe. Has one client for each region that records name."""

    def __init__(self, options: KmsOptions, account: AwsAccount) -> None:
        self._options = options
        self._account = account
        self._lock = threading.Lock()
        self._clients: dict[str | None, Any] = {}

    def call(self, operation: str, key: str, **parameters: Any) -> dict[str, Any]:
        """Return the answer to ``operation`` (as IAM names it, such as ``ReEncrypt``) on ``key``, within the time-out.

        Raises:
            DoesNotOpen. KeyUnavailable: any other failure; no foreign exception hangs on it, since those hold requests.
        """
        outcome: dict[str, Any] | Exception
        try:
            client = self._client(key)  # not bounded: it waits for no server, but takes long on a slow machine
            outcome = within(
                patience(self._options.timeout_seconds), lambda: self._exchange(client, operation, key, parameters)
            )
        except (TimeoutError, BotoCoreError, NoAwsKeys, ValueError) as error:
            outcome = translate(error, operation, key, self._options)
        if isinstance(outcome, Exception):
            raise outcome.with_traceback(None)
        return outcome

    def region_of(self, key: str) -> str:
        """Return the region in which ``key`` is looked for.

        Raises:
            KeyUnavailable: none is known.
        """
        try:
            return str(self._client(key).meta.region_name)
        except (BotoCoreError, ValueError) as error:
            failure = translate(error, "DescribeKey", key, self._options)
        raise failure

    def _exchange(
        self, client: Any, operation: str, key: str, parameters: dict[str, Any]
    ) -> dict[str, Any] | Exception:
        method, needed = _CALLS[operation]
        try:
            answer: dict[str, Any] = getattr(client, method)(**parameters)
        except Exception as error:  # botocore's parsers stumble over what is not of AWS with any exception
            if code_of(error) in DOES_NOT_OPEN:
                return DoesNotOpen()
            return translate(error, operation, key, self._options)
        if not all(name in answer for name in needed):
            return unreachable(self._options, "what answers there does not act as KMS does", passing=False)
        return answer

    def _client(self, key: str) -> Any:
        region = region_of(key) or self._options.region
        with self._lock:
            if region not in self._clients:
                seconds = self._options.timeout_seconds
                self._clients[region] = self._account.client(
                    "kms",
                    region=region,
                    endpoint=self._options.endpoint,
                    verify=True,
                    connect_timeout=seconds,
                    read_timeout=seconds,
                    retries={"mode": "standard", "total_max_attempts": 1},  # ports.retry repeats, within its budget
                    tcp_keepalive=True,
                )
            return self._clients[region]
