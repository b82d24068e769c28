"""How counts read in sentences."""

from __future__ import annotations


def plural(count: int, noun: str) -> str:
    """Return ``1 file``, ``2 files``, ``1,000 entries``."""
    if count == 1:
        return f"1 {noun}"
    if noun.endswith("y") and noun[-2] not in "aeou":
        return f"{count:,} {noun[:-1]}ies"
    return f"{count:,} {noun}s"
