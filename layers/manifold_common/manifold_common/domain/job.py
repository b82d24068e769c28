"""Jobs: work on many items that goes on over processes, machines and time. docs/jobs.md explains them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Final, NamedTuple

from manifold_common.ids import JobId, ProjectId, TenantId


class JobState(Enum):
    RUNNING = "running"
    """Workers plan its items and work on them."""
    PAUSED = "paused"
    """Nothing of it is begun."""
    DONE = "done"
    """Every item is done, or had nothing to be done."""
    FAILED = "failed"
    """Every item was tried, and some failed for good."""
    CANCELLED = "cancelled"
    """What was not begun never will be."""

    @property
    def is_over(self) -> bool:
        return self not in UNFINISHED


UNFINISHED: Final = (JobState.RUNNING, JobState.PAUSED)
COMES_FROM: Final = {
    JobState.RUNNING: (JobState.PAUSED,),
    JobState.PAUSED: (JobState.RUNNING,),
    JobState.CANCELLED: UNFINISHED,
}
"""From which states somebody may bring a job into a state."""
RETRIED_IN: Final = (*UNFINISHED, JobState.FAILED)
"""In which states what has failed of a job may be tried again. The others stay."""


class ItemState(Enum):
    PENDING = "pending"
    DONE = "done"
    SKIPPED = "skipped"
    """There was nothing to be done any more."""
    FAILED = "failed"


class JobPlace(NamedTuple):
    """A place in the list of jobs, which begins with the newest."""

    created_at: datetime
    job: JobId


class SeenJob(NamedTuple):
    """A job as somebody has seen it."""

    tenant: TenantId
    job: JobId
    revision: int


@dataclass(frozen=True, slots=True)
class JobFilter:
    states: Collection[JobState] | None = None
    kind: str | None = None
    project: ProjectId | None = None


SUSPECT_AFTER: Final = 3
"""Workers lost at an item, after which it is worked on alone: it may be what they die of."""
GIVEN_UP_AFTER: Final = 8
"""Workers lost at an item, after which it has failed."""
MIN_RATE: Final = 0.001
MAX_RATE: Final = 1_000_000.0
"""Items per second that a job's rate may be."""
SPEED_SECONDS: Final = 5.0
"""Over how long the speed of a job is measured, at least."""


def speed(finished: int, finished_before: int, seconds: float) -> float | None:
    """Return items per second over the last stretch; ``None``: it was too short to tell."""
    return (finished - finished_before) / seconds if seconds >= SPEED_SECONDS else None
