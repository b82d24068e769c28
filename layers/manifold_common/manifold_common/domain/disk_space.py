"""When a disk counts as nearly full."""

from __future__ import annotations

LOW_FRACTION = 0.05
LOW_BYTES = 1 << 30
"""On a large disk a twentieth is plenty."""


def is_low(free: int, whole: int) -> bool:
    """Tell whether ``free`` of ``whole`` bytes is so little that an operator should know."""
    return free < min(whole * LOW_FRACTION, LOW_BYTES)


def shown(free: int, whole: int) -> str:
    return f"{free / 2**30:.1f} GiB of {whole / 2**30:.1f} GiB free"
