"""Works on jobs, slice by slice. Any number of workers may, in any processes.

Order of effects: items are claimed, worked on, and reported together; a report counts them, and the last one ends the
job. Killed in between, the claim runs out, and whoever comes next does the same items again. While a slice is worked
on, its claim is prolonged by a thread of its own, however long an item takes.

What is away (a key provider, the store) is no failure of an item: it rests, and is tried again. Where everything of a
slice met that, the whole job rests. Whoever has a worker run may have it end in the middle of an item, by
``domain.patience.wanted_while``: such an item is free for others at once.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from manifold_common.domain.job import GIVEN_UP_AFTER, ItemState, JobState
from manifold_common.domain.panic import panics_as_errors
from manifold_common.errors import (
    Abandoned,
    ConfigError,
    ErrorKind,
    InternalError,
    InvalidInput,
    ManifoldError,
    WorkerLost,
    open_text,
)
from manifold_common.ports.catalog import ClaimedItem, ItemReport, JobRow
from manifold_common.services.context import Context
from manifold_common.services.jobs.kind import JobKind, NotForHere

_log = logging.getLogger(__name__)

LEASE_SECONDS: Final = 60.0
REST_SECONDS: Final = 15.0
"""For what met something that is away."""
_JOBS_AT_ONCE = 20
_MAX_TEXT = 2000
_LOOK_SECONDS = 0.3

MakeKind: TypeAlias = Callable[[JobRow], JobKind]
"""Raises ManifoldError: the job's parameters cannot be used. NotForHere."""
Stop: TypeAlias = Callable[[], bool]


def never() -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Step:
    """What a worker has done for a job in one go."""

    job: JobRow | None
    """As it is afterwards; ``None``: it is gone."""
    finished: int = 0
    """Items that came to an end."""
    reports: Sequence[ItemReport] = ()
    """What became of each item that was worked on."""
    moved: bool = True
    """Something was done, so that there may be more to do at once."""


