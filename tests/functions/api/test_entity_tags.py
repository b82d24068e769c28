"""Lists of entity tags, and what they match."""

from __future__ import annotations

import pytest
from manifold_common.domain.history import Point, Version
from manifold_common.errors import InvalidInput
from manifold_common.ids import CommitId, Generation

from functions.api.entity_tags import Tag, Tags

COMMIT = CommitId("a" * 26)
AT_7 = Version(Point(Generation(7), COMMIT), 2)


def tags(*lines: str) -> Tags:
    found = Tags.of("If-Match", lines)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("lines", "opaque"),
    [
        (['"a"'], ["a"]), (['"a", "b"'], ["a", "b"]), (['"a"', '"b"'], ["a", "b"]), (['"a","b",'], ["a", "b"]),
        ([', ,"a"\t,, "b" '], ["a", "b"]), (['"a,b", ""'], ["a,b", ""]), (['W/"a", "\xe9"'], ["a", "\xe9"]),
    ],
)  # fmt: skip
def test_all_lines_of_a_header_are_one_list(lines: list[str], opaque: list[str]) -> None:
    assert [tag.opaque for tag in tags(*lines).tags] == opaque


@pytest.mark.parametrize(
    "header", ["", "  ", ",", "7", "a", "'7'", '"7', '7"', '"a" "b"', 'w/"a"', 'W/ "a"', '*, "a"', '"a", *', '"a\x7f"']
)
def test_what_is_no_list_of_tags_is_refused_with_a_hint(header: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        Tags.of("If-Match", [header])
    assert refused.value.hint and "If-Match" in str(refused.value)


def test_a_list_of_any_length_is_read_in_time_that_grows_with_it() -> None:
    assert len(tags(",".join(['"x"'] * 5000 + [","] * 20000)).tags) == 5000


@pytest.mark.parametrize(
    ("header", "strong", "weak"),
    [
        ('"c"', True, True), ('"x", "c"', True, True), ('W/"c"', False, True), ('"x"', False, False),
        ('"7"', True, True), ('"7.2"', True, True), (f'"7-{COMMIT}"', True, True), (f'"7-{COMMIT}.2"', True, True),
        ('"8"', False, False), ('"7.3"', False, False), (f'"7-{"b" * 26}.2"', False, False), ('W/"7"', False, True),
        ('"99999999999999999999"', False, False),
    ],
)  # fmt: skip
def test_a_tag_names_content_or_a_state_of_the_project(header: str, strong: bool, weak: bool) -> None:
    assert tags(header).match('"c"', AT_7, strong=True) is strong
    assert tags(header).match('"c"', AT_7, strong=False) is weak


def test_a_weak_tag_of_ours_matches_only_weakly() -> None:
    assert tags('"a"').match('W/"a"', None, strong=False)
    assert not tags('"a"').match('W/"a"', None, strong=True)


def test_only_a_generation_alone_is_left_to_the_commit_point() -> None:
    assert Tag("7", False).names_generation() == Point(Generation(7))
    assert Tag(f"7-{COMMIT}", False).names_generation() == AT_7.point
    assert [Tag(text, False).names_generation() for text in ("7.2", "c" * 32, "")] == [None] * 3
    assert Tag("7", True).names_generation() is None
