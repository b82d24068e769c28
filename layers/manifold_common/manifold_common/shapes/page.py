"""Pages: all lists have this form."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from manifold_common.shapes.base import Answer

MAX_CURSOR_CHARACTERS = 512
NEXT_CURSOR = "Give it as `cursor` to get the next page; null on the last one, and only there."

Cursor = Annotated[str, Meta(pattern=rf"\A[A-Za-z0-9_-]{{1,{MAX_CURSOR_CHARACTERS}}}\Z")]
"""Means something to the server only."""


class Page(Answer, frozen=True):
    """A part of a list. It may have fewer items than the limit, even none, and more may follow all the same."""

    next_cursor: Annotated[Cursor | None, Meta(description=NEXT_CURSOR)]
