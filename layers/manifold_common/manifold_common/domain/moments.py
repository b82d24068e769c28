"""Which times can be shown and compared everywhere: by Python, PostgreSQL, archives and a browser."""

from __future__ import annotations

from datetime import datetime

FIRST_YEAR, LAST_YEAR = 1970, 9000


def is_usable(moment: datetime) -> bool:
    return FIRST_YEAR <= moment.year <= LAST_YEAR
