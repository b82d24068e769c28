"""Jobs as people and programs see them: started, looked at, held up and gone on with."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

import msgspec

from manifold_common.domain.access import Principal
from manifold_common.domain.job import COMES_FROM, ItemState, JobFilter, JobPlace, JobState, SeenJob
from manifold_common.errors import AlreadyExists, InvalidInput, JobEnded, NotFound
from manifold_common.ids import JobId, ProjectId, TenantId
from manifold_common.nearest import did_you_mean, nearest
from manifold_common.ports.catalog import JobRow, NewJob
from manifold_common.services.context import Context
from manifold_common.services.jobs.answers import item_answer, job_answer
from manifold_common.services.projects.projects import Projects
from manifold_common.shapes.decode import Reading
from manifold_common.shapes.jobs import Job, JobItem, JobParams

_PAGE = 100
_FORGOTTEN_AT_ONCE = 10
"""Jobs, each of which may have many items."""
_TROUBLES = 20
_LEAST_KEPT = timedelta(days=1)
"""What is begun once a day is known by its last job."""
_MAX_PARAMS = 2000
"""An index holds them."""
_LIST = "manifold jobs list"
_READING = Reading("the job", "docs/jobs.md has the parameters of each kind", at="params")


class Begun(NamedTuple):
    job: Job
    is_new: bool
    """``False``: an equal one was under way."""


class Offer(NamedTuple):
    """A kind of job that may be started."""

    params: type[JobParams]
    check: Callable[[Any], None]
    """Raises ManifoldError: a job with these parameters could never do anything."""


class Jobs:
    def __init__(
        self,
        context: Context,
        projects: Projects,
        kinds: Mapping[str, Offer],
        *,
        kept_days: float,
        wake: Callable[[str], None] = lambda kind: None,  # noqa: ARG005
    ) -> None:
        """
        Args:
            kinds: what may be started, by name.
            kept_days: how long jobs that are over are known, a day at least.
            wake: called with a kind when there is something to do for a job of it. Never raises.
        """
        self._context = context
        self._projects = projects
        self._kinds = kinds
        self._kept = max(timedelta(days=kept_days), _LEAST_KEPT)
        self._wake = wake

    def start(
        self,
        principal: Principal,
        kind: str,
        params: Mapping[str, object],
        *,
        rate: float | None = None,
        only_new: bool = False,
        job: JobId | None = None,
    ) -> Begun:
        """Start a job, or join an equal one that is not over: what rests or has failed of it is then tried at once.

        Args:
            params: as ``JobParams`` of the kind.
            rate: items per second at most, also of an equal one, which else keeps its own.
            only_new: join none.
            job: its id. Where there is one of that id, whatever its state, that is left as it is, and told.

        Raises:
            InvalidInput: there is no such kind, it has other parameters, or these can do nothing here. NotFound: the
                project. AlreadyExists: an equal one is not over, and it was to be a new one.
        """
        offer = self._kinds.get(kind)
        if offer is None:
            raise InvalidInput(f"there is no kind of job {kind[:64]!r}", hint=self._hint(kind), field="kind")
        wanted = _READING.value(offer.params, dict(params))
        project: ProjectId | None = None
        if wanted.project is not None:
            if "\0" in wanted.project:
                raise _READING.refusal("project", "it has a NUL character, which no name or id has")
            _, project = self._projects.resolve_even_deleted(principal, wanted.project)
            wanted = msgspec.structs.replace(wanted, project=project)
        offer.check(wanted)
        text = msgspec.json.encode(wanted).decode()
        if len(text) > _MAX_PARAMS:
            raise _READING.refusal("", f"it has more than {_MAX_PARAMS} characters")
        new = NewJob(principal.tenant, job or JobId(self._context.new_id()), kind, text, principal.user, project, rate)
        row, is_new = self._context.catalog.add_job(new)
        if not is_new and only_new:
            raise AlreadyExists(f"job {row.job} does the same, and is not over", hint=_LIST, job=row.job)
        if not is_new and row.job != job:
            row = self._context.catalog.retry_job(row.tenant, row.job, rate=rate) or row
        self._announce(row)
        return Begun(self._told(row), is_new)

    def get(self, principal: Principal, job: JobId) -> Job:
        """Raises NotFound."""
        return self._told(self.row(principal.tenant, job))

    def row(self, tenant: TenantId, job: JobId) -> JobRow:
        """Raises NotFound."""
        found = self._context.catalog.find_job(tenant, job)
        if found is None:
            raise _no_job(job)
        return found

    def page(
        self, principal: Principal, only: JobFilter, *, after: JobPlace | None = None, limit: int = _PAGE
    ) -> list[Job]:
        """Return jobs of the caller's tenant, the newest first, without what is wrong with their items."""
        rows = self._context.catalog.list_jobs(principal.tenant, only, after=after, limit=limit)
        now = self._context.clock.now()
        return [job_answer(row, now) for row in rows]

    def items(
        self,
        principal: Principal,
        job: JobId,
        *,
        states: Collection[ItemState] | None = None,
        after: int = 0,
        limit: int = _PAGE,
    ) -> list[JobItem]:
        """Return items by number, those after ``after``. Raises NotFound."""
        self.row(principal.tenant, job)
        found = self._context.catalog.job_items(principal.tenant, job, states=states, after=after, limit=limit)
        return list(map(item_answer, found))

    def troubles(self, principal: Principal, job: JobId) -> Iterator[JobItem]:
        """Yield all items that have failed, or rest, by number."""
        after = 0
        while True:
            found = self._context.catalog.job_items(principal.tenant, job, only_troubled=True, after=after, limit=_PAGE)
            yield from map(item_answer, found)
            if len(found) < _PAGE:
                return
            after = found[-1].number

    def changed(self, seen: Sequence[SeenJob]) -> list[int]:
        """Return the indexes of those that have changed since, or are gone, in one look."""
        return self._context.catalog.changed_jobs(seen)

    def pause(self, principal: Principal, job: JobId) -> Job:
        """Have nothing more of it begun. Raises NotFound. JobEnded."""
        return self._move(principal, job, JobState.PAUSED)

    def resume(self, principal: Principal, job: JobId) -> Job:
        """Have a paused one go on. Raises NotFound. JobEnded."""
        return self._move(principal, job, JobState.RUNNING)

    def cancel(self, principal: Principal, job: JobId) -> Job:
        """End it: what is done stays so, and what was not begun never will be. Raises NotFound. JobEnded."""
        return self._move(principal, job, JobState.CANCELLED)

    def retry(self, principal: Principal, job: JobId) -> Job:
        """Have what failed, and what rests, tried again at once.

        Raises:
            NotFound. JobEnded: it is done or cancelled. AlreadyExists: an equal one is under way.
        """
        row = self._context.catalog.retry_job(principal.tenant, job)
        self._announce(row)
        if row is None:
            raise _no_job(job)
        if row.state.is_over:
            raise JobEnded(
                f"job {job} is {row.state.value}: there is nothing to be tried again",
                hint="start a new one" if row.state is JobState.CANCELLED else None,
                job=job,
                state=row.state.value,
            )
        return self._told(row)

    def forget(self, *, stop: Callable[[], bool] = lambda: False) -> int:
        """Remove jobs whose end is long ago; return how many. ``stop`` is asked before each few."""
        forgotten = 0
        while not stop():
            count = self._context.catalog.forget_jobs(self._kept.total_seconds(), limit=_FORGOTTEN_AT_ONCE)
            forgotten += count
            if count < _FORGOTTEN_AT_ONCE:
                break
        return forgotten

    def _move(self, principal: Principal, job: JobId, to: JobState) -> Job:
        before = self.row(principal.tenant, job)
        row = self._context.catalog.move_job(principal.tenant, job, to)
        self._announce(row)
        if row is None:
            raise _no_job(job)
        if row.state is not to and before.state not in COMES_FROM[to]:
            raise JobEnded(
                f"job {job} is {row.state.value}",
                hint=f"manifold jobs retry {job}" if row.state is JobState.FAILED else None,
                job=job,
                state=row.state.value,
            )
        return self._told(row)

    def _announce(self, row: JobRow | None) -> None:
        """Wake whoever waits for news of a job that was changed, and workers if it has something to do."""
        self._context.nudge.give()
        if row is not None and row.state is JobState.RUNNING:
            self._wake(row.kind)

    def _hint(self, kind: str) -> str:
        return did_you_mean(nearest(kind, self._kinds), f"kinds are {', '.join(self._kinds)}")

    def _told(self, row: JobRow) -> Job:
        troubled = self._context.catalog.job_items(row.tenant, row.job, only_troubled=True, limit=_TROUBLES)
        return job_answer(row, self._context.clock.now(), troubled)


def _no_job(job: JobId) -> NotFound:
    return NotFound(f"there is no job {job}", hint=_LIST)
