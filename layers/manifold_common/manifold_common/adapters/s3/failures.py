"""Turns what comes out of obstore into Manifold's errors.

The kinds of its exceptions are used where they say enough. For the rest there is only the exception's text: the first
part of it names the server's status and the body of its answer, the second the chain of causes of a request without
one. That text may hold credentials, so nothing of it is passed on but the status, the code and the kind of failure.
Each mark that is looked for in it has a test against a real failure (``tests/contract/test_s3_failures.py``).
"""

from __future__ import annotations

import errno
import re
import socket
import ssl
from typing import NamedTuple

from obstore.exceptions import AlreadyExistsError

from manifold_common.adapters.s3.options import S3Options
from manifold_common.domain.panic import is_panic
from manifold_common.errors import (
    AlreadyExists,
    CorruptObject,
    ManifoldError,
    NoSpace,
    ObjectNotFound,
    StoreUnavailable,
)


class Failure(NamedTuple):
    """What can be told of a request that was not done. Nothing of it is secret."""

    status: int | None
    code: str
    reason: str
    passing: bool
    hint: str = ""
    missing: bool = False
    """The server says that there is no such thing."""
    exists: bool = False
    """A conditional put found an object."""

    @property
    def refuses(self) -> bool:
        """The server does not accept the credentials, or forbids them what was asked. Nothing was done."""
        return self.status in (401, 403) or self.code in _REFUSALS


REDIRECT_TRAP = "127.0.0.1:0"
"""Where a request ends that a redirect leads to another host: no server can listen at port 0."""

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>([A-Za-z0-9._]{1,64})</Code>")

_PASSING_CODES = frozenset(
    {
        "BadDigest",  # damaged on the way, as the next four
        "IncompleteBody",
        "InvalidDigest",
        "XAmzContentChecksumMismatch",
        "XAmzContentSHA256Mismatch",
        "ConditionalRequestConflict",  # another conditional put was in flight: who won is not known yet
        "InternalError",
        "KMS.ThrottlingException",
        "OperationAborted",
        "RequestTimeout",
        "ServiceUnavailable",
        "SlowDown",
        "SlowDownRead",
        "SlowDownWrite",
    }
)
_REFUSALS = frozenset({"ExpiredToken", "InvalidToken", "TokenRefreshRequired"})
"""Some services answer these with status 400."""
KEYS_REFUSED = _REFUSALS | {"InvalidAccessKeyId"}
"""The credentials are no longer any."""
_FULL_CODES = frozenset({"InsufficientStorage", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded"})
_PASSING_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
_TLS_HINT = "check the server's certificate; an authority of your own is named by projects.s3.tls.caFile"
_REDIRECTED = "it redirects to another place, which is not followed"


def _lost(reason: str, *, passing: bool = False, hint: str = "") -> Failure:
    return Failure(None, "", reason, passing, hint or "check s3.endpoint, the network, and that the server runs")


_NETWORK = {  # by what the text says
    REDIRECT_TRAP: _lost(_REDIRECTED, hint="give the address that it leads to as s3.endpoint, or correct s3.region"),
    "BareRedirect": _lost(
        _REDIRECTED, hint="correct s3.region: the bucket is in another region, or at another endpoint"
    ),
    "UnknownIssuer": _lost("its TLS certificate is not trusted", hint=_TLS_HINT),
    "NotValidForName": _lost("its TLS certificate is for another host name", hint="give the name that it is for"),
    "InvalidCertificate(\n": _lost("its TLS certificate is not accepted", hint=_TLS_HINT),
    "InvalidContentType": _lost("it does not speak TLS", hint="check s3.endpoint: is it http:// or https://?"),
    "InvalidMessage(": _lost("it does not speak TLS", hint="check s3.endpoint: is it http:// or https://?"),
    "AlertReceived(": _lost("it ended the TLS handshake", hint="it may want a newer TLS, or a client's certificate"),
    "dns error": _lost("its host name cannot be resolved", passing=True),
    "kind: Timeout": _lost("it did not answer in time", passing=True),
    "TimedOut": _lost("it did not answer in time", passing=True),
    "tcp connect error": _lost("it cannot be connected to", passing=True),
    "kind: Body": _lost("the answer broke off", passing=True),
    "kind: Decode": _lost("the answer broke off", passing=True),
    "HTTP error": _lost("the connection broke", passing=True),
    "Error getting list response body": _lost("the answer broke off", passing=True),
}
REDIRECTED = _NETWORK[REDIRECT_TRAP]
_OUT_OF_DATE = _lost("its TLS certificate has expired, or is not valid yet", hint=_TLS_HINT)
_EXPIRED = re.compile(r"InvalidCertificate\(\s*(Expired|NotValidYet)")
_SSL_OUT_OF_DATE = frozenset({9, 10})
"""OpenSSL's codes for a certificate that is not valid yet, and one that has expired (x509_vfy.h)."""
_SSL_OTHER_NAME = frozenset({62, 64})
_SSL_BROKEN = (ssl.SSLEOFError, ssl.SSLSyscallError, ssl.SSLZeroReturnError)
_UNREACHABLE = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EHOSTDOWN})
_KMS = re.compile(r"\bkms:[A-Za-z]+")
_HINTS = {
    "NoSuchBucket": "create the bucket, or correct s3.bucket",
    "InvalidAccessKeyId": "check the access key",
    "InvalidToken": "check the session token: it belongs to one access key, and both are given together",
    "SignatureDoesNotMatch": "check the secret key, and that no proxy rewrites the request",
    "RequestTimeTooSkewed": "set this machine's clock",
    "RequestExpired": "set this machine's clock",
    "ExpiredToken": "renew the session's credentials",
    "TokenRefreshRequired": "renew the session's credentials",
    "AccessDenied": "allow s3:GetObject, s3:PutObject, s3:DeleteObject and s3:ListBucket to these credentials",
    "AllAccessDisabled": "the account or the bucket is closed: ask its owner",
    "AccountProblem": "the account is closed or unpaid: ask its owner",
    "NotSignedUp": "the account is not signed up for S3: ask its owner",
    "InvalidObjectState": "the object is archived: restore it ('aws s3api restore-object'), and let no lifecycle rule "
    "move Manifold's objects to an archive",
    "PermanentRedirect": "correct s3.region or s3.endpoint",
    "TemporaryRedirect": "correct s3.region or s3.endpoint; a new bucket in another region needs some hours",
    "AuthorizationHeaderMalformed": "correct s3.region",
    "IllegalLocationConstraintException": "correct s3.region",
    "NotImplemented": "if it knows no checksum headers: S3_CHECKSUM=none; no bulk deletes: S3_BULK_DELETE=false",
    "MethodNotAllowed": "if it knows no bulk deletes: S3_BULK_DELETE=false",
    "KMS.DisabledException": "enable the bucket's KMS key, or choose another by s3.sseKmsKeyId",
    "KMS.NotFoundException": "correct s3.sseKmsKeyId, or the bucket's default key",
    "KMS.KMSInvalidStateException": "the KMS key cannot be used: 'aws kms describe-key' shows its state",
}
_STATUS_HINTS = {
    400: "check s3.endpoint (http:// or https://) and s3.region; if the server refuses checksum headers, "
    "S3_CHECKSUM=none",
    401: "check the credentials",
    403: "check the credentials and what they may do in this bucket (s3:ListBucket is needed too)",
    404: "check s3.endpoint: what answers there is not an S3 server, or the bucket is missing",
    405: _HINTS["MethodNotAllowed"],
    407: "a proxy stands between: give s3.endpoint an address that is reached without",
    501: _HINTS["NotImplemented"],
}


