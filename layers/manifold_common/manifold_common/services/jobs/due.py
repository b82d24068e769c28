"""Jobs that the clock starts, of which the next has to come whatever became of the last.

An equal job that goes on is left to do the work, however long that takes. One that stands still is cancelled, and the
next one does the same from the beginning: so one thing that is away for good holds up no other, and there never is more
than one of them. What is away for a short while is waited for until the next one's time.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime

from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.domain.job import ItemState, JobState
from manifold_common.errors import AlreadyExists, JobEnded, NotFound
from manifold_common.services.jobs.jobs import Begun, Jobs
from manifold_common.shapes.jobs import Job

_log = logging.getLogger(__name__)

_PAGE = 100


def start_due(jobs: Jobs, kind: str, params: Mapping[str, object], *, due_at: datetime) -> Begun:
    """Start a job whose time has come, or leave it to an equal one that is not over.

    Args:
        due_at: an equal one that was started after that is left even if it stands still.

    Of several processes that do so at once, one starts it. Raises CatalogUnavailable.
    """
    while True:
        try:
            return jobs.start(LOCAL_PRINCIPAL, kind, params, only_new=True)
        except AlreadyExists as error:
            with suppress(NotFound, JobEnded):  # it has ended meanwhile, or another process was faster
                equal = jobs.get(LOCAL_PRINCIPAL, error.details["job"])
                if equal.created_at > due_at or not stands_still(jobs, equal):
                    return Begun(equal, is_new=False)
                jobs.cancel(LOCAL_PRINCIPAL, equal.id)
                _log.warning("job %s (%s) stands still: it is cancelled for the next one", equal.id, kind)


def stands_still(jobs: Jobs, job: Job) -> bool:
    """Tell whether nothing of an unfinished job goes on: it is paused, or all that is left of it waits for something
    that is away. Raises CatalogUnavailable. NotFound: it is gone."""
    if job.state is JobState.PAUSED:
        return True
    if not job.planned:
        return job.trouble is not None
    after = 0
    while True:
        left = jobs.items(LOCAL_PRINCIPAL, job.id, states=[ItemState.PENDING], after=after, limit=_PAGE)
        if any(item.error is None for item in left):
            return False
        if len(left) < _PAGE:
            return True
        after = left[-1].number
