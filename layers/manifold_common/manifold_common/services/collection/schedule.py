"""A collection of everything that is started when its time has come."""

from __future__ import annotations

from datetime import datetime, timedelta

from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.domain.job import JobFilter, JobPlace
from manifold_common.ports.catalog.collection import Collection
from manifold_common.ports.clock import Clock
from manifold_common.services.jobs.due import start_due
from manifold_common.services.jobs.jobs import Jobs

KIND = "collect"
_PAGE = 100


class CollectionSchedule:
    """The table of jobs says when the last one was started, so that of any number of nodes one starts the next."""

    def __init__(self, catalog: Collection, jobs: Jobs, clock: Clock, hours: float) -> None:
        """Args: ``hours``: from the start of one to that of the next; 0: never."""
        self._catalog = catalog
        self._jobs = jobs
        self._clock = clock
        self._pause = timedelta(hours=hours)

    def keep(self) -> int:
        """Start one if none was started for long enough, and none that is under way goes on. Returns how many were
        started.

        Raises CatalogUnavailable.
        """
        due_at = self._clock.now() - self._pause
        if not self._pause or self._was_started_since(due_at):
            return 0
        if not self._catalog.fork_families(limit=1):
            return 0  # there never was a project
        return int(start_due(self._jobs, KIND, {}, due_at=due_at).is_new)

    def _was_started_since(self, moment: datetime) -> bool:
        """Tell whether a collection of everything was; one of a single project does not count."""
        after: JobPlace | None = None
        while True:
            page = self._jobs.page(LOCAL_PRINCIPAL, JobFilter(kind=KIND), after=after, limit=_PAGE)
            young = [job for job in page if job.created_at > moment]
            if any(not job.params for job in young):
                return True
            if len(young) < _PAGE:
                return False
            after = JobPlace(page[-1].created_at, page[-1].id)
