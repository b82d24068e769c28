from __future__ import annotations

import io
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from manifold_common.format.chunker import MAX_CHUNK_BYTES, MIN_CHUNK_BYTES, Chunker

MIB = 1 << 20


def lengths(content: bytes, id_key: bytes = b"k" * 32, read_bytes: int = 1 << 30) -> list[int]:
    source = io.BytesIO(content)

    def readinto(buffer: memoryview) -> int:
        return source.readinto(buffer[:read_bytes])

    return [len(chunk) for chunk in Chunker(id_key).cut(readinto)]


def test_chunks_joined_are_the_file() -> None:
    content = random.Random(3).randbytes(21 * MIB + 5)
    pieces = [bytes(chunk) for chunk in Chunker(b"k" * 32).cut(io.BytesIO(content).readinto)]
    assert b"".join(pieces) == content
    assert all(MIN_CHUNK_BYTES <= len(piece) <= MAX_CHUNK_BYTES for piece in pieces[:-1])
    assert 0 < len(pieces[-1]) <= MAX_CHUNK_BYTES


def test_chunks_stay_readable_after_the_next_was_cut() -> None:
    content = random.Random(4).randbytes(20 * MIB)
    assert b"".join(list(Chunker(b"k" * 32).cut(io.BytesIO(content).readinto))) == content


@pytest.mark.parametrize("size", [0, 1, MIN_CHUNK_BYTES, 4 * MIB, 8 * MIB, 8 * MIB + 1, 12 * MIB, 16 * MIB])
def test_a_file_of_zeros_of_any_size_is_cut_whole(size: int) -> None:
    assert sum(lengths(bytes(size))) == size


@pytest.mark.parametrize("read_bytes", [65_536, 1_000_003, 8 * MIB - 1])
def test_boundaries_do_not_depend_on_how_much_a_read_returns(read_bytes: int) -> None:
    content = random.Random(5).randbytes(18 * MIB)
    assert lengths(content, read_bytes=read_bytes) == lengths(content)


def test_an_insertion_moves_few_boundaries() -> None:
    content = random.Random(6).randbytes(24 * MIB)
    chunker = Chunker(b"k" * 32)
    before = {chunker.chunk_id(c) for c in chunker.cut(io.BytesIO(content).readinto)}
    edited = content[: 5 * MIB] + b"inserted" + content[5 * MIB :]
    after = {chunker.chunk_id(c) for c in chunker.cut(io.BytesIO(edited).readinto)}
    assert len(after - before) <= 3


@settings(max_examples=200, deadline=None)
@given(st.binary(min_size=32, max_size=32))
def test_every_key_gives_a_chunker_that_cuts(id_key: bytes) -> None:
    assert lengths(bytes(10), id_key) == [10]


def test_two_projects_name_and_cut_the_same_content_differently() -> None:
    content = random.Random(8).randbytes(12 * MIB)
    assert Chunker(b"a" * 32).chunk_id(content) != Chunker(b"b" * 32).chunk_id(content)
    assert lengths(content, b"a" * 32) != lengths(content, b"b" * 32)
