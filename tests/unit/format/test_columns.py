from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from manifold_common.format.columns import (
    I64,
    U8,
    U16,
    U32,
    U64,
    pack_ints,
    pack_strings,
    unpack_ints,
    unpack_strings,
)

WIDTHS = {U8: (1, 0, 2**8), U16: (2, 0, 2**16), U32: (4, 0, 2**32), U64: (8, 0, 2**64), I64: (8, -(2**63), 2**63)}


@pytest.mark.parametrize("code", WIDTHS)
@given(data=st.data())
def test_integers_of_every_width_come_back(code: str, data: st.DataObject) -> None:
    width, low, high = WIDTHS[code]
    values = data.draw(st.lists(st.integers(low, high - 1)))
    column = pack_ints(code, values)
    assert len(column) == width * len(values)
    assert list(unpack_ints(code, column, len(values), "x")) == values


def test_integers_are_little_endian() -> None:
    assert pack_ints(U32, [1, 0x01020304]) == b"\1\0\0\0\4\3\2\1"
    assert pack_ints(I64, [-2]) == b"\xfe" + b"\xff" * 7


@pytest.mark.parametrize("count", [-1, 0, 1, 3, 2**62])
def test_a_column_of_another_length_is_refused_and_named(count: int) -> None:
    with pytest.raises(ValueError, match="column sizes"):
        unpack_ints(U32, bytes(8), count, "sizes")


@given(st.lists(st.binary(max_size=5).map(lambda value: value.replace(b"\0", b""))))
def test_strings_come_back(values: list[bytes]) -> None:
    assert unpack_strings(pack_strings(values), len(values), "x") == values


@pytest.mark.parametrize(("data", "count"), [(b"a", 0), (b"\0", 0), (b"", 2), (b"a\0b", 1), (b"a\0b", 3), (b"", -1)])
def test_strings_of_another_count_are_refused_and_named(data: bytes, count: int) -> None:
    with pytest.raises(ValueError, match="column paths"):
        unpack_strings(data, count, "paths")


def test_one_empty_string_is_told_from_none() -> None:
    assert unpack_strings(b"", 1, "x") == [b""]
    assert unpack_strings(b"", 0, "x") == []
