from __future__ import annotations

import os
import random

import pytest
import zstandard
from manifold_common.format.compression import STORED, ZSTD, compress, decompress

from tests.support.memory import traced_memory

MIB = 1 << 20


@pytest.mark.parametrize(
    "raw", [b"", b"a", b"a" * 100, os.urandom(1000), b"line of text\n" * 40_000, os.urandom(300_000), bytes(4 * MIB)]
)
def test_what_is_compressed_comes_back(raw: bytes) -> None:
    codec, payload = compress(raw)
    assert bytes(decompress(codec, payload, len(raw))) == raw
    assert len(payload) <= len(raw)


def test_text_is_compressed_and_noise_is_not() -> None:
    assert compress(b"line of text\n" * 1000)[0] == ZSTD
    assert compress(random.Random(1).randbytes(200_000)) == (STORED, random.Random(1).randbytes(200_000))


def _declares(raw_bytes: int, block: bytes = b"\x01\x00\x00") -> bytes:
    """Return a zstd frame that declares ``raw_bytes`` and holds one empty block."""
    return b"\x28\xb5\x2f\xfd\xe0" + raw_bytes.to_bytes(8, "little") + block


@pytest.mark.parametrize(
    ("codec", "payload", "raw_bytes"),
    [
        (STORED, b"abc", 2),
        (STORED, b"abc", 4),
        (ZSTD, b"", 0),
        (ZSTD, b"", 5),
        (ZSTD, b"\x28\xb5\x2f\xfd", 5),
        (ZSTD, b"no zstd at all", 5),
        (ZSTD, zstandard.compress(b"abc") + b"\0", 3),
        (ZSTD, zstandard.compress(b"abc") * 2, 3),
        (ZSTD, zstandard.compress(b"abc") * 2, 6),
        (ZSTD, zstandard.compress(b"abc"), 2),
        (ZSTD, zstandard.compress(b"abc"), 4),
        (ZSTD, zstandard.compress(b""), 0),
        (ZSTD, zstandard.compress(b"") + b"hidden", 0),
        (ZSTD, b"\x50\x2a\x4d\x18\x04\x00\x00\x00skip", 4),
        (ZSTD, zstandard.ZstdCompressor(write_content_size=False).compress(b"abc" * 50), 150),
        (ZSTD, _declares(100), 100),
        (ZSTD, _declares(1 << 60), (1 << 28) - 1),
        (2, b"abc", 3),
        (7, b"", 0),
    ],
)
def test_a_payload_that_is_not_what_it_says_is_refused(codec: int, payload: bytes, raw_bytes: int) -> None:
    with pytest.raises(ValueError, match=r"payload|codec|bytes"):
        decompress(codec, payload, raw_bytes)


def test_a_small_payload_cannot_make_us_allocate_much() -> None:
    payload = _declares((1 << 28) - 1) + bytes(1000)
    with traced_memory() as peak:
        with pytest.raises(ValueError, match="cannot hold"):
            decompress(ZSTD, payload, (1 << 28) - 1)
        assert peak() < MIB


def test_a_bomb_within_its_declared_length_takes_no_more_than_that() -> None:
    payload = zstandard.ZstdCompressor(level=19).compress(bytes(64 * MIB))
    assert len(payload) < 16 * 1024
    with traced_memory() as peak:
        assert len(decompress(ZSTD, payload, 64 * MIB)) == 64 * MIB
        assert peak() < 65 * MIB


def test_the_bound_on_expansion_never_refuses_what_zstd_can_make() -> None:
    for size in (1, 2, 127 * 1024, 128 * 1024, 4 * MIB, 32 * MIB):
        payload = zstandard.ZstdCompressor(level=22).compress(bytes(size))
        assert len(decompress(ZSTD, payload, size)) == size
