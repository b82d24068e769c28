"""What all lists of the API take, and how a page is cut."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, TypeVar

import msgspec
from fastapi import Query
from manifold_common.domain.listing import parse_moment
from manifold_common.errors import InvalidInput

from functions.invocation.bounds import fitting

T = TypeVar("T")

MAX_PAGE = 1000
DEFAULT_PAGE = 100

Limit = Annotated[int, Query(ge=1, le=MAX_PAGE, description="Items of a page at most.")]
After = Annotated[
    str | None, Query(description="`next_cursor` of the page before; its other parameters stay the same.")
]
Time = Annotated[
    str | None, Query(json_schema_extra={"format": "date-time"}, description="In RFC 3339 form, with its zone.")
]


def page_of(found: Sequence[T], limit: int) -> tuple[list[T], bool]:
    """Return the first ``limit`` items at most, as many as an answer has room for, and whether there are more.

    Args:
        found: one more than ``limit``, where there are so many.
    """
    items = fitting(found[:limit], msgspec.json.encode)
    return list(items), len(found) > len(items)


def time_of(text: str | None, name: str) -> datetime | None:
    """Return the time that a parameter names. Raises InvalidInput."""
    try:
        return None if text is None else parse_moment(text, name)
    except InvalidInput as error:
        raise InvalidInput(error.message, hint=f"{error.hint} (in a URL, a + is %2B)") from None
