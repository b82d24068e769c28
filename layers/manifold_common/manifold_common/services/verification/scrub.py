"""The nightly scrub: a verification of all projects, begun once a day by whichever node comes first.

The list of jobs says when the last one was begun, so nobody has to remember it. A day is one of UTC: the next begins
soon after midnight, however long the last one took.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta

from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.domain.job import UNFINISHED, JobFilter, JobPlace
from manifold_common.errors import AlreadyExists
from manifold_common.services.context import Context
from manifold_common.services.jobs.jobs import Jobs
from manifold_common.shapes.jobs import Job

_KIND = "verify"
_YOUNG = timedelta(days=1)
_PAGE = 100


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
        """Begin a scrub if none of everything was begun today or is under way. Returns how many were begun.

        Two processes that do so at once begin one, unless that is over by then. Raises CatalogUnavailable.
        """
        if not self._percent or not self._is_due():
            return 0
        with suppress(AlreadyExists):  # another process was faster
            self._jobs.start(LOCAL_PRINCIPAL, _KIND, {"sample": self._percent}, only_new=True)
            return 1
        return 0

    def _is_due(self) -> bool:
        now = self._context.clock.now()
        today = now.replace(hour=0, minute=0, second=0, microsecond=0)
        under_way = self._each(JobFilter(UNFINISHED, _KIND))
        if any(job.project is None for job in (*under_way, *self._begun_since(today))):
            return False
        # What was written today is looked at tomorrow; so an installation that was just made does not begin with this.
        return any(now - row.created_at >= _YOUNG for row in self._context.catalog.all_projects(limit=_PAGE))

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
