"""Events that every sink has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from manifold_common.bootstrap.chores.chore import UPKEEP, Chore, Every

if TYPE_CHECKING:
    from manifold_common.bootstrap.services import Manifold

_SETTLE_SECONDS = 30.0


def _settle_seconds(manifold: Manifold) -> float:
    every = UPKEEP.seconds(manifold)
    return min(every, _SETTLE_SECONDS) if manifold.events.sinks else every


CHORES = (
    Chore(
        "settle_events",
        "Notes which events all sinks have.",
        Every(f"{UPKEEP.said}, at most {_SETTLE_SECONDS:.0f} seconds where there are sinks", _settle_seconds),
        "fanout",  # whoever delivers knows to whom, and no other function has to
        lambda manifold, stop: manifold.events.settle(stop=stop),
    ),
    Chore(
        "prune_events",
        "Removes events that all sinks have had for `projects.events.retentionDays`.",
        UPKEEP,
        "maintenance",
        lambda manifold, stop: manifold.events.prune(stop=stop),
    ),
)
