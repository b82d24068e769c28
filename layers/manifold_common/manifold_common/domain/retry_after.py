"""How long a server wants to be left alone: the header ``Retry-After`` (RFC 9110, section 10.2.3)."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

LONGEST_SECONDS: Final = 86_400.0
"""A day. A server that asks for more is asked again then: what it says may be a mistake."""

RETRY_AFTER: Final = "retry_after_seconds"
"""Among the details of a passing error: how long the server has asked to be left alone."""

_SECONDS = re.compile(r"[0-9]{1,18}(\.[0-9]{1,18})?")


def seconds_asked(header: str | None, now: datetime) -> float | None:
    """Return for how many seconds, at most a day; ``None``: nothing, or nothing that makes sense, was said.

    Args:
        header: its value: a number of seconds, which some send with a fraction, or a date in any of HTTP's three forms.
        now: with a zone.
    """
    text = (header or "").strip()
    if _SECONDS.fullmatch(text):
        return min(float(text), LONGEST_SECONDS)
    try:
        until = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=UTC)
    return min(max(0.0, (until - now).total_seconds()), LONGEST_SECONDS)


def asked_wait(seconds: float | None) -> dict[str, float]:
    """Return what an adapter adds to the details of a passing error."""
    return {} if seconds is None else {RETRY_AFTER: seconds}
