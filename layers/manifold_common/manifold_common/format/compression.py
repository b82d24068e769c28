"""How a frame's payload is compressed: zstd (RFC 8878), or not at all when that would gain little.

zstd contexts are kept one per thread: making one costs as much as compressing a small block.
"""

from __future__ import annotations

import threading
from typing import Final

import zstandard

from manifold_common.format.buffers import Buffer

STORED: Final = 0
ZSTD: Final = 1

LEVEL = 3
_SAMPLE_BYTES = 16 * 1024
_SAMPLED_FROM_BYTES = 128 * 1024
_WORTH_IT = 0.95
_MAX_EXPANSION = 128 * 1024 // 4
"""zstd cannot say more: a block yields at most 128 KiB and takes at least 4 bytes (RFC 8878, 3.1.1.2)."""


class _Contexts(threading.local):
    def __init__(self) -> None:
        self.compress = zstandard.ZstdCompressor(level=LEVEL).compress
        self.decompressor = zstandard.ZstdDecompressor()


_contexts = _Contexts()


def compress(raw: Buffer) -> tuple[int, Buffer]:
    """Return (codec, payload). Large input is first tried on a sample from its middle, so that media costs little."""
    size = len(raw)
    if size >= _SAMPLED_FROM_BYTES:
        middle = (size - _SAMPLE_BYTES) // 2
        sample = memoryview(raw)[middle : middle + _SAMPLE_BYTES]
        if len(_contexts.compress(sample)) > _SAMPLE_BYTES * _WORTH_IT:
            return STORED, raw
    packed = _contexts.compress(raw)
    return (ZSTD, packed) if len(packed) < size * _WORTH_IT else (STORED, raw)


def decompress(codec: int, payload: Buffer, raw_bytes: int) -> Buffer:
    """Return exactly ``raw_bytes`` bytes, allocating no more than that, and nothing for a payload too short for them.

    Raises:
        ValueError: unknown codec, or the payload does not hold ``raw_bytes`` bytes.
    """
    if codec == STORED:
        if len(payload) != raw_bytes:
            raise ValueError(f"stored payload has {len(payload)} bytes instead of {raw_bytes}")
        return payload
    if codec != ZSTD:
        raise ValueError(f"unknown compression codec {codec}")
    if not 0 < raw_bytes <= len(payload) * _MAX_EXPANSION:
        raise ValueError(f"{len(payload)} compressed bytes cannot hold {raw_bytes} bytes")
    try:
        # The frame's own header may claim any size: it is believed only where it agrees with the declared one.
        if zstandard.frame_content_size(payload) != raw_bytes:
            raise ValueError(f"compressed payload does not declare {raw_bytes} bytes")
        raw = _contexts.decompressor.decompress(payload, max_output_size=raw_bytes, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise ValueError(f"compressed payload is damaged: {error}") from None
    if len(raw) != raw_bytes:
        raise ValueError(f"compressed payload has {len(raw)} bytes instead of {raw_bytes}")
    return raw
