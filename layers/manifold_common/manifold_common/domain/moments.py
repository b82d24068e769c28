"""Which times can be shown and compared everywhere: by Python, PostgreSQL, archives and a browser."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

FIRST_YEAR, LAST_YEAR = 1970, 9000


def is_usable(moment: datetime) -> bool:
    return FIRST_YEAR <= moment.year <= LAST_YEAR


def microseconds_of(moment: datetime) -> int:
    """Return how many there were since 1970."""
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