def read_failure(error: BaseException) -> Failure:
    """Return the facts that ``error`` carries."""
    if is_panic(error):
        return Failure(
            None, "", "the S3 client library failed (panic)", False, "check the s3 settings for a value that cannot be"
        )
    text = str(error)
    found = _STATUS.search(text)
    if not found:
        return _without_answer(error, text)
    status = int(found[1])
    code_found = _CODE.search(text)
    code = code_found[1] if code_found else ""
    reason = f"it answered {status} {code}".rstrip()
    if 300 <= status < 400 and status != 304:
        reason += ": " + _REDIRECTED
    passing = status in _PASSING_STATUSES or code in _PASSING_CODES
    hint = _HINTS.get(code) or ("" if passing else _STATUS_HINTS.get(status, ""))
    if status < 400:
        hint = hint or "correct s3.region or s3.endpoint"
    if code == "AccessDenied" and (action := _KMS.search(text)):
        hint = f"allow {action[0]} on the bucket's KMS key to these credentials"
    return Failure(
        status,
        code,
        reason,
        passing,
        hint or "look into the server's log",
        missing=isinstance(error, FileNotFoundError),
        exists=isinstance(error, AlreadyExistsError),
    )


def _without_answer(error: BaseException, text: str) -> Failure:
    if _EXPIRED.search(text):
        return _OUT_OF_DATE
    for mark, failure in _NETWORK.items():
        if mark in text:
            return failure
    return Failure(
        None,
        "",
        f"the answer was not understood ({type(error).__name__})",
        False,
        "check s3.endpoint: what answers there may not be an S3 server",
    )


def read_lost_connection(error: Exception) -> Failure:
    """Return the facts of a request of the standard library that got no answer, called as obstore's would be."""
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in _SSL_OUT_OF_DATE:
            return _OUT_OF_DATE
        mark = "NotValidForName" if error.verify_code in _SSL_OTHER_NAME else "UnknownIssuer"
    elif isinstance(error, ssl.SSLError) and not isinstance(error, _SSL_BROKEN):
        mark = "AlertReceived(" if "_ALERT_" in (error.reason or "") else "InvalidMessage("
    elif isinstance(error, socket.gaierror | UnicodeError):  # the latter for a part of a name that is too long
        mark = "dns error"
    elif isinstance(error, TimeoutError):
        mark = "TimedOut"
    elif isinstance(error, ConnectionRefusedError) or getattr(error, "errno", None) in _UNREACHABLE:
        mark = "tcp connect error"
    else:
        mark = "HTTP error"
    return _NETWORK[mark]


def translate(failure: Failure, key: str, options: S3Options) -> ManifoldError:
    """Return the error to raise for a request about ``key`` (or a folder) that failed."""
    if failure.code == "NoSuchKey":
        return ObjectNotFound(f"there is no object {key}")
    if failure.status == 416:
        return CorruptObject(key, "it ends before a range that should be in it")
    if failure.exists and failure.status != 409:
        return AlreadyExists(f"object {key} exists already")
    if failure.status == 507 or failure.code in _FULL_CODES:
        return NoSpace(f"{options.where} is full: {failure.reason}", hint="free space in the store, or raise its quota")
    return StoreUnavailable(
        f"{options.where}, {key or 'as a whole'}: {failure.reason}", hint=failure.hint, retryable=failure.passing
    )
