from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from manifold_common.domain.paths import ancestors_of, check_path, from_text, parent_of, to_display, to_text
from manifold_common.errors import UnsafePath

from tests.compat import forge


def plausible() -> st.SearchStrategy[bytes]:
    pieces = st.sampled_from([b"/", b".", b"..", b"a", b"\0", b"\xff", b"\n", b"\\", b"~", b"n" * 255, b"//"])
    return st.lists(pieces | st.binary(max_size=3), max_size=8).map(b"".join)


@pytest.mark.parametrize(
    "path",
    [
        b"a",
        b"a/b/c",
        b".hidden",
        b"...",
        b"a/..b/c..",
        b" ",
        b"\n",
        b"\xff\xfe",
        b"a\\..\\b",
        b"C:",
        b"~",
        b"n" * 255,
        b"/".join([b"n" * 255] * 15 + [b"n" * 255]),
    ],
)
def test_any_name_that_posix_allows_can_be_kept(path: bytes) -> None:
    assert check_path(path) == path


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        (b"", "empty"),
        (b"/", "absolute"),
        (b"/a", "absolute"),
        (b"//a", "absolute"),
        (b"a/", "segment ''"),
        (b"a//b", "segment ''"),
        (b".", "segment '.'"),
        (b"a/./b", "segment '.'"),
        (b"..", "segment '..'"),
        (b"../a", "segment '..'"),
        (b"a/..", "segment '..'"),
        (b"a\0b", "NUL"),
        (b"n" * 256, "longer than 255"),
        (b"a/" + b"n" * 256 + b"/b", "longer than 255"),
        (b"/".join([b"n" * 255] * 15 + [b"n" * 240, b"n" * 15]), "longer than 4095"),
    ],
)
def test_a_path_that_no_project_can_hold_is_refused_and_the_reason_named(path: bytes, reason: str) -> None:
    with pytest.raises(UnsafePath, match=reason) as caught:
        check_path(path)
    assert caught.value.hint
    assert len(str(caught.value)) < 400


@given(plausible())
def test_what_is_accepted_leads_nowhere_outside(path: bytes) -> None:
    try:
        check_path(path)
    except UnsafePath:
        return
    names = path.split(b"/")
    assert not {b"", b".", b".."} & set(names)
    assert b"\0" not in path and len(path) <= 4095 and max(map(len, names)) <= 255


@given(plausible())
def test_stored_commits_may_hold_just_the_paths_that_can_be_given(path: bytes) -> None:
    try:
        check_path(path)
        accepted = True
    except UnsafePath:
        accepted = False
    record, places = forge.parts()
    record[forge.TREE] = [1, 0, 0, path, b"\0", bytes(2), bytes(8), bytes(8), bytes(4), b"", b"", b"", b"", b""]
    places[:] = [[], 0, *[b""] * 7]
    data = forge.seal(record, places)
    if accepted:
        assert list(forge.read(data).changes.upserts) == [path]
    else:
        with pytest.raises(forge.CorruptObject):
            forge.read(data)


@given(plausible())
def test_text_leads_back_to_the_very_bytes(path: bytes) -> None:
    try:
        check_path(path)
    except UnsafePath:
        return
    assert from_text(to_text(path)) == path
    to_display(path).encode("utf-8")


@pytest.mark.parametrize("text", ["\ud800", "a/\udfff", "../x", "", "/etc/passwd", "a\0"])
def test_text_that_is_no_path_is_refused(text: str) -> None:
    with pytest.raises(UnsafePath):
        from_text(text)


def test_what_is_not_utf_8_reads_as_its_bytes() -> None:
    assert to_display(b"caf\xe9") == "caf\\xe9"


def test_parents_and_ancestors() -> None:
    assert (parent_of(b"a/b/c"), parent_of(b"a"), parent_of(b"")) == (b"a/b", b"", b"")
    assert list(ancestors_of(b"a/b/c")) == [b"a/b", b"a"]
    assert list(ancestors_of(b"a")) == list(ancestors_of(b"")) == []
