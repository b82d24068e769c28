"""Errors as RFC 9457 problem documents, whatever speaks HTTP. One table says which status each kind of error has."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from manifold_common.domain.api_address import DESCRIPTION
from manifold_common.domain.correlation import correlation
from manifold_common.domain.retry_after import RETRY_AFTER
from manifold_common.errors import (
    AlreadyExists,
    ConfigError,
    ErrorKind,
    EventsGone,
    GenerationGone,
    GenerationMismatch,
    InternalError,
    InvalidInput,
    ManifoldError,
    NoSpace,
    PreconditionFailed,
    QuotaExceeded,
    RequestNameReused,
    StaleStore,
    TooManyRequests,
    UnsatisfiableRange,
    UploadLocked,
)
from manifold_common.shapes.path import first_of

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 2
_TRY_LATER = frozenset({429, 503})
_SAID_BY_HEADERS = {"allow": "Allow", "accept": "Accept", "accept_encoding": "Accept-Encoding"}

STATUS_OF_KIND = {
    ErrorKind.CONFLICT: 409,
    ErrorKind.NOT_FOUND: 404,
    ErrorKind.INVALID: 400,
    ErrorKind.DENIED: 403,
    ErrorKind.UNAVAILABLE: 503,
    ErrorKind.CORRUPT: 500,
    ErrorKind.INTERNAL: 500,
}


class IncompleteBody(InvalidInput):
    """The request's body stopped before its end. Nothing was changed, but that a part of a resumable upload is kept as
    far as it came."""

    code = "incomplete_body"


class IncompleteRequest(InvalidInput):
    """A request's line and headers did not come in time. Nothing was changed."""

    code = "incomplete_request"


class HeadersTooLarge(InvalidInput):
    """A request's line, headers or trailer are longer, or more, than the server takes. Nothing was changed."""

    code = "headers_too_large"


class UnknownTransferCoding(InvalidInput):
    """The request's ``Transfer-Encoding`` has another coding than ``chunked``. Nothing was changed."""

    code = "unknown_transfer_coding"


class AnswerTooLarge(InvalidInput):
    """The answer does not pass through a function. The text names nothing of it, so it may be logged."""

    code = "answer_too_large"


class MethodNotAllowed(InvalidInput):
    """The address does not take the request's method. ``details``: ``allow``, those that it takes."""

    code = "method_not_allowed"

    def __init__(self, method: str, allow: Iterable[str]) -> None:
        taken = ", ".join(sorted(allow))
        super().__init__(
            f"this address does not take {method}", hint=f"it takes {taken}; see {DESCRIPTION}", allow=taken
        )


class UnsupportedMediaType(InvalidInput):
    """The content is of a type, or in an encoding, that this address does not take. Nothing was changed.

    ``details``: ``accept`` or ``accept_encoding``, what it takes, which the answer's header of that name says too.
    """

    code = "unsupported_media_type"


class BadDigest(InvalidInput):
    """The content that has arrived is not the one whose digest the request names. Nothing was changed."""

    code = "bad_digest"


class ChecksumMismatch(InvalidInput):
    """The part that has arrived is not the one whose checksum ``Upload-Checksum`` names. Nothing of it was kept."""

    code = "checksum_mismatch"


class ExpectationFailed(InvalidInput):
    """The request's ``Expect`` asks for something else than ``100-continue``. Nothing was changed."""

    code = "expectation_failed"


STATUS_OF_CLASS: Mapping[type[ManifoldError], int] = {
    IncompleteBody: 408,
    GenerationGone: 410,
    EventsGone: 410,
    IncompleteRequest: 408,
    QuotaExceeded: 413,
    PreconditionFailed: 412,
    AnswerTooLarge: 413,
    MethodNotAllowed: 405,
    UnsupportedMediaType: 415,
    UnsatisfiableRange: 416,
    ExpectationFailed: 417,
    RequestNameReused: 422,
    TooManyRequests: 429,
    HeadersTooLarge: 431,
    UploadLocked: 423,
    ChecksumMismatch: 460,
    UnknownTransferCoding: 501,
    StaleStore: 409,  # what was seen is the caller's own word, which may be wrong
    NoSpace: 507,
    ConfigError: 500,  # the operator's mistake, never the caller's
}

