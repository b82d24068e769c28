"""From problem documents (RFC 9457) back to the errors that a server raised."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from manifold_common.errors import (
    CommitConflict,
    CorruptObject,
    Denied,
    InternalError,
    InvalidInput,
    ManifoldError,
    NotFound,
    Unavailable,
)


class _Problem(msgspec.Struct):
    code: str
    detail: str = ""
    hint: str | None = None
    details: dict[str, Any] = {}


_PROBLEM = msgspec.json.Decoder(_Problem)
_PASSING = frozenset({502, 503, 504, 429})
_REFUSED = frozenset({401, 403})


def error_of(status: int, body: bytes, what: str) -> ManifoldError:
    """Return the error that an answer stands for.

    Args:
        what: the request, for people.
    """
    retryable = status in _PASSING
    try:
        problem = _PROBLEM.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _unnamed(status, what, retryable)
    return _named(problem, retryable)


def _named(problem: _Problem, retryable: bool) -> ManifoldError:
    details = {**problem.details, **({"retryable": True} if retryable else {})}
    message = problem.detail or f"the server answered {problem.code}"
    if problem.code == CommitConflict.code:
        return CommitConflict(
            message,
            paths=_texts(details.pop("paths", [])),
            base_generation=int(details.pop("base_generation", 0)),
            head_generation=int(details.pop("head_generation", 0)),
            project=str(details.pop("project", "")),
            session=_text(details.pop("session", None)),
        )
    if problem.code == CorruptObject.code:
        name, reason = str(details.pop("object", "?")), str(details.pop("reason", message))
        return CorruptObject(name, reason, hint=problem.hint)
    for kind in _classes(ManifoldError):
        if kind.code == problem.code and kind not in (CommitConflict, CorruptObject):
            return kind(message, hint=problem.hint, **details)
    return InvalidInput(f"{message} ({problem.code})", hint=problem.hint)


def _unnamed(status: int, what: str, retryable: bool) -> ManifoldError:
    """Return what is to be said of an answer that is no problem document: something else than Manifold spoke."""
    text = f"{what} was answered with status {status} by something that is not Manifold"
    if status in _REFUSED:
        return Denied(text, hint="the gateway in front of it wants a sign-in: see docs/functions.md, 'Who may call'")
    if status == 404:
        return NotFound(text, hint="check the address: it is what stands before /api")
    if retryable or status >= 500:
        return Unavailable(text, hint="try again later, and look into the server's log", retryable=retryable)
    return InternalError(text, hint="check the address: it is what stands before /api")


def _classes(base: type[ManifoldError]) -> Iterator[type[ManifoldError]]:
    yield base
    for kind in base.__subclasses__():
        yield from _classes(kind)


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _texts(value: Any) -> list[str]:
    return [str(one) for one in value] if isinstance(value, list) else []
