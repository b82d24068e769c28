"""Lists within answers, cut so that the answer passes through a function (size.py)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

T = TypeVar("T")

LISTED_PATHS = 1000
"""So many paths at most are listed in an answer that is about something else."""
MAX_PAGE_BYTES = 2_000_000
"""Of a page as JSON. As text within the JSON of the whole answer it is three times as long at worst."""
_LISTED_BYTES = 128 << 10


def fitting(items: Sequence[T], encode: Callable[[T], bytes | str]) -> Sequence[T]:
    """Return the first items of a page, one at least: as many as ``MAX_PAGE_BYTES`` have room for."""
    left = MAX_PAGE_BYTES
    for number, item in enumerate(items):
        left -= len(encode(item)) + 1
        if left < 0:
            return items[: max(number, 1)]
    return items


def listed(items: Sequence[T], length: Callable[[Any], int] = len) -> Sequence[T]:
    """Return the first items of a list: within an answer about what is done, which a long list must not keep back.

    Args:
        length: bytes of an item's names.
    """
    left = _LISTED_BYTES
    for number, item in enumerate(items[:LISTED_PATHS]):
        left -= length(item)
        if left < 0:
            return items[:number]
    return items[:LISTED_PATHS]
