"""Jobs, and those that are over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from manifold_common.bootstrap.chores.chore import UPKEEP, Chore, Every, Stop
from manifold_common.bootstrap.jobs import KINDS
from manifold_common.domain.patience import wanted_while

if TYPE_CHECKING:
    from manifold_common.bootstrap.services import Manifold

_LOOK_SECONDS = 2.0


def _look_seconds(manifold: Manifold) -> float:
    return _LOOK_SECONDS if UPKEEP.seconds(manifold) else 0.0


def _work(manifold: Manifold, stop: Stop) -> int:
    with wanted_while(lambda: not stop()):
        return manifold.job_worker.run(list(KINDS), stop=stop)


CHORES = (
    Chore(
        "work_on_jobs",
        "Works on the jobs that are running, until there is nothing to do.",
        Every(f"{_LOOK_SECONDS:.0f} seconds, unless {UPKEEP.said} is 0", _look_seconds),
        None,  # the functions work on jobs of their own kinds
        _work,
        is_long=True,
    ),
    Chore(
        "forget_jobs",
        "Removes jobs that have been over for `projects.maintenance.jobsKeptDays`.",
        UPKEEP,
        "maintenance",
        lambda manifold, stop: manifold.jobs.forget(stop=stop),
    ),
)
