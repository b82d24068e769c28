"""Pages, cut so that the answer passes through a function (size.py)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from manifold_common.domain.fitting import as_many_as_fit

T = TypeVar("T")

MAX_PAGE_BYTES = 2_000_000
"""Of a page as JSON. As text within the JSON of the whole answer it is three times as long at worst."""


def fitting(items: Sequence[T], encode: Callable[[T], bytes | str]) -> Sequence[T]:
    """Return the first items of a page, one at least: as many as ``MAX_PAGE_BYTES`` have room for."""
    return as_many_as_fit(items, MAX_PAGE_BYTES, lambda item: len(encode(item)) + 1, at_least=1)
