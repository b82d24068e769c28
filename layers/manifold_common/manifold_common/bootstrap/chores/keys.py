"""Master keys whose time is over."""

from __future__ import annotations

from manifold_common.bootstrap.chores.chore import UPKEEP, Chore

CHORES = (
    Chore(
        "rotate_master_key",
        "Rotates the master key when it is `projects.encryption.rotation.kekDays` old, and starts a rewrap.",
        UPKEEP,
        "reencrypt",
        lambda manifold, stop: 0 if stop() else manifold.rotation.keep(),
    ),
)
