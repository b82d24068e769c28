"""Jobs that have waited for long for something that is away: an operator should know, since they say nothing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.domain.job import ItemState, JobFilter, JobState
from manifold_common.domain.patience import hurried
from manifold_common.errors import ManifoldError
from manifold_common.ports.catalog import JobRow
from manifold_common.services.context import Context
from manifold_common.shapes.health import Dependency, State

_LONG = timedelta(hours=1)
_TRIES = 20
"""Of an item, after which it is no trouble of this moment."""
_JOBS = 20
_ITEMS = 100
_SECONDS = 1.0
"""Without an answer of the catalog by then, nothing is said."""


def waiting_jobs(context: Context, parts: Sequence[Dependency]) -> list[str]:
    """Return a sentence for each, of the newest jobs. Never raises.

    Args:
        parts: as they were found just now: a catalog that is away is not asked.
    """
    if any(part.name == "postgres" and part.state is State.FAILED for part in parts):
        return []
    try:
        with hurried(_SECONDS):
            running = context.catalog.list_jobs(
                LOCAL_PRINCIPAL.tenant, JobFilter([JobState.RUNNING]), after=None, limit=_JOBS
            )
            waited_since = context.clock.now() - _LONG
            found = [(row, _code_of(context, row)) for row in running if row.running_since <= waited_since]
    except ManifoldError:
        return []
    return [
        f"job {row.job} ({row.kind}) has waited for long for something that is away ({code}): 'manifold jobs show "
        f"{row.job}' says for what"
        for row, code in found
        if code is not None
    ]


def _code_of(context: Context, row: JobRow) -> str | None:
    """Return the error for which a job waits; ``None``: it does not, or not for long."""
    if not row.is_planned:
        return row.trouble_code
    items = context.catalog.job_items(row.tenant, row.job, states=[ItemState.PENDING], only_troubled=True, limit=_ITEMS)
    return next((item.code for item in items if item.begun >= _TRIES), None)
