"""From problem documents (RFC 9457) back to the errors that a server raised."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Any

import msgspec

from manifold_common.domain.retry_after import RETRY_AFTER, asked_wait
from manifold_common.errors import (
    BadAnswer,
    CommitConflict,
    Conflict,
    CorruptObject,
    Denied,
    InternalError,
    InvalidInput,
    ManifoldError,
    NotFound,
    Unavailable,
    UnknownAddress,
)
from manifold_common.ids import parse_project_id, parse_session_id

_Text = Annotated[str, msgspec.Meta(max_length=64 << 10)]


class _Problem(msgspec.Struct):
    code: Annotated[str, msgspec.Meta(pattern=r"\A[a-z_]{1,64}\Z")]
    detail: _Text = ""
    hint: _Text | None = None
    details: dict[str, Any] = {}


_PROBLEM = msgspec.json.Decoder(_Problem)
_PASSING = frozenset({408, 425, 429, 502, 503, 504})
_CRASHED = 500
"""What an HTTP API answers when a function was ended in the middle. Manifold's own has a problem document."""
_UNSURE = frozenset({_CRASHED, 502, 503, 504})
_REFUSED = frozenset({401, 403})
_BY_STATUS: dict[int, type[ManifoldError]] = {
    **dict.fromkeys(_PASSING, Unavailable),
    **dict.fromkeys(_REFUSED, Denied),
    404: NotFound,
    410: NotFound,
    409: Conflict,
    412: Conflict,
    _CRASHED: InternalError,
}
"""What an error is whose code is not known here. Others from 500 are ``Unavailable``, from 400 ``InvalidInput``."""
_ADDRESS = "check the address: it is what stands before /api"
_HINT_BEFORE_V1 = "see /api/openapi.json for what there is"
"""What a server of before API v1 says of every address that is asked for here."""


def error_of(status: int, body: bytes, what: str, asked_seconds: float | None = None) -> ManifoldError:
    """Return the error that an answer stands for.

    Args:
        what: the request, for people.
        asked_seconds: for how long the server has asked to be left alone.
    """
    retryable = status in _PASSING
    problem = _read(body)
    error = (
        _unnamed(status, what, retryable or status == _CRASHED)
        if problem is None
        else _named(status, problem, retryable)
    )
    error.details.pop(RETRY_AFTER, None)  # what was said where it does not count
    error.details.update(asked_wait(asked_seconds))
    return error


def is_unsure(status: int, body: bytes) -> bool:
    """Tell whether an answer is a gateway's, which does not know what has become of the request."""
    return status in _UNSURE and _read(body) is None


def _read(body: bytes) -> _Problem | None:
    try:
        return _PROBLEM.decode(body)
    except (ValueError, RecursionError):
        return None


def _named(status: int, problem: _Problem, retryable: bool) -> ManifoldError:
    """Return an error of the class that has this code. The server chooses its words, each time on one line: what it is,
    and what lines there are, is ours to say."""
    message = _line(problem.detail) or f"the server answered {problem.code}"
    hint = None if problem.hint is None else _line(problem.hint)
    details = {**problem.details, **({"retryable": True} if retryable else {})}
    if problem.code == NotFound.code and problem.hint == _HINT_BEFORE_V1:
        return UnknownAddress(
            "the server is of a release before API v1, of which this program asks",
            hint="upgrade the server, or use the program of its release",
        )
    if problem.code == CommitConflict.code:
        return CommitConflict(
            message,
            paths=_texts(details.pop("paths", [])),
            base_generation=_number(details.pop("base_generation", 0)),
            head_generation=_number(details.pop("head_generation", 0)),
            project=_id(details.pop("project", ""), parse_project_id) or "",
            session=_id(details.pop("session", None), parse_session_id),
        )
    if problem.code == CorruptObject.code:
        name, reason = _line(str(details.pop("object", "?"))), _line(str(details.pop("reason", message)))
        return CorruptObject(name, reason, hint=hint)
    kind = next((kind for kind in _classes(ManifoldError) if kind.code == problem.code), None)
    if kind is None:
        kind, message = _kind_of(status), f"{message} ({problem.code})"
    error = kind.__new__(kind)  # whatever its own words are: these are the server's
    ManifoldError.__init__(error, message, hint=hint)
    error.details.update(details)
    return error


def _unnamed(status: int, what: str, retryable: bool) -> ManifoldError:
    """Return what is to be said of an answer that is no problem document: something else than Manifold spoke."""
    text = f"{what} was answered with status {status} by something that is not Manifold"
    if status in _REFUSED:
        return Denied(text, hint="the gateway in front of it wants a sign-in: see docs/functions.md, 'Who may call'")
    if status == 404:
        return UnknownAddress(text, hint=_ADDRESS)
    if retryable or status >= 500:
        return Unavailable(text, hint="try again later, and look into the server's log", retryable=retryable)
    moved = 300 <= status < 400
    return BadAnswer(text, hint=f"{_ADDRESS}. No answer is followed elsewhere" if moved else _ADDRESS)


def _kind_of(status: int) -> type[ManifoldError]:
    if status < 400:
        return BadAnswer
    return _BY_STATUS.get(status, InvalidInput if status < 500 else Unavailable)


def _classes(base: type[ManifoldError]) -> Iterator[type[ManifoldError]]:
    yield base
    for kind in base.__subclasses__():
        yield from _classes(kind)


def _line(text: str) -> str:
    return " ".join(text.splitlines())


def _id(value: Any, parse: Callable[[str], str]) -> str | None:
    """Return an id, which commands in hints name, or ``None`` for what is none."""
    try:
        return parse(value) if isinstance(value, str) else None
    except InvalidInput:
        return None


def _texts(value: Any) -> list[str]:
    return [str(one) for one in value] if isinstance(value, list) else []


def _number(value: Any) -> int:
    return value if type(value) is int else 0
