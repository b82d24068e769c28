"""Where files are cut into chunks, and what a chunk is called.

A file of up to 1 MiB is one chunk. A larger one is cut by its content (FastCDC, Xia et al. 2020), so that an insertion
moves few boundaries. The gear table is mixed with a seed from the project's own key, so that knowing a file is not
knowing its boundaries: a hurdle, not a seal (docs/format-v1.md, "What the store gives away"). A chunk's id is its keyed
BLAKE3-256, under a key of the project's own, so that equal content in two projects has unequal ids.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from blake3 import blake3
from pyfastcdc import FastCDC

from manifold_common.format.buffers import Buffer
from manifold_common.ids import ChunkId

WHOLE_FILE_BYTES = 1 << 20
MIN_CHUNK_BYTES = 256 << 10
AVERAGE_CHUNK_BYTES = 1 << 20
MAX_CHUNK_BYTES = 4 << 20
WINDOW_BYTES = 8 << 20
"""How much of a large file is in memory at a time."""

ID_KEY_BYTES = 32
_CHUNK_CONTEXT = "manifold/v1 chunk id"
_SEED_CONTEXT = "manifold/v1 chunk boundaries"
_SEED_MASK = (1 << 63) - 1


class Chunker:
    """Cuts and names the chunks of one project. Safe to use from several threads."""

    def __init__(self, id_key: Buffer) -> None:
        self._key = blake3(id_key, derive_key_context=_CHUNK_CONTEXT).digest()
        seed = blake3(id_key, derive_key_context=_SEED_CONTEXT).digest(8)
        # 63 bits: the library refuses a seed that has no room for a shift by one in a 64-bit word.
        self._seed = int.from_bytes(seed, "little") & _SEED_MASK

    def chunk_id(self, data: Buffer) -> ChunkId:
        return ChunkId(blake3(data, key=self._key).digest())

    def cut(self, readinto: Callable[[memoryview], int]) -> Iterator[memoryview]:
        """Yield the chunks of a large file, in order.

        Args:
            readinto: fills a buffer and returns how many bytes it read; 0 at the end of the file.

        The views stay valid: each window has a buffer of its own, which lives as long as a chunk of it.
        """
        cutter = FastCDC(AVERAGE_CHUNK_BYTES, min_size=MIN_CHUNK_BYTES, max_size=MAX_CHUNK_BYTES, seed=self._seed)
        rest = memoryview(b"")
        at_end = False
        while not at_end:
            window = memoryview(bytearray(WINDOW_BYTES))
            filled = len(rest)
            window[:filled] = rest
            while filled < WINDOW_BYTES:
                count = readinto(window[filled:])
                if count == 0:
                    at_end = True
                    break
                filled += count
            start = 0
            for chunk in cutter.cut_buf(window[:filled]):
                end = start + chunk.length
                # A chunk that touches the window's edge may have been cut by it: it begins the next window.
                if end == filled and not at_end:
                    break
                yield window[start:end]
                start = end
            rest = window[start:filled]
