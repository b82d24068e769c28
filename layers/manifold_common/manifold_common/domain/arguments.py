"""Arguments of public calls: converted to their declared types, or refused.

Python does not enforce annotations. A string in place of a member of an enum equals none of them, one in place of a
list of strings is a list of letters, and one in place of a flag is true. So every public constructor and method passes
its arguments through here: the name of a member becomes that member, and anything else is ``InvalidInput``, which says
what is allowed. Nothing falls through to whatever the last branch does.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Set
from enum import Enum
from typing import Any, TypeVar

import msgspec

from manifold_common.domain.history import Point, Seen
from manifold_common.domain.named_request import NamedRequest
from manifold_common.errors import InvalidInput
from manifold_common.ids import (
    Generation,
    SessionId,
    parse_commit_id,
    parse_request_id,
    parse_session_id,
)

E = TypeVar("E", bound=Enum)

MAX_GENERATION = 2**53 - 1
"""The largest whole number that every JSON reader keeps."""
_SHOWN = 80


def member_of(kind: type[E], value: E | str, name: str) -> E:
    """Return the member that ``value`` is, or whose value it is. Args: ``name``: of the argument, for the error.

    Raises:
        InvalidInput: it is neither.
    """
    if isinstance(value, kind):
        return value
    if isinstance(value, str):
        for member in kind:
            if member.value == value:
                return member
    allowed = ", ".join(repr(member.value) for member in kind)
    raise InvalidInput(f"{name} {_shown(value)} is none that there is", hint=f"use one of {allowed}")


def checked_generation(value: int, name: str) -> Generation:
    """Raises InvalidInput unless ``value`` is a whole number that a generation can have."""
    if type(value) is not int or not 0 <= value <= MAX_GENERATION:
        raise InvalidInput(f"{name} {_shown(value)} is no generation", hint="use a whole number from 0")
    return Generation(value)


def optional_generation(value: int | None, name: str) -> Generation | None:
    """Like ``checked_generation``, where none may be named."""
    return None if value is None else checked_generation(value, name)


def checked_seen(value: Seen, name: str) -> Seen:
    """Raises InvalidInput unless ``value`` is what ``checked_generation`` takes, or that with a commit id."""
    if not isinstance(value, Point):
        return checked_generation(value, name)
    commit = None if value.commit is None else parse_commit_id(checked_text(value.commit, name))
    return Point(checked_generation(value.generation, name), commit)


def optional_seen(value: Seen | None, name: str) -> Seen | None:
    """Like ``checked_seen``, where none may be named."""
    return None if value is None else checked_seen(value, name)


def optional_point(value: Point | None, name: str) -> Point | None:
    """Raises InvalidInput unless ``value`` is a ``Point`` or ``None``."""
    if value is not None and not isinstance(value, Point):
        raise InvalidInput(f"{name} {_shown(value)} is no Point", hint="use a Point of a generation and its commit")
    return value


def checked_count(value: int, name: str) -> int:
    """Raises InvalidInput unless ``value`` is a whole number from 0."""
    if type(value) is not int or value < 0:
        raise InvalidInput(f"{name} {_shown(value)} is no number that this can have", hint="use a whole number from 0")
    return value


def checked_flag(value: bool, name: str) -> bool:
    """Raises InvalidInput unless ``value`` is ``True`` or ``False``: any text is true, ``"false"`` too."""
    if value is not True and value is not False:
        raise InvalidInput(f"{name} {_shown(value)} is neither True nor False")
    return value


def checked_seconds(value: float, name: str) -> float:
    """Raises InvalidInput unless ``value`` is a finite number of seconds above 0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise InvalidInput(f"{name} {_shown(value)} is no length of time", hint="use a number of seconds above 0")
    return value


def checked_bytes(value: bytes, name: str) -> bytes:
    """Raises InvalidInput unless ``value`` is bytes."""
    if not isinstance(value, bytes):
        raise InvalidInput(f"{name} {_shown(value)} is not bytes", hint="encode text first, as in b'src/main.py'")
    return value


def checked_text(value: str, name: str) -> str:
    """Raises InvalidInput unless ``value`` is text that can be stored: UTF-8 has no lone surrogates."""
    if not isinstance(value, str):
        raise InvalidInput(f"{name} {_shown(value)} is not text", hint="decode bytes first")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise InvalidInput(f"{name} holds a lone surrogate, which no UTF-8 stands for", hint="use UTF-8") from None
    return value


def listed_texts(values: Iterable[str], name: str) -> tuple[str, ...]:
    """Return several texts, in their order.

    One text alone is refused, not taken as a list of one: whoever writes ``"src docs"`` means two, and one who writes
    ``"src"`` learns of the list before that.

    Raises:
        InvalidInput: it is a text, has no order, or holds something else.
    """
    if isinstance(values, str | bytes | Mapping | Set) or not isinstance(values, Iterable):
        raise InvalidInput(f"{name} {_shown(values)} is not a list of texts", hint="put it into a list, as in ['src']")
    found = tuple(values)
    for value in found:
        if not isinstance(value, str):
            raise InvalidInput(f"{name} holds {_shown(value)}, which is not text", hint="give a list of texts")
    return found


def listed_paths(values: Iterable[bytes], name: str) -> tuple[bytes, ...]:
    """Return several paths, in their order. They are not checked yet. Raises InvalidInput as ``listed_texts``."""
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise InvalidInput(f"{name} {_shown(values)} is not a list of paths", hint="put it into a list, as in [b'src']")
    return tuple(values)


def json_facts(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a mapping as JSON has it, apart from the caller's own.

    Raises:
        InvalidInput: it is no mapping from text, or holds what JSON, or a whole number of 64 bits, cannot.
    """
    if not isinstance(values, Mapping):
        raise InvalidInput(
            f"{name} {_shown(values)} is not a mapping from text", hint="give facts such as {'model': 'x'}"
        )
    if not values:
        return {}
    try:
        facts: dict[str, Any] = json.loads(json.dumps(dict(values), ensure_ascii=False, allow_nan=False))
        msgspec.msgpack.encode(facts)
        _check_keys(values)
    except (TypeError, ValueError, OverflowError, RecursionError):  # the second is what a lone surrogate is, too
        raise InvalidInput(
            f"{name} holds what JSON cannot hold",
            hint="use text, finite numbers below 2**63, true, false, null, lists, and mappings from text",
        ) from None
    return facts


def _check_keys(value: object) -> None:
    """Raises TypeError: a mapping in it is not from text. JSON would make text of its keys."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise TypeError(key)
            _check_keys(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            _check_keys(inner)


def optional_request(value: NamedRequest | str | None) -> NamedRequest | None:
    """Raises InvalidInput unless ``value`` can name a request, or is ``None``."""
    if value is None or isinstance(value, NamedRequest):
        return value
    return NamedRequest(parse_request_id(checked_text(value, "request")))


def checked_session(value: str) -> SessionId:
    """Raises InvalidInput unless ``value`` can name a session."""
    return parse_session_id(checked_text(value, "session"))


def settle(instance: msgspec.Struct, **fields: object) -> None:
    """Give a frozen instance, which is being made, the checked values of its fields."""
    for name, value in fields.items():
        msgspec.structs.force_setattr(instance, name, value)


def _shown(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."
