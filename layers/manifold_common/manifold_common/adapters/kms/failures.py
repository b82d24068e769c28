"""Turns what botocore raises into errors that carry their ``reason``. Only codes are read, never a message's text."""

from __future__ import annotations

from botocore.exceptions import (
    ClientError,
    HTTPClientError,
    NoRegionError,
    SSLError,
)

from manifold_common.adapters.kms.options import KmsOptions
from manifold_common.domain.wording import span
from manifold_common.errors import KeyUnavailable
from manifold_common.ports.aws_account import NoAwsKeys

DOES_NOT_OPEN = frozenset({"InvalidCiphertextException", "IncorrectKeyException"})
"""The service's answers to a blob that was changed, or is opened in another context or with another key."""

_PASSING = frozenset(
    {
        "DependencyTimeoutException",
        "InternalFailure",
        "KMSInternalException",
        "KeyUnavailableException",
        "LimitExceededException",
        "RequestLimitExceeded",
        "RequestTimeout",
        "ServiceUnavailable",
        "ServiceUnavailableException",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
_CREDENTIALS = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "IncompleteSignatureException",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "NotAuthorized",
        "RequestExpired",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)


def code_of(error: Exception) -> str:
    """Return the service's code, empty if the service did not answer."""
    if not isinstance(error, ClientError):
        return ""
    code = str(error.response.get("Error", {}).get("Code", ""))
    return code.rsplit("#", 1)[-1] if code.isascii() else ""


def unreachable(options: KmsOptions, reason: str, *, passing: bool) -> KeyUnavailable:
    return KeyUnavailable(
        f"KMS at {options.where} cannot be reached: {reason}",
        hint="check awskms.region and awskms.endpoint, and the network (in a VPC: the endpoint of KMS)",
        reason="unreachable",
        **({"retryable": True} if passing else {}),
    )


def translate(error: Exception, operation: str, key: str, options: KmsOptions) -> KeyUnavailable:
    """Return the error to raise for ``operation`` (as IAM names it) on ``key`` that failed with ``error``."""
    if isinstance(error, ClientError):
        return _of_service(error, operation, key, options)
    if isinstance(error, NoAwsKeys):
        return KeyUnavailable(f"KMS at {options.where} cannot be asked: {error}", hint=error.hint, reason="credentials")
    if isinstance(error, NoRegionError):
        return KeyUnavailable(
            "no AWS region is known for KMS", hint="set awskms.region (AWSKMS_REGION or AWS_REGION)", reason="region"
        )
    if isinstance(error, SSLError):
        return unreachable(options, "its certificate is not accepted, or it does not speak TLS", passing=False)
    if isinstance(error, TimeoutError):
        return unreachable(options, f"no answer within {span(options.timeout_seconds)}", passing=True)
    if isinstance(error, HTTPClientError):
        return unreachable(options, type(error).__name__, passing=True)
    reason = f"the client cannot make the request ({type(error).__name__})"
    return unreachable(options, reason, passing=False)


def _of_service(error: ClientError, operation: str, key: str, options: KmsOptions) -> KeyUnavailable:
    code, status = code_of(error), int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    named = {"key_name": key, "key_version": 0}
    # What re-wraps names two keys, and the service does not say which of them is at fault.
    keys = f"{key}, or {options.key_id} which is to replace it," if operation == "ReEncrypt" else key
    where = f"KMS key {keys} at {options.where}"
    shown = f"'aws kms describe-key --key-id {key}' shows its state"
    if code == "NotFoundException":
        return KeyUnavailable(
            f"{where} does not exist",
            hint=f"check awskms.keyId, region and account; {shown}",
            reason="missing_key",
            **named,
        )
    if code == "DisabledException":
        return KeyUnavailable(
            f"{where} is disabled", hint=f"run 'aws kms enable-key --key-id {key}'", reason="disabled", **named
        )
    if code == "KMSInvalidStateException":
        return KeyUnavailable(
            f"{where} is in a state in which it cannot be used (to be deleted, or without its material)",
            hint=f"{shown}; 'aws kms cancel-key-deletion' and 'aws kms enable-key' take a deletion back",
            reason="disabled",
            **named,
        )
    if code in ("AccessDeniedException", "AccessDenied"):
        return KeyUnavailable(
            f"kms:{operation} on {where} is forbidden to the AWS credentials of Manifold",
            hint="allow it in the role's policy and in the key's (docs/keys.md); 'aws sts get-caller-identity' shows "
            "the role. KMS answers the same for a key of another account that is not there",
            reason="forbidden",
            **named,
        )
    if code in _CREDENTIALS:
        return KeyUnavailable(
            f"KMS at {options.where} does not accept the AWS credentials ({code})",
            hint="'aws sts get-caller-identity' in the same environment must succeed; check this machine's clock too",
            reason="credentials",
        )
    if code in _PASSING or status >= 500 or status == 429:
        throttled = status == 429 or "Thrott" in code or "Limit" in code or "TooMany" in code
        return KeyUnavailable(
            f"{where}: the service answered {status} {code}".rstrip(),
            hint="raise the account's KMS request quota" if throttled else "look at the AWS status page",
            reason="throttled" if throttled else "failing",
            **named,
            retryable=True,
        )
    return KeyUnavailable(
        f"{where}: the service refused kms:{operation} ({status} {code})",
        hint=f"the key must be symmetric, for encryption (SYMMETRIC_DEFAULT); {shown}",
        reason="refused",
        **named,
    )
