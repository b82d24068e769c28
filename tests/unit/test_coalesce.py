"""Merging ranges: every byte asked for is fetched, once, in few pieces."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from manifold_common.adapters.s3.coalesce import coalesce

RANGES = st.lists(st.tuples(st.integers(0, 2000), st.integers(1, 300)), min_size=1, max_size=30)


@given(RANGES, st.integers(0, 200))
def test_each_range_lies_in_its_merged_range_and_those_are_apart(ranges: list[tuple[int, int]], gap: int) -> None:
    merged, holder = coalesce(ranges, gap)
    for (start, length), index in zip(ranges, holder, strict=True):
        first, span = merged[index]
        assert first <= start
        assert start + length <= first + span
    for (first, span), (following, _) in pairwise(merged):
        assert first + span + gap < following


@given(RANGES)
def test_without_a_gap_nothing_is_fetched_that_was_not_asked_for(ranges: list[tuple[int, int]]) -> None:
    wanted = {byte for start, length in ranges for byte in range(start, start + length)}
    fetched = {byte for start, length in coalesce(ranges, 0)[0] for byte in range(start, start + length)}
    assert fetched == wanted


def test_neighbours_within_the_gap_share_a_request() -> None:
    assert coalesce([(100, 10), (0, 10), (15, 5)], 5) == ([(0, 20), (100, 10)], [1, 0, 0])
