"""The catalog's jobs and their items.

A job is *planned* page by page: each page of items is added together with the place where the next begins, so that an
item is added once however often a planner is killed. Workers *claim* items. A claim is a lease: it ends with its report
or with its time, and a report under a lease that another has taken over changes nothing. Counters, the end of a job and
the event of it are of one statement with the report that brings them about. All times are the database's.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol

from manifold_common.domain.job import ItemState, JobFilter, JobPlace, JobState, SeenJob
from manifold_common.errors import AlreadyExists
from manifold_common.ids import JobId, ProjectId, TenantId, UserId


@dataclass(frozen=True, slots=True)
class NewJob:
    tenant: TenantId
    job: JobId
    kind: str
    params: str
    """JSON, always spelt the same: two jobs of a kind with equal ``params`` are the same work."""
    user: UserId
    """Who has started it."""
    project: ProjectId | None
    """Which it is about, if it is one."""
    rate: float | None
    """Items per second at most, of all workers together; ``None``: as fast as they can."""


@dataclass(frozen=True, slots=True)
class JobRow:
    tenant: TenantId
    job: JobId
    kind: str
    params: str
    user: UserId
    project: ProjectId | None
    rate: float | None
    state: JobState
    is_planned: bool
    """All its items are there."""
    cursor: str | None
    """Where planning goes on; ``None``: at the beginning."""
    pending: int
    done: int
    skipped: int
    failed: int
    speed: float | None
    """Items per second of late."""
    rests_until: datetime | None
    trouble_code: str | None
    """Why it rests."""
    trouble_text: str | None
    created_at: datetime
    running_since: datetime
    """Since it was last started, resumed or retried."""
    ended_at: datetime | None
    revision: int
    """Goes up with each change."""

    @property
    def finished(self) -> int:
        return self.done + self.skipped + self.failed


class ClaimedItem(NamedTuple):
    number: int
    item: str
    lost: int
    """How many workers have been lost at it."""


@dataclass(frozen=True, slots=True)
class ItemReport:
    """What became of a claimed item."""

    number: int
    state: ItemState
    """``PENDING``: it is tried again."""
    code: str | None = None
    text: str | None = None
    """What went wrong."""
    rest_seconds: float | None = None
    """For how long one that is tried again is left alone."""


@dataclass(frozen=True, slots=True)
class JobItem:
    number: int
    item: str
    state: ItemState
    begun: int
    """How often work on it was begun."""
    code: str | None
    text: str | None
    rests_until: datetime | None
    changed_at: datetime


class Jobs(Protocol):
    def add_job(self, new: NewJob) -> tuple[JobRow, bool]:
        """Start a job, unless there is one of that id, or an equal one is unfinished. Returns that one or the new one,
        and whether it is new."""

    def find_job(self, tenant: TenantId, job: JobId) -> JobRow | None:
        """Return a job; ``None``: the tenant has no such job."""

    def list_jobs(
        self, tenant: TenantId, only: JobFilter, *, after: JobPlace | None = None, limit: int = 100
    ) -> list[JobRow]:
        """Return jobs, the newest first, those behind ``after``."""

    def changed_jobs(self, seen: Sequence[SeenJob]) -> list[int]:
        """Return the indexes of those that have changed since, or are gone."""

    def jobs_at_work(self, kinds: Collection[str], *, within_seconds: float = 0, limit: int = 100) -> list[JobRow]:
        """Return jobs, of every tenant, that a worker can do something for now, the oldest first.

        Args:
            within_seconds: also those for which it can by then, unless what is held is prolonged.
        """

    def plan_items(
        self, tenant: TenantId, job: JobId, seen: str | None, items: Sequence[str], cursor: str | None
    ) -> JobRow | None:
        """Add items, if planning still is at ``seen``. A job that then has nothing to do is done.

        Args:
            cursor: where planning goes on; ``None``: these were the last.

        Returns:
            The job as it is now; ``None``: it is gone.
        """

    def claim_items(self, tenant: TenantId, job: JobId, lease: str, *, seconds: float, limit: int) -> list[ClaimedItem]:
        """Claim items of a running job that nobody holds, in order, those at rest last.

        An item at which ``SUSPECT_AFTER`` workers were lost is claimed alone, when there is no other.

        Args:
            lease: an id of the caller's own, new for each call.
            seconds: until others may claim the same items.
            limit: so many at most, and no more than the job's rate allows.
        """

    def extend_items(self, tenant: TenantId, job: JobId, lease: str, *, seconds: float) -> int:
        """Prolong a claim. Returns how many items still are the caller's."""

    def report_items(self, tenant: TenantId, job: JobId, lease: str, reports: Sequence[ItemReport]) -> JobRow | None:
        """Write down what became of claimed items. With the last one the job ends.

        Returns the job as it is now; ``None``: it is gone.
        """

    def rest_job(self, tenant: TenantId, job: JobId, *, seconds: float, code: str, text: str | None) -> None:
        """Leave a job alone for a while, and say why."""

    def is_under_way(self, tenant: TenantId, job: JobId) -> bool:
        """Tell whether somebody holds an item."""

    def move_job(self, tenant: TenantId, job: JobId, to: JobState) -> JobRow | None:
        """Bring a job into a state, if it is in one that it may come from (``domain.job.COMES_FROM``).

        Returns the job as it is now; ``None``: it is gone.
        """

    def retry_job(self, tenant: TenantId, job: JobId, *, rate: float | None = None) -> JobRow | None:
        """Have what has failed, and what rests, tried again at once; a job that had failed runs again.

        Args:
            rate: its rate from now on; ``None``: it keeps the one that it has.

        A cancelled job stays as it is. Returns the job as it is now; ``None``: it is gone.

        Raises:
            AlreadyExists: an equal job is unfinished.
        """

    def job_items(
        self,
        tenant: TenantId,
        job: JobId,
        *,
        states: Collection[ItemState] | None = None,
        only_troubled: bool = False,
        after: int = 0,
        limit: int = 100,
    ) -> list[JobItem]:
        """Return items by number, those after ``after``. ``only_troubled``: those with an error."""

    def forget_jobs(self, ended_for_seconds: float, *, limit: int = 100) -> int:
        """Remove jobs, with their items, that ended that long ago. Returns how many."""


def same_work() -> AlreadyExists:
    """Return the error for a job that is to run again while an equal one is unfinished."""
    return AlreadyExists("another job does the same work, and is not over", hint="wait for its end: manifold jobs list")
