"""What a client would rather have, as the Accept headers say it (RFC 9110, 12.4.2)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

_QUOTED: Final = r'"(?:[^"\\]|\\.?)*"?'
_MEMBERS: Final = re.compile(rf'(?:[^,"]|{_QUOTED})+', re.DOTALL)
_PARTS: Final = re.compile(rf'(?:[^;"]|{_QUOTED})+', re.DOTALL)
_WEIGHT: Final = re.compile(r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")


def members_of(header: str) -> Iterator[list[str]]:
    """Yield what a header lists, in lower case, each parted from its parameters."""
    for member in _MEMBERS.findall(header.lower()):
        yield _PARTS.findall(member) or [""]


def weights_of(header: str) -> dict[str, float]:
    """Return the weights, from 0 to 1, of what a header names, in lower case with its parameters but ``q``. A member
    whose weight is malformed is left out."""
    found: dict[str, float] = {}
    for parts in members_of(header):
        weight = "1"
        kept: list[str] = []
        for part in parts:
            name, _, value = part.partition("=")
            if kept and name.strip() == "q":
                weight = value.strip()
            else:
                kept.append(part.strip())
        if _WEIGHT.fullmatch(weight):
            found[";".join(kept)] = float(weight)
    return found
