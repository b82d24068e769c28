"""How counts and spans of time read in sentences."""

from __future__ import annotations

import pytest
from manifold_common.domain.wording import span


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 seconds"),
        (0.5, "0.5 seconds"),
        (1, "1 second"),
        (119, "119 seconds"),
        (120, "2 minutes"),
        (3599.9, "59 minutes"),
        (3600, "1 hour"),
        (5400, "1 hour 30 minutes"),
        (7860, "2 hours 11 minutes"),
        (86_400, "1 day"),
        (86_400 * 3 + 3600, "3 days 1 hour"),
        (100 * 365 * 86_400, "36,500 days"),
    ],
)
def test_a_span_of_time_reads_as_people_say_it(seconds: float, said: str) -> None:
    assert span(seconds) == said
