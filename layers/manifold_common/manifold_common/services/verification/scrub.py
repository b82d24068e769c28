"""The nightly scrub: a verification of all projects, begun once a day by whichever node comes first.

The list of jobs says when the last one was begun, so nobody has to remember it. A day is one of UTC: the next begins
soon after midnight, however long the last one took. A verification that somebody else has started stands for it if it
reads no smaller a share of all projects, and came to its end, or found nothing but damage.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.domain.job import UNFINISHED, JobFilter, JobPlace, JobState
from manifold_common.errors import CorruptObject, InvalidInput
from manifold_common.services.context import Context
from manifold_common.services.jobs.due import stands_still, start_due
from manifold_common.services.jobs.jobs import Jobs
from manifold_common.services.verification.verify import percentage
from manifold_common.shapes.decode import Reading
from manifold_common.shapes.jobs import Job, VerifyParams

_KIND = "verify"
_YOUNG = timedelta(days=1)
_PAGE = 100
_STORED = Reading("the job", "a newer release may have started it")


class Scrub:
    def __init__(self, context: Context, jobs: Jobs, percent: float) -> None:
        """
        Args:
            percent: of the objects, whose content is read each time; 0: there is no scrub.
        """
        self._context = context
        self._jobs = jobs
        self._percent = percent

    def keep(self) -> int:
        """Begin a scrub if none was today, and nobody else had as much of everything verified today or is at it.
        Returns how many were begun.

        Two processes that do so at once begin one, unless that is over by then. Raises CatalogUnavailable.
        """
        if not self._percent:
            return 0
        now = self._context.clock.now()
        today = now.replace(hour=0, minute=0, second=0, microsecond=0)
        if not self._is_due(now, today):
            return 0
        return int(start_due(self._jobs, _KIND, {"sample": self._percent}, due_at=today).is_new)

    def _is_due(self, now: datetime, today: datetime) -> bool:
        if any(map(self._goes_on, self._each(JobFilter(UNFINISHED, _KIND)))):
            return False
        if any(self._is_scrub(job) or self._stands_for_one(job) for job in self._begun_since(today)):
            return False
        # What was written today is looked at tomorrow; so an installation that was just made does not begin with this.
        return any(now - row.created_at >= _YOUNG for row in self._context.catalog.all_projects(limit=_PAGE))

    def _is_scrub(self, job: Job) -> bool:
        """Tell whether it is what is begun here. One a day is, whatever became of it: who has ended it wants none."""
        return job.params == {"sample": self._percent}

    def _goes_on(self, job: Job) -> bool:
        """Tell whether an unfinished job is at work on what a scrub would do."""
        return self._reads_enough(job) and not stands_still(self._jobs, job)

    def _stands_for_one(self, job: Job) -> bool:
        """Tell whether a job that somebody has started did what a scrub would have done, and came to its end."""
        if not job.state.is_over:
            return self._goes_on(job)
        if not self._reads_enough(job) or job.state is JobState.CANCELLED:
            return False
        return job.state is JobState.DONE or all(
            item.error == CorruptObject.code for item in self._jobs.troubles(LOCAL_PRINCIPAL, job.id)
        )

    def _reads_enough(self, job: Job) -> bool:
        """Tell whether it reads as large a share of all projects as a scrub does."""
        if job.project is not None:
            return False
        try:
            params = _STORED.value(VerifyParams, job.params)
            return percentage(read_data=params.read_data, sample=params.sample) >= self._percent
        except InvalidInput:
            return False

    def _begun_since(self, moment: datetime) -> Iterator[Job]:
        for job in self._each(JobFilter(kind=_KIND)):
            if job.created_at < moment:
                return
            yield job

    def _each(self, wanted: JobFilter) -> Iterator[Job]:
        """Yield jobs, the newest first."""
        after: JobPlace | None = None
        while True:
            page = self._jobs.page(LOCAL_PRINCIPAL, wanted, after=after, limit=_PAGE)
            yield from page
            if len(page) < _PAGE:
                return
            after = JobPlace(page[-1].created_at, page[-1].id)
