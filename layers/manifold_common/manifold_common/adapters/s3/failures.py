"""Turns what obstore raises into Manifold's errors.

obstore tells most failures apart only in the text of its exception, whose first part is
``... status code: 404 Not Found: <Error><Code>NoSuchKey</Code>...``. That text may name URLs with credentials in their
query (web identity), so nothing of it is passed on but the status, the code and the kind of network failure; the
exceptions are not chained for the same reason.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from obstore.exceptions import AlreadyExistsError

from manifold_common.adapters.s3.options import S3Options
from manifold_common.errors import (
    AlreadyExists,
    CorruptObject,
    ManifoldError,
    NoSpace,
    ObjectNotFound,
    StoreUnavailable,
)

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>([A-Za-z0-9]{1,64})</Code>")

_PASSING_CODES = frozenset(
    {
        "BadDigest",  # damaged on the way, as the next four
        "IncompleteBody",
        "InvalidDigest",
        "XAmzContentChecksumMismatch",
        "XAmzContentSHA256Mismatch",
        "ConditionalRequestConflict",  # another conditional put was in flight: who won is not known yet
        "InternalError",
        "OperationAborted",
        "RequestTimeout",
        "ServiceUnavailable",
        "SlowDown",
        "SlowDownRead",
        "SlowDownWrite",
    }
)
_FULL_CODES = frozenset({"InsufficientStorage", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded"})
_PASSING_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
_NETWORK = (  # what the text says, what it means, whether it may pass
    ("dns error", "its host name cannot be resolved", True),
    ("invalid peer certificate", "its TLS certificate is not trusted", False),
    ("InvalidContentType", "it does not speak TLS", False),
    ("kind: Timeout", "it did not answer in time", True),
    ("TimedOut", "it did not answer in time", True),
    ("tcp connect error", "it cannot be connected to", True),
    ("HTTP error", "the connection broke", True),
    ("error decoding response body", "the answer broke off", True),
    ("kind: Body", "the answer broke off", True),
)
_REFUSALS = frozenset({"ExpiredToken", "InvalidToken", "TokenRefreshRequired"})
"""Some services answer these with status 400."""
_HINTS = {
    "NoSuchBucket": "create the bucket, or correct s3.bucket",
    "InvalidAccessKeyId": "check the access key",
    "SignatureDoesNotMatch": "check the secret key, and that no proxy rewrites the request",
    "RequestTimeTooSkewed": "set this machine's clock",
    "ExpiredToken": "renew the session's credentials",
    "AccessDenied": "allow s3:GetObject, s3:PutObject, s3:DeleteObject and s3:ListBucket to these credentials",
    "PermanentRedirect": "correct s3.region or s3.endpoint",
    "AuthorizationHeaderMalformed": "correct s3.region",
}


class Failure(NamedTuple):
    """What can be told from an exception of obstore."""

    status: int | None
    code: str
    reason: str
    passing: bool


def read_failure(error: BaseException) -> Failure:
    """Return the facts that ``error`` carries, none of them secret."""
    text = str(error)
    found = _STATUS.search(text)
    if not found:
        for mark, reason, passing in _NETWORK:
            if mark in text:
                return Failure(None, "", reason, passing)
        return Failure(None, "", f"the answer was not understood ({type(error).__name__})", False)
    status = int(found[1])
    code_found = _CODE.search(text)
    code = code_found[1] if code_found else ""
    reason = f"it answered {status} {code}".rstrip()
    return Failure(status, code, reason, status in _PASSING_STATUSES or code in _PASSING_CODES)


def translate(error: BaseException, key: str, options: S3Options) -> ManifoldError:
    """Return the error to raise for a request about ``key`` (or a folder) that failed with ``error``."""
    failure = read_failure(error)
    where = f"bucket {options.bucket!r} at {options.endpoint or 'AWS ' + options.region}"
    if failure.code == "NoSuchKey":
        return ObjectNotFound(f"there is no object {key}")
    if failure.status == 416:
        return CorruptObject(key, "it ends before a range that should be in it")
    if isinstance(error, AlreadyExistsError) and failure.status != 409:
        return AlreadyExists(f"object {key} exists already")
    if failure.status == 507 or failure.code in _FULL_CODES:
        return NoSpace(f"{where} is full: {failure.reason}", hint="free space in the store, or raise its quota")
    hint = _HINTS.get(failure.code) or _general_hint(failure)
    return StoreUnavailable(f"{where}, {key or 'as a whole'}: {failure.reason}", hint=hint, retryable=failure.passing)


def is_refusal(error: BaseException) -> bool:
    """Tell whether the service does not accept the credentials, or forbids them what was asked. Nothing was done."""
    return read_failure(error).status in (401, 403) or read_failure(error).code in _REFUSALS


def _general_hint(failure: Failure) -> str:
    if failure.status in (401, 403):
        return "check the credentials and what they may do in this bucket (s3:ListBucket is needed too)"
    if failure.status == 404:
        return "check s3.endpoint: what answers there is not an S3 server, or the bucket is missing"
    if failure.status is None:
        return "check s3.endpoint, the network, and that the server runs"
    return "look into the server's log"
