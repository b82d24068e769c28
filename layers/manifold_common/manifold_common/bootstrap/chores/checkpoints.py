"""Projects whose log has become long."""

from __future__ import annotations

from manifold_common.bootstrap.chores.chore import UPKEEP, Chore

CHORES = (
    Chore(
        "write_checkpoints",
        "Writes a checkpoint for each project that reading has become dear of.",
        UPKEEP,
        "maintenance",
        lambda manifold, stop: manifold.maintenance.write_checkpoints(stop=stop),
    ),
)
