"""Events into typed requests. What does not fit is refused with the name of the field.

An event is what a program wrote: the error says where it is wrong and never repeats what stands there, since that may
be the content of a file.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, TypeVar

import msgspec
from manifold_common.domain.correlation import ID_PATTERN
from manifold_common.errors import InvalidInput

from functions.invocation.json_text import fault_of

T = TypeVar("T")

_PLACE = re.compile(r" - at `\$(.*)`\Z")
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`")
_WRONG_CHOICE = re.compile(r"Invalid (?:enum )?value ")
_MISSING = re.compile(r"Object missing required field `(.*)`")


class MalformedEvent(InvalidInput):
    """What a function was given is not what it takes. The text names places in it, and nothing that stands there, so it
    may be logged."""

    code = "malformed_event"


CorrelationId = Annotated[str, msgspec.Meta(pattern=ID_PATTERN)]
"""What a program may name a request by, to find it in logs and events."""


class Request(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Base of events."""


def request_of(kind: type[T], event: object, what: str = "the event") -> T:
    """Return ``event``, as JSON was parsed, as a ``kind``.

    Raises:
        MalformedEvent: it does not fit; ``details["field"]`` names the place.
    """
    _check_text(event, "", what)
    try:
        return msgspec.convert(event, kind)
    except msgspec.ValidationError as error:
        raise _refusal(str(error), what) from None


def action_of(event: object, actions: Sequence[str]) -> str:
    """Return what an event asks for: its field ``action``, or the first of ``actions`` where it has none.

    Raises:
        MalformedEvent: none of ``actions``.
    """
    if not isinstance(event, dict):
        raise refusal_of("", "expected an object")
    action = event.get("action", actions[0])
    if action not in actions:
        raise refusal_of("action", f"expected one of {', '.join(actions)}")
    return str(action)


def json_of(body: bytes | str, what: str = "the body") -> Any:
    """Return parsed JSON. Raises MalformedEvent: it is not JSON, or an object in it has a name twice."""
    fault = fault_of(body.encode("utf-8", "surrogatepass") if isinstance(body, str) else body)
    if fault is not None:
        raise MalformedEvent(f"{what} {fault}", hint="send a JSON object, as UTF-8", field="")
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):  # a number that nothing holds, or lists that are too deep
        raise MalformedEvent(f"{what} is not JSON", hint="send a JSON object", field="") from None


def _check_text(value: object, place: str, what: str) -> None:
    """Refuse lone surrogates, which Python takes from JSON but which no bytes stand for."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise refusal_of(place, "it holds text that is not Unicode", what) from None
    elif isinstance(value, dict):
        for name, item in value.items():
            _check_text(item, _below(place, str(name)), what)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            _check_text(item, f"{place}[{number}]", what)


def _refusal(text: str, what: str) -> MalformedEvent:
    place = match[1].removeprefix(".") if (match := _PLACE.search(text)) else ""
    reason = _PLACE.sub("", text)
    if found := _UNKNOWN.fullmatch(reason):
        place, reason = _below(place, found[1]), "there is no such field"
    elif found := _MISSING.fullmatch(reason):
        place, reason = _below(place, found[1]), "it is missing"
    elif _WRONG_CHOICE.match(reason):
        reason = "it is none of the values that this field takes"
    return MalformedEvent(
        f"{what} is not valid: {place or 'as a whole'}: {reason[:1].lower()}{reason[1:]}",
        hint="events/ has a sample for each trigger",
        field=place,
    )


def _below(place: str, name: str) -> str:
    # Whoever writes the event chooses its names: one that is no name is not repeated.
    shown = name if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]{0,60}", name) else "(a name that no field has)"
    return f"{place}.{shown}" if place else shown


def refusal_of(field: str, reason: str, what: str = "the event") -> MalformedEvent:
    """Return the error for what only reading further has shown to be wrong."""
    return MalformedEvent(
        f"{what} is not valid: {field or 'as a whole'}: {reason}",
        hint="events/ has a sample for each trigger",
        field=field,
    )


def plain(value: Any) -> Any:
    """Return an answer as Lambda's JSON encoder takes it."""
    return msgspec.to_builtins(value)
