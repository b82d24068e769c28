"""What a JSON text has to be before anything is made of it: UTF-8, no name twice in one object, no text that is none.

A decoder takes the last of two equal names and says nothing, so that a proxy or a log which takes the first has seen
another request than the one that was done (RFC 8259, section 4). Names are compared as they read: ``"\\u0061"`` is
``"a"``. One pass in native code, with a call for each object; nothing but the text's values is held, and no object of
them longer than it takes to look at its names.
"""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

NO_TEXT = "holds text that is not Unicode"
"""What is wrong with half a surrogate pair."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,60}")
_HALF = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F][0-9a-fA-F]{2}"
)
"""One half of a surrogate pair without the other: text that no bytes stand for."""


def fault_of(text: bytes) -> str | None:
    """Return what is wrong with a JSON text, in words that follow "the body"; ``None``: nothing.

    Wrong is what is not UTF-8 or not JSON (which knows no ``NaN``), half a surrogate pair, and an object that has a
    name twice, at any depth. Of the text nothing is repeated but such a name.
    """
    try:
        _DECODER.decode(text.decode("utf-8"))
    except UnicodeDecodeError as error:
        return f"is not UTF-8, at byte {error.start}"
    except _TwiceNamed as error:
        return f"has {error.name!r} twice in one object" if _NAME.fullmatch(error.name) else "has a name twice"
    except (ValueError, RecursionError):
        return "is not JSON"
    if b"\\u" in text and _HALF.search(text.replace(b"\\\\", b"")):
        return NO_TEXT
    return None


class _TwiceNamed(Exception):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name


def _look(members: list[tuple[str, Any]]) -> None:
    names = {name for name, _ in members}
    if len(names) == len(members):
        return
    for name, _ in members:
        if name not in names:
            raise _TwiceNamed(name)
        names.remove(name)


def _no_number(text: str) -> NoReturn:
    raise ValueError(text)


_DECODER = json.JSONDecoder(object_pairs_hook=_look, parse_constant=_no_number)
