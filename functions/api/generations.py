"""Parameters that name a generation, by number or by tag."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query
from manifold_common.domain.tag import Named, parse_named
from manifold_common.errors import InvalidInput

At = Annotated[str | None, Query(description="Number or tag; the newest generation by default.")]


def named_of(text: str, parameter: str = "generation") -> Named:
    """Return the generation that a parameter names. Raises InvalidInput."""
    try:
        return parse_named(text)
    except InvalidInput as error:
        error.details["parameter"] = parameter
        raise


def named_if(text: str | None, parameter: str = "generation") -> Named | None:
    """Like ``named_of``, where none may be named."""
    return None if text is None else named_of(text, parameter)
