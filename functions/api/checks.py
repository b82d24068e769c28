"""The health of the server, in the shape that the API answers."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import anyio
import manifold_common
from manifold_common.bootstrap import Manifold
from manifold_common.services.upkeep.health import Dependency
from pydantic import BaseModel, Field

from functions.api.traffic import Traffic

StateName = Literal["ok", "degraded", "failed", "off"]

_AT_ONCE = 4
_turns: anyio.CapacityLimiter | None = None


class DependencyOut(BaseModel):
    name: str = Field(examples=["postgres"])
    state: StateName
    latency_ms: float = Field(description="How long the check took.", examples=[0.4])
    last_ok_at: datetime | None = Field(
        description="When it was last seen to work; null: not yet. For sinks of events, by whichever process delivers; "
        "for all else, by this one."
    )
    since: datetime | None = Field(description="Since when it is in this state, as far as is known.")
    observed_at: datetime | None = Field(
        description="When this state was last observed. For a sink of events that nothing was sent to for long, "
        "that is long ago; null: never."
    )
    detail: str = Field(examples=["schema is current"])
    without_it: str = Field(description="What still works while this is down.")
    see: str = Field(description="Where the documents say what to do.", examples=["docs/operations.md#redis"])


class TrafficOut(BaseModel):
    """What clients have under way at this process."""

    requests: int = Field(description="Requests under way.", examples=[3])
    buffered_bytes: int = Field(description="Memory that their bodies and answers hold.")
    refusals: dict[str, int] = Field(
        description="What clients were refused or cut off for, and how often since the process started.",
        examples=[{"slow_header": 2}],
    )


class HealthOut(BaseModel):
    status: Literal["ok", "degraded", "failed"] = Field(
        description="`failed`: something needed is down. `degraded`: work goes on, with less."
    )
    version: str
    dependencies: list[DependencyOut]
    warnings: list[str] = Field(description="What an operator should know.")
    traffic: TrafficOut


async def check_all(manifold: Manifold, traffic: Traffic) -> HealthOut:
    """Look at every dependency at once."""
    found = await anyio.to_thread.run_sync(manifold.health.look, limiter=_limiter())
    return HealthOut.model_validate(
        {
            "status": found.state.value,
            "version": manifold_common.__version__,
            "dependencies": list(map(_dependency_out, found.dependencies)),
            "warnings": manifold.warnings,
            "traffic": {
                "requests": traffic.requests,
                "buffered_bytes": traffic.room.held_bytes,
                "refusals": dict(sorted(traffic.refusals.items())),
            },
        }
    )


def _dependency_out(found: Dependency) -> DependencyOut:
    return DependencyOut.model_validate(
        {
            **found._asdict(),
            "state": found.state.value,
            "latency_ms": round(found.latency_seconds * 1000, 2),
            "last_ok_at": found.seen.ok_at,
            "since": found.seen.since,
            "observed_at": found.seen.at,
        }
    )


def _limiter() -> anyio.CapacityLimiter:
    """Threads of their own: checks answer even when all others are busy."""
    global _turns
    if _turns is None:
        _turns = anyio.CapacityLimiter(_AT_ONCE)
    return _turns
