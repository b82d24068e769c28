"""How a server is."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Annotated, Literal

from msgspec import Meta

from manifold_common.shapes.base import Answer, Count, Moment


class State(Enum):
    OK = "ok"
    DEGRADED = "degraded"
    """Work goes on, with less: reading without writing, keys in memory without their provider."""
    FAILED = "failed"
    OFF = "off"


class Dependency(Answer, frozen=True):
    name: Annotated[str, Meta(examples=["postgres"])]
    state: State
    latency_ms: Annotated[float, Meta(description="How long the check took.", examples=[0.4])]
    last_ok_at: Annotated[
        Moment | None,
        Meta(
            description="When it was last seen to work; null: not yet. For sinks of events, by whichever process "
            "delivers; for all else, by this one."
        ),
    ]
    since: Annotated[Moment | None, Meta(description="Since when it is in this state, as far as is known.")]
    observed_at: Annotated[
        Moment | None,
        Meta(
            description="When this state was last observed. For a sink of events that nothing was sent to for long, "
            "that is long ago; null: never."
        ),
    ]
    detail: Annotated[str, Meta(examples=["schema is current"])]
    without_it: Annotated[str, Meta(description="What still works while this is down.")]
    see: Annotated[str, Meta(description="Where the documents say what to do.", examples=["docs/operations.md#redis"])]


class TrafficNow(Answer, frozen=True):
    """What clients have under way at one process."""

    requests: Annotated[Count, Meta(description="Requests under way.", examples=[3])]
    buffered_bytes: Annotated[Count, Meta(description="Memory that their bodies and answers hold.")]
    refusals: Annotated[
        dict[str, int],
        Meta(
            description="What clients were refused or cut off for, and how often since the process started.",
            examples=[{"slow_header": 2}],
        ),
    ]


class Health(Answer, frozen=True):
    status: Annotated[
        State,
        Meta(description="`failed`: something needed is down. `degraded`: work goes on, with less."),
    ]
    version: str
    dependencies: list[Dependency]
    warnings: Annotated[list[str], Meta(description="What an operator should know.")]


def overall(dependencies: Sequence[Dependency]) -> State:
    """Return ``FAILED`` where something needed is down, ``DEGRADED`` where work goes on with less, or ``OK``."""
    states = {dependency.state for dependency in dependencies}
    return next((state for state in (State.FAILED, State.DEGRADED) if state in states), State.OK)


class RunningHost(Answer, frozen=True):
    url: str
    pid: int


class HealthHere(Health, frozen=True):
    """As a command on this machine finds it."""

    host: Annotated[RunningHost | None, Meta(description="The host process of this machine, if one runs.")]


class ServerHealth(Health, frozen=True):
    """With what clients have under way at this process."""

    traffic: TrafficNow


class Alive(Answer, frozen=True):
    status: Literal["ok"] = "ok"
