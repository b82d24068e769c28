"""Values that are never shown: not by ``repr``, not by a report that prints the variables of a traceback."""

from __future__ import annotations

from typing import Any, NoReturn


class Secret:
    """A text to be handed on and revealed where it is sent."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return "Secret(...)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is never pickled or copied")

    def reveal(self) -> str:
        return self._text


class Body(dict[str, Any]):
    """What is sent or comes back: key material, tokens."""

    def __repr__(self) -> str:
        return "Body(...)"
