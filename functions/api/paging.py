"""Pages that go on after a path. The cursor is the last path, in a form that any URL can carry."""

from __future__ import annotations

import base64
import binascii
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec
from manifold_common.errors import InvalidInput
from manifold_common.shapes.base import Answer

from functions.invocation.bounds import fitting

T = TypeVar("T")
Out = TypeVar("Out", bound=Answer)


def page_of(
    items: Sequence[T], last: bytes, limit: int, *, path_of: Callable[[T], bytes], shown: Callable[[T], Out]
) -> tuple[list[Out], str | None]:
    """Return what is shown of the items after ``last``, and the cursor of the next page; ``None``: there is none.

    Args:
        items: by path.
        last: the last path of the page before; ``b""`` for the first page.
    """
    start = bisect_right(items, last, key=path_of) if last else 0
    page = fitting([shown(item) for item in items[start : start + limit]], msgspec.json.encode)
    end = start + len(page)
    return list(page), cursor_of(path_of(items[end - 1])) if end < len(items) else None


def cursor_of(path: bytes) -> str:
    return base64.urlsafe_b64encode(path).decode("ascii").rstrip("=")


def path_after(cursor: str) -> bytes:
    """Return the last path of the page before; ``b""`` for the first page. Raises InvalidInput."""
    try:
        return base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise InvalidInput("the cursor was not made by this server", hint="give 'next' of the page before") from None
