"""How functions read events: an event is what a program wrote, and the sample of its trigger says how."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, TypeVar

import msgspec
from manifold_common.domain.correlation import ID_PATTERN
from manifold_common.errors import InvalidInput
from manifold_common.shapes.decode import Reading


class MalformedEvent(InvalidInput):
    """The input of a function is not valid. The text names fields and never their values, so it may be logged."""

    code = "malformed_event"


T = TypeVar("T")
E = TypeVar("E", bound=msgspec.Struct)

CorrelationId = Annotated[str, msgspec.Meta(pattern=ID_PATTERN)]
"""What a program may name a request by, to find it in logs and events."""

_ANYTHING = msgspec.json.Decoder()


def request_of(kind: type[T], event: object, what: str = "the event") -> T:
    """Return ``event``, as JSON was parsed, as a ``kind``.

    Raises:
        MalformedEvent: it does not fit; ``details["field"]`` names the place.
    """
    return _reading(what).value(kind, event)


def parts_of(event: object, envelope: type[E], body: type[T]) -> tuple[E, T]:
    """Return who asks and for what, and then what is asked for: the fields of an ``envelope``, and the others.

    Raises:
        MalformedEvent: as ``request_of``.
    """
    if not isinstance(event, dict):
        raise refusal_of("", "expected an object")
    asked = {name: value for name, value in event.items() if name in envelope.__struct_fields__}
    rest = {name: value for name, value in event.items() if name not in asked}
    found = request_of(body, rest)  # first: a field that does not exist is named before one that is missing
    return request_of(envelope, asked), found


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
    """Return parsed JSON. Raises MalformedEvent."""
    return Reading(what, "send a JSON object", MalformedEvent).json(_ANYTHING, body)


def refusal_of(field: str, reason: str, what: str = "the event") -> InvalidInput:
    """Return the error for what only reading further has shown to be wrong."""
    return _reading(what).refusal(field, reason)


def _reading(what: str) -> Reading:
    return Reading(what, "events/ has a sample for each trigger", MalformedEvent)
