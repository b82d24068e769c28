"""The first items of a list: as many as there is room for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


def as_many_as_fit(items: Sequence[T], room: int, length: Callable[[T], int], *, at_least: int = 0) -> Sequence[T]:
    """Return as many of the first items as fit into ``room`` together.

    Args:
        at_least: so many are returned, however long they are.
    """
    for number, item in enumerate(items):
        room -= length(item)
        if room < 0:
            return items[: max(number, at_least)]
    return items
