"""The health of the server, in the shape that the API answers."""

from __future__ import annotations

import anyio
import manifold_common
from manifold_common.bootstrap import Manifold
from manifold_common.services.jobs.waiting import waiting_jobs
from manifold_common.shapes.health import Dependency, ServerHealth, TrafficNow, overall

from functions.api.traffic import Traffic

_AT_ONCE = 4
_turns: anyio.CapacityLimiter | None = None


async def check_all(manifold: Manifold, traffic: Traffic) -> ServerHealth:
    """Look at every dependency at once."""
    found, waiting = await anyio.to_thread.run_sync(_look, manifold, limiter=_limiter())
    return ServerHealth(
        status=overall(found),
        version=manifold_common.__version__,
        dependencies=found,
        warnings=[*manifold.warnings, *waiting],
        traffic=TrafficNow(
            requests=traffic.requests,
            buffered_bytes=traffic.room.held_bytes,
            refusals=dict(sorted(traffic.refusals.items())),
        ),
    )


def _look(manifold: Manifold) -> tuple[list[Dependency], list[str]]:
    found = manifold.health.look()
    return found, waiting_jobs(manifold.context, found)


def _limiter() -> anyio.CapacityLimiter:
    """Threads of their own: checks answer even when all others are busy."""
    global _turns
    if _turns is None:
        _turns = anyio.CapacityLimiter(_AT_ONCE)
    return _turns
