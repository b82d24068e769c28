"""Working on jobs in the process of a command, and following those that others work on."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer
from manifold_common.domain.job import JobState
from manifold_common.errors import ErrorKind, JobEnded, ManifoldError, kind_of_code
from msgspec import structs

from manifold_local.cli.begun import say_left
from manifold_local.cli.exit_codes import worst
from manifold_local.cli.job_views import finished, pace_text, progress_text, rests_until

if TYPE_CHECKING:
    from manifold_common.bootstrap import Manifold
    from manifold_common.domain.access import Principal
    from manifold_common.ids import JobId
    from manifold_common.services.jobs.worker import Step
    from manifold_common.shapes.jobs import Job, JobItem

    from manifold_local.cli.call import Call
    from manifold_local.cli.progress import Reached

_LOOK_SECONDS = 0.3
_PATIENCE_SECONDS = 5.0
"""After which it is said why a job stands still."""


def work_on(call: Call, manifold: Manifold, principal: Principal, job: JobId) -> Step:
    """Work on a job until it is over, or nothing of it can be done for now; meanwhile a bar shows how far it is.

    Raises:
        NotFound. JobEnded: it is paused.
    """
    from manifold_common.services.jobs.answers import job_answer

    row = manifold.jobs.row(principal.tenant, job)
    if row.state is JobState.PAUSED:
        resume = call.command("jobs", "resume", job)
        raise JobEnded(f"job {job} is paused", hint=f"to have it go on: {resume}", job=job, state=row.state.value)
    clock = manifold.context.clock
    with _said_how_to_go_on(call, job), call.counting(f"working on {row.kind}") as bar:
        shown = _Shown(call, bar, job_answer(row, clock.now()))

        def changed(now: Job) -> None:
            shown.show(now)
            if shown.stands_still and now.rate is None and not now.state.is_over:
                shown.say_once("waits for what another worker holds: if that one was killed, for a minute")

        return manifold.job_worker.see_through(
            row, report=shown.one_more, changed=lambda row: changed(job_answer(row, clock.now()))
        )


def follow(call: Call, manifold: Manifold, principal: Principal, job: JobId) -> None:
    """Return when a job is over, whoever works on it; meanwhile a bar shows how far it is.

    Raises:
        NotFound: there is none, or it was removed meanwhile.
    """
    from manifold_common.services.jobs.answers import job_answer

    def look() -> Job:
        return job_answer(manifold.jobs.row(principal.tenant, job), manifold.context.clock.now())

    now = look()
    with call.counting(f"following {now.kind}") as bar:
        shown = _Shown(call, bar, now)
        while not now.state.is_over:
            if now.state is JobState.PAUSED:
                shown.say_once(f"it is paused; to have it go on: {call.command('jobs', 'resume', job)}")
            elif shown.stands_still and not manifold.context.catalog.is_under_way(principal.tenant, job):
                work = call.command("jobs", "work", job)
                shown.say_once(f"nobody works on it just now; a running host does, or: {work}")
            time.sleep(_LOOK_SECONDS)
            now = look()
            shown.show(now)


def kinds_met(job: Job, troubles: Iterable[JobItem]) -> set[ErrorKind]:
    """Return the kinds of errors by which a command ends that has worked on a job or waited for its end; none: it is
    done, or nothing is wrong with it.

    Args:
        troubles: all its items that are in trouble.
    """
    if job.state is JobState.DONE:
        return set()
    if job.state in (JobState.CANCELLED, JobState.PAUSED):
        return {ErrorKind.CONFLICT}
    codes = {item.error for item in troubles} | {job.trouble.error if job.trouble is not None else None}
    return {kind_of_code(code) for code in codes if code is not None}


def end_by(met: Collection[ErrorKind]) -> None:
    """Raises typer.Exit: errors were met, of which the worst decides."""
    if met:
        raise typer.Exit(worst(met))


@contextmanager
def _said_how_to_go_on(call: Call, job: JobId) -> Iterator[None]:
    try:
        yield
    except (KeyboardInterrupt, ManifoldError):
        go_on = call.command("jobs", "work", job)
        say_left(f"job {job} is not over; a running host goes on with it\n  to do so here:  {go_on}")
        raise


class _Shown:
    """How far a job is, as the bar has it, and what was said about it."""

    def __init__(self, call: Call, bar: Reached | None, job: Job) -> None:
        self._call = call
        self._bar = bar
        self._job = job
        self._moved_at = time.monotonic()
        self._said: set[str] = set()
        self.show(job)

    @property
    def stands_still(self) -> bool:
        """Nothing has come to an end for a while, and it is not known why."""
        return self._job.trouble is None and time.monotonic() - self._moved_at >= _PATIENCE_SECONDS

    def show(self, job: Job) -> None:
        if finished(job) != finished(self._job) or job.state is not self._job.state:
            self._moved_at = time.monotonic()
        self._job = job
        if self._bar is not None:
            until = None if job.trouble is None else rests_until(job.trouble)
            said = [progress_text(job), f"rests until {until}" if until else pace_text(job)]
            self._bar(finished(job), finished(job) + job.pending, ", ".join(filter(None, said)))

    def one_more(self) -> None:
        """An item has come to an end that is not reported yet."""
        job = self._job
        self.show(structs.replace(job, done=job.done + 1, pending=max(0, job.pending - 1)))

    def say_once(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self._call.note(text)
