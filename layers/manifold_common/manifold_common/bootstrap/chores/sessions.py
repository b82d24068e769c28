"""Sessions that nobody ends."""

from __future__ import annotations

from manifold_common.bootstrap.chores.chore import UPKEEP, Chore

CHORES = (
    Chore(
        "close_sessions",
        "Closes sessions that are over and whose machine did not do so.",
        UPKEEP,
        "maintenance",
        lambda manifold, stop: manifold.maintenance.sweep_sessions(stop=stop),
    ),
)