class JobWorker:
    def __init__(
        self, context: Context, kinds: Mapping[str, MakeKind], *, lease_seconds: float = LEASE_SECONDS
    ) -> None:
        self._context = context
        self._kinds = kinds
        self._lease_seconds = lease_seconds

    def run(
        self,
        kinds: Collection[str],
        *,
        stop: Stop = never,
        patience_seconds: float = 0,
        heed: Callable[[str, Step], None] = lambda kind, step: None,  # noqa: ARG005
    ) -> int:
        """Work on what jobs of these kinds have to do now, in turns, until there is nothing or ``stop`` says so.

        Args:
            patience_seconds: wait for what can be done within so many, such as what a job's rate puts off.
            heed: called after each step, with the kind of its job.

        Returns how many items came to an end. Raises CatalogUnavailable.
        """
        finished = 0
        while not stop():
            steps = []
            for job in self.at_work(kinds, limit=_JOBS_AT_ONCE):
                if stop():
                    break
                steps.append(self._step_alone(job, stop))
                heed(job.kind, steps[-1])
            finished += sum(step.finished for step in steps)
            if not any(step.moved for step in steps):
                if not patience_seconds or not self.has_work(kinds, within_seconds=patience_seconds):
                    break
                self._context.clock.sleep(_LOOK_SECONDS)
        return finished

    def at_work(self, kinds: Collection[str], *, within_seconds: float = 0, limit: int) -> list[JobRow]:
        """Return jobs, the oldest first, that there is something to do for here, however many are left to others.

        Raises CatalogUnavailable.
        """
        asked = limit
        while True:
            found = self._context.catalog.jobs_at_work(kinds, within_seconds=within_seconds, limit=asked)
            ours = list(filter(self._is_for_here, found))
            if len(ours) >= limit or len(found) < asked:
                return ours[:limit]
            asked *= 2

    def has_work(self, kinds: Collection[str], *, within_seconds: float) -> bool:
        """Tell whether there is something to do here for jobs of these kinds by then. Raises CatalogUnavailable."""
        return bool(self.at_work(kinds, within_seconds=within_seconds, limit=1))

    def see_through(
        self,
        job: JobRow,
        *,
        stop: Stop = never,
        report: Callable[[], None] = lambda: None,
        changed: Callable[[JobRow], None] | None = None,
    ) -> Step:
        """Work on one job until it is over, nothing of it can be done for now, or ``stop`` says so.

        What other workers hold is waited for, and so is what the job's rate puts off.

        Args:
            report: called after each item that came to an end.
            changed: called with the job as it is after each step.

        Raises:
            CatalogUnavailable. ManifoldError: by its settings this process has to leave the job to others.
        """
        catalog, clock = self._context.catalog, self._context.clock
        finished, moved_at, was_idle = 0, clock.monotonic(), False
        now: JobRow | None = job
        while now is not None and now.state is JobState.RUNNING and not stop():
            try:
                before, step = now, self.step(now, stop=stop, report=report)
            except NotForHere as left:
                raise left.reason from None
            finished, now = finished + step.finished, step.job
            is_moving, is_idle = step.moved, False
            if step.job is not None and not step.moved:
                is_held = catalog.is_under_way(job.tenant, job.job)
                now = catalog.find_job(job.tenant, job.job)
                is_moving = is_held or (now is not None and now.finished != before.finished)
                is_changed = now is None or now.revision != step.job.revision  # by another one, after this step
                is_idle = not (is_moving or is_changed) and clock.monotonic() - moved_at >= _pause_seconds(job)
                if is_idle and was_idle:
                    break
                if not (is_idle or is_changed):
                    clock.sleep(_LOOK_SECONDS)
            was_idle = is_idle  # once more: what others held may have become free before that was looked for
            if is_moving:
                moved_at = clock.monotonic()
            if now is not None and changed is not None:
                changed(now)
        return Step(now, finished, moved=finished > 0)

    def step(self, job: JobRow, *, stop: Stop = never, report: Callable[[], None] = lambda: None) -> Step:
        """Work on one slice of a job, or plan its next items.

        Args:
            report: called after each item that came to an end.

        Raises CatalogUnavailable. NotForHere.
        """
        try:
            with _faults_as_errors(job):
                kind = self._make(job)
        except ManifoldError as error:
            return self._rest(job, error, is_open=True)
        lease = self._context.new_id()
        claimed = self._context.catalog.claim_items(
            job.tenant, job.job, lease, seconds=self._lease_seconds, limit=kind.at_once
        )
        if claimed:
            return self._work(job, kind, lease, claimed, stop, report)
        if job.is_planned or job.state is not JobState.RUNNING:
            return Step(job, moved=False)
        return self._plan(job, kind)

    def _step_alone(self, job: JobRow, stop: Stop) -> Step:
        """As ``step``. A job whose row is not as anybody of ours writes it holds up no other: it rests."""
        try:
            with _faults_as_errors(job):
                return self.step(job, stop=stop)
        except NotForHere:
            return Step(job, moved=False)
        except (InternalError, InvalidInput) as error:  # what else the catalog raises, it would raise of every job
            return self._rest(job, error)

    def _is_for_here(self, job: JobRow) -> bool:
        try:
            with _faults_as_errors(job):
                self._make(job)
        except NotForHere:
            return False
        except ManifoldError:
            pass  # said when its turn comes
        return True

    def _make(self, job: JobRow) -> JobKind:
        if job.kind not in self._kinds:
            raise ConfigError(f"this release has no kind of job {job.kind!r}", hint="a newer one may have started it")
        return self._kinds[job.kind](job)

    def _plan(self, job: JobRow, kind: JobKind) -> Step:
        try:
            with _faults_as_errors(job):
                plan = kind.plan(job.cursor)
        except ManifoldError as error:
            return self._rest(job, error, is_open=kind.is_open)
        planned = self._context.catalog.plan_items(job.tenant, job.job, job.cursor, plan.items, plan.cursor)
        self._tell(planned)
        return Step(planned, moved=planned is not None and planned.revision != job.revision)

    def _work(
        self,
        job: JobRow,
        kind: JobKind,
        lease: str,
        claimed: Sequence[ClaimedItem],
        stop: Stop,
        report: Callable[[], None],
    ) -> Step:
        reports: list[ItemReport] = []
        away: ManifoldError | None = None
        try:
            with self._held(job, lease):
                away = self._each(job, kind, claimed, reports, stop, report)
        finally:  # also when it is interrupted: nobody has to wait for the end of the claim
            seen = {one.number for one in reports}
            released = [ItemReport(one.number, ItemState.PENDING) for one in claimed if one.number not in seen]
            after = self._context.catalog.report_items(job.tenant, job.job, lease, [*reports, *released])
        self._tell(after)
        finished = sum(one.state is not ItemState.PENDING for one in reports)
        if away is not None and not finished:
            return replace(self._rest(job, away, is_open=kind.is_open), reports=reports)
        return Step(after, finished, reports, moved=finished > 0)

    def _each(
        self,
        job: JobRow,
        kind: JobKind,
        claimed: Sequence[ClaimedItem],
        reports: list[ItemReport],
        stop: Stop,
        report: Callable[[], None],
    ) -> ManifoldError | None:
        """Work on each item. Returns what was away, if something was."""
        away: ManifoldError | None = None
        tried = []
        for one in claimed:
            if one.lost >= GIVEN_UP_AFTER:
                lost = _worker_lost(one.lost)
                reports.append(ItemReport(one.number, ItemState.FAILED, lost.code, lost.message))
            else:
                tried.append(one)
        try:
            with _faults_as_errors(job):
                work = kind.begin([one.item for one in tried])
        except ManifoldError as error:
            return error
        for one in tried:
            if stop():
                break
            try:
                with _faults_as_errors(job):
                    done = ItemReport(one.number, work(one.item))
            except Abandoned:
                break
            except ManifoldError as error:
                is_away = error.kind is ErrorKind.UNAVAILABLE
                away = error if is_away else away
                state, rest = (ItemState.PENDING, REST_SECONDS) if is_away else (ItemState.FAILED, None)
                done = ItemReport(one.number, state, error.code, _kept_text(error, is_open=kind.is_open), rest)
                _log.warning("job %s: item %d %s: %s", job.job, one.number, _became(state), error.code)
            reports.append(done)
            if done.state is not ItemState.PENDING:
                report()
        return away

    def _rest(self, job: JobRow, error: ManifoldError, *, is_open: bool = False) -> Step:
        _log.warning("job %s rests for %.0f s: %s", job.job, REST_SECONDS, error.code)
        catalog, text = self._context.catalog, _kept_text(error, is_open=is_open)
        catalog.rest_job(job.tenant, job.job, seconds=REST_SECONDS, code=error.code, text=text)
        return Step(catalog.find_job(job.tenant, job.job), moved=False)

    def _tell(self, job: JobRow | None) -> None:
        if job is not None and job.ended_at is not None:
            self._context.nudge.give()

    @contextmanager
    def _held(self, job: JobRow, lease: str) -> Iterator[None]:
        """Prolong the claim for as long as the work within takes."""
        over = threading.Event()

        def prolong() -> None:
            while not over.wait(self._lease_seconds / 3):
                with suppress(ManifoldError):  # it may work the next time; else the claim runs out
                    self._context.catalog.extend_items(job.tenant, job.job, lease, seconds=self._lease_seconds)

        thread = threading.Thread(target=prolong, name="manifold-job-lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


@contextmanager
def _faults_as_errors(job: JobRow) -> Iterator[None]:
    """Let whoever works on jobs meet nothing but errors of ours: a fault in one kind of work holds up no other job.

    Raises:
        InternalError: in place of what nobody foresaw, which is logged.
    """
    try:
        with panics_as_errors():
            yield
    except (ManifoldError, NotForHere):
        raise
    except Exception as error:
        _log.exception("job %s (%s) met a fault", job.job, job.kind)
        raise InternalError(f"an unforeseen {type(error).__name__}", hint="the log has where it was") from None


def _pause_seconds(job: JobRow) -> float:
    """Return how long a job's rate keeps everybody from beginning more, at most."""
    return 0.0 if job.rate is None else math.ceil(job.rate) / job.rate


def _kept_text(error: ManifoldError, *, is_open: bool) -> str | None:
    """Return what the catalog keeps of an error's words: such as it can hold, and of ``is_open`` work all of them."""
    text = str(error) if is_open else open_text(error)
    if text is None:
        return None
    return text.replace("\0", "?").encode("utf-8", "replace").decode()[:_MAX_TEXT]


def _became(state: ItemState) -> str:
    return "is tried again" if state is ItemState.PENDING else "failed"


def _worker_lost(count: int) -> WorkerLost:
    return WorkerLost(f"{count} workers in a row were lost at it: killed, out of memory, or cut off from the database")
