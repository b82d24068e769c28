"""Looking at everything once a day, before somebody needs it."""

from __future__ import annotations

from manifold_common.bootstrap.chores.chore import UPKEEP, Chore

CHORES = (
    Chore(
        "scrub_projects",
        "Starts a `verify` of all projects once a day, which reads the content of "
        "`projects.maintenance.scrubPercent` of the objects.",
        UPKEEP,
        "maintenance",
        lambda manifold, stop: 0 if stop() else manifold.scrub.keep(),
    ),
)
