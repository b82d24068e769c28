"""Files too large to hold in memory, made piece by piece. ``MANIFOLD_TEST_LARGE=1`` asks for the full sizes."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

MIB = 1 << 20
FULL_SIZE = os.environ.get("MANIFOLD_TEST_LARGE") == "1"


def pieces(size_mib: int, seed: int = 0) -> Iterator[bytes]:
    """Yield a file of 1 MiB pieces, no two alike: by turns incompressible ones and text."""
    rng = random.Random(seed)
    for number in range(size_mib):
        yield rng.randbytes(MIB // 2).hex().encode() if number % 2 else rng.randbytes(MIB)


def write_mixed(path: Path, size_mib: int, *, hole_mib: int = 0) -> None:
    """Write a file of ``pieces`` with a hole of ``hole_mib`` in its middle, which counts as part of its size."""
    with path.open("wb") as file:
        for number, piece in enumerate(pieces(size_mib - hole_mib)):
            if number == (size_mib - hole_mib) // 2:
                file.seek(hole_mib * MIB, os.SEEK_CUR)
            file.write(piece)
    assert path.stat().st_size == size_mib * MIB
