from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from manifold_common.errors import InvalidInput
from manifold_common.ids import (
    PLAIN,
    decode_id,
    encode_id,
    parse_commit_id,
    parse_project_id,
    parse_session_id,
    parse_tenant_id,
    parse_user_id,
)


@given(st.binary(min_size=16, max_size=16))
def test_an_id_comes_back_and_has_one_spelling(raw: bytes) -> None:
    text = encode_id(raw)
    assert len(text) == 26
    assert decode_id(text) == raw
    for other in (text.upper(), text + "=", text + "\n", " " + text, text[:-1]):
        if other != text:
            with pytest.raises(InvalidInput):
                decode_id(other)


def test_the_unused_bits_of_the_last_character_must_be_zero() -> None:
    assert decode_id("a" * 26) == bytes(16)
    for last in "bcd":
        with pytest.raises(InvalidInput):
            decode_id("a" * 25 + last)


def test_plain_stands_for_sixteen_zero_bytes() -> None:
    assert decode_id(PLAIN) == bytes(16)


@pytest.mark.parametrize("size", [0, 15, 17, 32])
def test_only_sixteen_bytes_are_an_id(size: int) -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        encode_id(bytes(size))


@pytest.mark.parametrize(
    "text", ["", "a", "a" * 25, "a" * 27, "1" * 26, "../" + "a" * 23, "a" * 25 + "\u00e9", "A" * 26]
)
def test_what_is_not_an_id_is_refused_with_advice(text: str) -> None:
    for parse in (decode_id, parse_project_id, parse_commit_id):
        with pytest.raises(InvalidInput) as caught:
            parse(text)
        assert caught.value.hint


@pytest.mark.parametrize("text", ["a", "a1", "ada@example.org", "a.b_c-d@e", "0", "x" * 64])
def test_a_slug_is_taken_as_it_is(text: str) -> None:
    for parse in (parse_tenant_id, parse_user_id, parse_session_id):
        assert parse(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "..",
        "-a",
        "a-",
        ".a",
        "a.",
        "a..b",
        "A",
        "a b",
        "a/b",
        "a\0",
        "a\n",
        "\u0430",
        "x" * 65,
        "a%2fb",
        "a:b",
        "~",
    ],
)
def test_what_could_be_taken_for_a_path_is_no_slug(text: str) -> None:
    for parse in (parse_tenant_id, parse_user_id, parse_session_id):
        with pytest.raises(InvalidInput):
            parse(text)


def test_an_error_about_an_id_does_not_repeat_a_long_input() -> None:
    with pytest.raises(InvalidInput) as caught:
        decode_id("z" * 10_000)
    assert len(str(caught.value)) < 300
