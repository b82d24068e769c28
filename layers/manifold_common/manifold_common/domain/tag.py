"""Tags: names that people give to generations, to use wherever a generation's number can be."""

from __future__ import annotations

import re
from enum import Enum
from typing import Final, TypeAlias

from manifold_common.domain.arguments import MAX_GENERATION, checked_generation
from manifold_common.errors import InvalidInput
from manifold_common.ids import Generation, TagName, parse_tag_name

MAX_TAGS: Final = 1000
"""Of one project, so that all of them are one short read."""

Named: TypeAlias = Generation | TagName
"""A generation, by its number or by a tag."""


class Wherever(Enum):
    """Stands for where a tag is that is to be changed, for who does not care, as long as it is there."""

    WHEREVER = "*"


HOW_TO_NAME: Final = "write its number, such as 7, or the name of a tag"
_NUMBER = re.compile(r"(?:0|[1-9][0-9]{0,15})\Z")


def parse_named(text: str) -> Named:
    """Return the generation that ``7`` or ``release-1`` names. Raises InvalidInput."""
    if _NUMBER.match(text) and int(text) <= MAX_GENERATION:
        return Generation(int(text))
    try:
        return parse_tag_name(text)
    except InvalidInput:
        raise InvalidInput(f"{text[:60]!r} is not a generation", hint=HOW_TO_NAME) from None


def checked_named(value: Named, name: str) -> Named:
    """Raises InvalidInput unless ``value`` is a number that a generation can have, or a tag's name."""
    return parse_tag_name(value) if isinstance(value, str) else checked_generation(value, name)
