"""How counts and spans of time read in sentences."""

from __future__ import annotations

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400


def plural(count: int, noun: str) -> str:
    """Return ``1 file``, ``2 files``, ``1,000 entries``."""
    if count == 1:
        return f"1 {noun}"
    if noun.endswith("y") and noun[-2] not in "aeou":
        return f"{count:,} {noun[:-1]}ies"
    return f"{count:,} {noun}s"


def span(seconds: float) -> str:
    """Return a span of time: ``0.5 seconds``, ``40 seconds``, ``3 minutes``, ``2 hours 10 minutes``, ``3 days 1 hour``.

    What is smaller than the second of two units is left out.
    """
    if seconds < 2 * _MINUTE:
        return plural(int(seconds), "second") if seconds == int(seconds) else f"{seconds:.3g} seconds"
    whole = int(seconds)
    if whole < _HOUR:
        return plural(whole // _MINUTE, "minute")
    if whole < _DAY:
        return _two(whole // _HOUR, "hour", whole % _HOUR // _MINUTE, "minute")
    return _two(whole // _DAY, "day", whole % _DAY // _HOUR, "hour")


def _two(count: int, noun: str, more: int, smaller: str) -> str:
    return plural(count, noun) + (f" {plural(more, smaller)}" if more else "")
