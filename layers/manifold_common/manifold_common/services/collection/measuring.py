"""What each project of a fork family has stored, and what it is needed for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set

from manifold_common.domain.garbage import Kept, StoredUsage
from manifold_common.format.layout import below_project, commit_key
from manifold_common.ids import Generation, ProjectId
from manifold_common.ports.catalog import Holdings
from manifold_common.ports.object_store import ObjectInfo

Measured = list[tuple[ProjectId, Generation, StoredUsage]]


def measure(
    family: Mapping[ProjectId, Holdings],
    stored: Mapping[ProjectId, Sequence[ObjectInfo]],
    reached: Set[str],
    live: Set[str],
    condemned: Set[str],
) -> Measured:
    """Sort what is stored by what it is needed for. What is condemned is left out.

    Args:
        stored: of each project, also what is younger than the grace.
        reached: keys of what anything refers to.
        live: keys of what reading the newest generations takes.
        condemned: keys of what has been condemned since ``family`` was read.
    """
    return [
        (project, holdings.head.generation, _sorted(holdings, stored[project], reached, live, condemned))
        for project, holdings in family.items()
    ]


def _sorted(
    holdings: Holdings, stored: Sequence[ObjectInfo], reached: Set[str], live: Set[str], condemned: Set[str]
) -> StoredUsage:
    lives, history, unreferenced = Kept(), Kept(), Kept()
    superseded = {commit_key(holdings.tenant, holdings.project, *one) for one in holdings.superseded}
    for one in stored:
        if below_project(one.key) in holdings.listed or one.key in condemned:
            continue
        if one.key in live:
            lives = lives.with_one(one.size)
        elif one.key in reached and one.key not in superseded:
            history = history.with_one(one.size)
        else:
            unreferenced = unreferenced.with_one(one.size)
    return StoredUsage(lives, history, unreferenced)
