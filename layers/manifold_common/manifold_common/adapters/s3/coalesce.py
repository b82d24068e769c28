"""Few big requests instead of many small ones, for ranges of one object.

obstore can do this too, but panics when a merged answer ends before one of its parts begins, as it does for an object
that was cut short.
"""

from __future__ import annotations

from collections.abc import Sequence


def coalesce(ranges: Sequence[tuple[int, int]], max_gap_bytes: int) -> tuple[list[tuple[int, int]], list[int]]:
    """Merge ``(start, length)`` ranges that overlap or lie at most ``max_gap_bytes`` apart.

    Returns the merged ranges, ascending and apart, and for each given range the index of the merged one that holds it.
    """
    merged: list[tuple[int, int]] = []
    holder = [0] * len(ranges)
    for index in sorted(range(len(ranges)), key=lambda index: ranges[index][0]):
        start, length = ranges[index]
        if merged and start <= merged[-1][0] + merged[-1][1] + max_gap_bytes:
            first, span = merged[-1]
            merged[-1] = (first, max(span, start + length - first))
        else:
            merged.append((start, length))
        holder[index] = len(merged) - 1
    return merged, holder
