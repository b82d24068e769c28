"""What somebody sent, made the shape that it is to be, or refused in a sentence that names the place.

Whoever is refused learns where the fault is and what belongs there, and never what stands there: that may be the
content of a file, or a secret, and the sentence may be logged. The first fault ends it: a million faults cost as much
as one. Text that no bytes stand for (lone surrogates) and numbers that JSON cannot say are refused.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from manifold_common.domain.tag import HOW_TO_NAME
from manifold_common.errors import InvalidInput
from manifold_common.ids import TAG
from manifold_common.shapes.json_text import NO_TEXT, fault_of

T = TypeVar("T")

_PLACE = re.compile(r" - at `\$(.*)`\Z", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(.*)`")
_WRONG_CHOICE = re.compile(r"Invalid (?:enum )?value ")
_NO_TAG = f" matching regex {TAG!r}"
"""Tags are named in place of generations alone."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,60}\Z")


@dataclass(frozen=True, slots=True)
class Reading:
    """How one kind of input is read.

    Args:
        what: names it in sentences: ``the event``.
        hint: says where its shape is to be found.
        error: the class of what is raised.
        at: where the object that is read stands in all that was sent.
    """

    what: str
    hint: str
    error: type[InvalidInput] = InvalidInput
    at: str = ""

    def json(self, decoder: msgspec.json.Decoder[T], data: bytes | str) -> T:
        """Return JSON as the shape that ``decoder`` is for.

        Raises:
            InvalidInput: it is not JSON, has a name twice in an object, or does not fit; ``details["field"]`` names the
                place.
        """
        fault = fault_of(data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data)
        if fault is not None:
            if fault == NO_TEXT:
                with suppress(RecursionError):
                    self._check_text(json.loads(data), "")
            raise self.error(f"{self.what} {fault}", hint=self.hint, field="")
        try:
            return decoder.decode(data)
        except msgspec.ValidationError as error:
            raise self._misfit(str(error)) from None
        except RecursionError:
            raise self.refusal("", "it is nested too deeply") from None
        except (msgspec.DecodeError, UnicodeError):
            raise self.error(f"{self.what} is not JSON", hint=self.hint, field="") from None

    def value(self, kind: type[T], value: object) -> T:
        """Return ``value``, JSON that somebody else has parsed, as a ``kind``. Raises InvalidInput as ``json``."""
        self._check_text(value, "")
        try:
            return msgspec.convert(value, kind)
        except msgspec.ValidationError as error:
            raise self._misfit(str(error)) from None

    def refusal(self, place: str, reason: str) -> InvalidInput:
        """Return the error for what only reading further has shown to be wrong."""
        if self.at:
            place = f"{self.at}.{place}" if place else self.at
        return self.error(f"{self.what} is not valid: {place or 'as a whole'}: {reason}", hint=self.hint, field=place)

    def _check_text(self, value: object, place: str) -> None:
        if isinstance(value, str):
            try:
                value.encode()
            except UnicodeEncodeError:
                raise self.refusal(place, f"it {NO_TEXT}") from None
        elif isinstance(value, dict):
            for name, item in value.items():
                self._check_text(name, place)
                self._check_text(item, _below(place, str(name)))
        elif isinstance(value, list):
            for number, item in enumerate(value):
                self._check_text(item, f"{place}[{number}]")

    def _misfit(self, text: str) -> InvalidInput:
        place = match[1].removeprefix(".") if (match := _PLACE.search(text)) else ""
        reason = _PLACE.sub("", text)
        if found := _UNKNOWN.fullmatch(reason):
            place, reason = _below(place, found[1]), "there is no such field"
        elif found := _MISSING.fullmatch(reason):
            place, reason = _below(place, found[1]), "it is missing"
        elif reason.endswith(_NO_TAG):
            reason = f"it is not a generation: {HOW_TO_NAME}"
        elif _WRONG_CHOICE.match(reason):
            reason = "it is none of the values that this field takes"
        return self.refusal(place, f"{reason[:1].lower()}{reason[1:]}")


def _below(place: str, name: str) -> str:
    # Whoever writes it chooses its names: one that is no name is not repeated.
    shown = name if _NAME.match(name) else "(a name that no field has)"
    return f"{place}.{shown}" if place else shown


def plain(value: Any) -> Any:
    """Return a shape as JSON parsed by Python has it."""
    return msgspec.to_builtins(value)
