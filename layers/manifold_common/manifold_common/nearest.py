"""Which existing names may have been meant by an unknown one. For hints only, so the work is bounded: no hint is worth
a wait."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from heapq import nlargest
from itertools import islice

_MOST_NAMES = 10_000
_MOST_COMPARED = 200
"""Comparing takes 0.1 ms where names are as long and as like as can be."""
_COMPARED_CHARS = 40


def nearest(wanted: str, known: Iterable[str], *, most: int = 1, likeness: float = 0.75) -> list[str]:
    """Return up to ``most`` of ``known`` that are most like ``wanted``, whatever the case.

    Of many names, those are compared that begin as ``wanted`` does for longest.

    Args:
        likeness: how like they have to be, from 0 to 1.
    """
    import difflib  # costs 5 ms, and most processes meet no wrong name

    word = wanted[:_COMPARED_CHARS].lower()
    by_spelling: dict[str, str] = {}
    for name in islice(known, _MOST_NAMES):
        by_spelling.setdefault(name[:_COMPARED_CHARS].lower(), name)
    compared: Iterable[str] = by_spelling
    if len(by_spelling) > _MOST_COMPARED:
        compared = nlargest(_MOST_COMPARED, by_spelling, key=lambda spelling: _shared(word, spelling))
    close = difflib.get_close_matches(word, compared, n=most, cutoff=likeness)
    return [by_spelling[spelling] for spelling in close]


def _shared(one: str, other: str) -> int:
    """Return how many characters two names have in common at their beginning."""
    for at, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return at
    return min(len(one), len(other))


def did_you_mean(names: Sequence[str], otherwise: str = "") -> str:
    """Return a hint that asks for ``names``, with what to do if none of them is meant."""
    if not names:
        return otherwise
    question = f"did you mean {' or '.join(map(repr, names))}?"
    return f"{question} {otherwise}" if otherwise else question