PRECONDITIONS: Mapping[type[ManifoldError], Mapping[str, str | None]] = {
    GenerationMismatch: {"if-match": None, "if-none-match": None, "if-unmodified-since": None},
    AlreadyExists: {"if-none-match": "*"},
}
"""Errors that mean "precondition failed" (412) when the request carries a header, with any value or just this one, that
sets the precondition. Else the condition came from elsewhere, such as the ``field`` of the body that the details name,
and the state that moved on is an ordinary conflict (409)."""


class ProblemAnswer(NamedTuple):
    status: int
    headers: dict[str, str]
    document: dict[str, Any]

    def encode(self) -> bytes:
        # ASCII: a path with bytes that are not UTF-8 has lone surrogates, which no UTF-8 stands for.
        return json.dumps(_printable(self.document), default=str).encode("ascii")


def status_of(error: ManifoldError, headers: Mapping[str, str]) -> int:
    """Return the HTTP status of an error, given the headers of the request that met it."""
    is_of_the_body = "field" in error.details
    for kind in type(error).__mro__:
        for name, value in PRECONDITIONS.get(kind, {}).items():
            if not is_of_the_body and name in headers and value in (None, headers[name].strip()):
                return 412
        if kind in STATUS_OF_CLASS:
            return STATUS_OF_CLASS[kind]
    return STATUS_OF_KIND[error.kind]


def answer_to(error: ManifoldError, headers: Mapping[str, str]) -> ProblemAnswer:
    """Return the answer to a request that met ``error``. What it says of a bug is only where to find it."""
    if error.kind is ErrorKind.INTERNAL:
        return internal_answer()
    status = status_of(error, headers)
    asked = error.details.get(RETRY_AFTER, 0.0)
    more = {"Retry-After": str(max(RETRY_AFTER_SECONDS, math.ceil(asked)))} if status in _TRY_LATER else {}
    if status == 416 and "size" in error.details:
        more["Content-Range"] = f"bytes */{error.details['size']}"
    for detail, header in _SAID_BY_HEADERS.items():
        if status in (405, 415) and detail in error.details:
            more[header] = str(error.details[detail])
    document = document_of(status, error.code, error.message, hint=error.hint, details=error.details)
    return ProblemAnswer(status, more, document)


def internal_answer() -> ProblemAnswer:
    document = document_of(
        500,
        InternalError.code,
        "something went wrong inside Manifold",
        hint="report this with the correlation id; the server's log has the rest",
    )
    return ProblemAnswer(500, {}, document)


def document_of(
    status: int,
    code: str,
    detail: str,
    *,
    hint: str | None = None,
    details: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    document: dict[str, Any] = {
        "type": f"urn:manifold:problem:{code}",
        "title": code.replace("_", " ").capitalize(),
        "status": status,
        "detail": detail,
        "code": code,
    }
    if hint:
        document["hint"] = hint
    if found := correlation():
        document["correlation_id"] = found.id
    document["details"] = _bounded(details or {})
    return document


def _bounded(details: Mapping[str, Any]) -> dict[str, Any]:
    """Return details whose lists are short enough to be answered; what is left out is counted."""
    found: dict[str, Any] = {}
    for name, value in details.items():
        shown = first_of(value, lambda item: len(str(item))) if isinstance(value, list | tuple) else value
        found[name] = shown
        if shown is not value and len(shown) < len(value):
            found[f"{name}_total"] = len(value)
    return found


def _printable(value: Any) -> Any:
    """Return ``value`` with every text fit for any JSON reader."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    if isinstance(value, Mapping):
        return {str(key): _printable(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [_printable(item) for item in value]
    return value
