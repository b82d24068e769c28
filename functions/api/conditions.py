"""Conditional requests: If-Match, If-None-Match, If-Range. Repeated ones: Idempotency-Key."""

from __future__ import annotations

import re

from fastapi import Request
from manifold_common.domain.history import Seen, parse_point, point_of
from manifold_common.errors import InvalidInput
from manifold_common.ids import RequestId, parse_request_id
from manifold_common.shapes.base import seen_of

_GENERATION = re.compile(r'"([0-9]{1,15}(?:-[a-z2-7]{26})?)"\Z')
_CONTENT = re.compile(r'"[0-9a-f]{32}"\Z')


class Condition:
    """What an If-Match header asks for: a generation of the project, or a file's content."""

    def __init__(self, generation: Seen | None = None, etag: str | None = None) -> None:
        self.generation = generation
        self.etag = etag


def condition_of(request: Request, expected: int | str | None = None) -> Condition:
    """Return the request's condition. Args: ``expected``: a generation that the body names.

    Raises:
        InvalidInput: If-Match is neither a generation in quotes, nor one file's ETag, nor ``*``; or it names another
            generation than the body.
    """
    header = ", ".join(request.headers.getlist("if-match")).strip()
    if header in ("", "*"):
        return Condition(seen_of(expected))
    if match := _GENERATION.match(header):
        point, other = parse_point(match[1]), seen_of(expected)
        if other is not None and not (point_of(other).is_at(point) or point.is_at(point_of(other))):
            raise InvalidInput(
                f"If-Match names generation {point}, and expected_generation {other}", hint="give one of the two"
            )
        return Condition(point)
    if _CONTENT.match(header):
        return Condition(etag=header)
    raise InvalidInput(
        f"If-Match {header[:80]!r} is not a generation", hint='write the project\'s generation in quotes: If-Match: "7"'
    )


def expected_generation(request: Request, expected: int | str | None = None) -> Seen | None:
    """Return the generation a write depends on, of If-Match or else of the body. Raises InvalidInput."""
    condition = condition_of(request, expected)
    if condition.etag is not None:
        raise InvalidInput(
            "If-Match names a file's ETag, but this request is not about one file",
            hint='write the project\'s generation in quotes: If-Match: "7"',
        )
    return condition.generation


def create_only(request: Request) -> bool:
    """Tell whether the request must not replace anything. Raises InvalidInput: If-None-Match is not ``*``."""
    header = request.headers.get("if-none-match")
    if header is None:
        return False
    if header.strip() != "*":
        raise InvalidInput("If-None-Match on a write must be *", hint="use If-Match to replace a known version")
    return True


def request_id(request: Request) -> RequestId | None:
    """Return the name that the caller gives the request, so that it may be sent again. Raises InvalidInput."""
    header = request.headers.get("idempotency-key")
    return None if header is None else parse_request_id(header.strip().strip('"'))


def is_current(header: str | None, etag: str) -> bool:
    """Tell whether an If-None-Match header says that the client has this very version."""
    if header is None:
        return False
    return header.strip() == "*" or etag in {part.strip().removeprefix("W/") for part in header.split(",")}
