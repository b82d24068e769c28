"""Collections at once, without the times that they wait for."""

from __future__ import annotations

from datetime import timedelta

from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.domain.garbage import Rules
from manifold_common.format.layout import project_prefix
from manifold_common.ids import ProjectId
from manifold_common.services.collection.collector import Collector
from manifold_common.services.collection.compaction import Compaction
from manifold_common.services.collection.condemned import Condemned
from manifold_common.services.collection.retention import Retention

TENANT = LOCAL_PRINCIPAL.tenant


def collector(
    manifold: Manifold, *, generations: int = 0, days: int = 0, percent: int = 50, grace: float = -60.0
) -> Collector:
    """Return a collector to which every generation is old, and what was stored more than ``grace`` seconds ago."""
    rules = Rules(generations, days, timedelta(seconds=-60))
    context = manifold.context
    return Collector(context, Retention(context, rules), Compaction(context, percent), grace)


def collect(manifold: Manifold, project: ProjectId, *, generations: int = 0) -> bool:
    """Collect a project's family; remove at once what is condemned."""
    leader = manifold.context.catalog.family_of(TENANT, project)
    done = collector(manifold, generations=generations).collect(TENANT, leader)
    Condemned(manifold.context, -60.0).sweep()
    return done


def objects(manifold: Manifold, project: ProjectId) -> set[str]:
    """Return the keys, below the project's folder, of all that it has stored."""
    prefix = project_prefix(TENANT, project)
    return {one.key.removeprefix(f"{prefix}/") for one in manifold.context.store.list(prefix)}
