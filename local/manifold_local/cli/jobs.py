"""Jobs: ``manifold jobs list``, ``show``, ``watch``, ``result``, ``work``, ``pause``, ``resume``, ``cancel`` and
``retry``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from manifold_common.domain.job import ItemState, JobFilter, JobPlace, JobState
from manifold_common.domain.wording import plural
from manifold_common.errors import AlreadyExists, ErrorKind, InvalidInput, NotFound
from manifold_common.ids import JobId, parse_job_id

from manifold_local.cli.begun import say_left
from manifold_local.cli.call import Call, command
from manifold_local.cli.completion import complete_job, complete_kind, complete_project
from manifold_local.cli.job_views import (
    became,
    error_text,
    print_job,
    print_result,
    print_state,
    progress_text,
    rests_until,
)
from manifold_local.cli.output import human_time, print_line, print_table, safe
from manifold_local.cli.working import end_by, follow, kinds_met, work_on

if TYPE_CHECKING:
    from manifold_common.bootstrap import Manifold
    from manifold_common.domain.access import Principal
    from manifold_common.services.jobs.jobs import Jobs
    from manifold_common.shapes.jobs import Job, JobItem

_SHOWN = 20
_PAGE = 500
_ID_CHARS = 26
_LEAST_CHARS = 4
"""Of the beginning of an id."""
_MOST_LISTED = 10
"""Of ids that begin alike."""

JobArgument = Annotated[
    str,
    typer.Argument(
        metavar="JOB", autocompletion=complete_job, help="Id of a job, or its beginning: 4 characters or more."
    ),
]


def list_jobs(
    call: Call,
    state: Annotated[
        list[JobState] | None, typer.Option("--state", help="Only those in this state, or in one of these.")
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option("--kind", metavar="KIND", autocompletion=complete_kind, help="Only those of this kind."),
    ] = None,
    project: Annotated[
        str | None,
        typer.Option(
            "--project",
            "-p",
            metavar="PROJECT",
            autocompletion=complete_project,
            help="Only those about this project: name or id; of a deleted one, its id.",
        ),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help=f"More than the newest {_SHOWN}, as --json has them.")] = False,
) -> None:
    """List jobs, the newest first.

    Those that are over are listed for a time (projects.maintenance.jobsKeptDays).
    """
    from manifold_common.shapes.jobs import JobPage

    with call.manifold() as manifold:
        only = call.resolve(manifold, project)
        wanted = JobFilter(state or None, kind, None if only is None else only[1])
        most = None if every or call.json else _SHOWN + 1
        found = list(islice(_each(manifold, call.principal, wanted), most))

    def say() -> None:
        shown = found if every else found[:_SHOWN]
        if not shown:
            call.note("there are no jobs" if wanted == JobFilter() else "there are no such jobs")
            return
        _print_table(shown)
        if len(shown) < len(found):
            call.note("there are more: --all lists them")

    call.answer(JobPage(items=found, next_cursor=None), say)


def show(
    call: Call,
    job: JobArgument,
    items: Annotated[bool, typer.Option("--items", help="List its items, each with what became of it.")] = False,
    state: Annotated[
        list[ItemState] | None, typer.Option("--state", help="With --items: only those in this state.")
    ] = None,
) -> None:
    """Show how a job stands: how far it is, why it rests, and which items are in trouble."""
    from manifold_common.shapes.jobs import JobItemPage

    if state and not items:
        raise InvalidInput("--state is about items", hint="add --items")
    with call.manifold() as manifold:
        known = manifold.jobs.get(call.principal, _find(manifold, call.principal, job))
        if items:
            found = list(_each_item(manifold, call.principal, known.id, state))
            call.answer(JobItemPage(items=found, next_cursor=None), lambda: _print_items(call, found))
            return
    _answer(call, known)


def watch(call: Call, job: JobArgument) -> None:
    """Follow a job until it is over, whoever works on it.

    Ends with 0 when it is done. Interrupted, the job goes on.
    """
    with call.manifold() as manifold:
        meant = _find(manifold, call.principal, job)
        try:
            follow(call, manifold, call.principal, meant)
        except KeyboardInterrupt:
            say_left(f"job {meant} stays as it is")
            raise
        known = manifold.jobs.get(call.principal, meant)
        met = kinds_met(known, manifold.jobs.troubles(call.principal, meant))
    _answer(call, known)
    end_by(met)


def result(
    call: Call,
    job: JobArgument,
    save: Annotated[
        Path | None, typer.Option("--save", metavar="FILE", help="Write the archive that it has made to a new file.")
    ] = None,
) -> None:
    """Show what came of a job that restores, imports, or makes an archive.

    That is kept for a time (projects.resumableUploads.keptDays).
    """
    with call.manifold() as manifold:
        known = _find(manifold, call.principal, job)
        found = manifold.deferred.result(call.principal, known)
        if save is not None:
            _save(save, manifold.deferred.content(call.principal, known).content.read())
    call.answer(found, lambda: print_result(found))
    if found.archive is not None and save is None:
        call.note(f"{call.command('jobs', 'result', found.job, '--save', 'FILE')}   writes it to a file")


def _save(file: Path, pieces: Iterator[bytes | bytearray | memoryview]) -> None:
    """Write a new file, or none."""
    try:
        with file.open("xb") as out:
            try:
                for piece in pieces:
                    out.write(piece)
            except BaseException:
                file.unlink()
                raise
    except FileExistsError:
        raise AlreadyExists(f"{file} is there already", hint="name a new file") from None
    except OSError as error:
        raise InvalidInput(f"{file} cannot be written: {error.strerror}", hint="name another file") from None


def work(
    call: Call,
    job: Annotated[
        str | None,
        typer.Argument(
            metavar="JOB", autocompletion=complete_job, help="Id of a job, or its beginning; all by default."
        ),
    ] = None,
) -> None:
    """Work on a job, or on all that are running, until nothing can be done for now.

    This is for where no host runs: a host works on jobs by itself. Several may work on the same job. Interrupted
    anywhere, it can be gone on with.
    """
    from manifold_local.cli.documents import JobsWorked

    known: list[Job] = []
    count, met = 0, set[ErrorKind]()
    with call.manifold() as manifold:
        meant = _at_work(manifold) if job is None else [(call.principal, _find(manifold, call.principal, job))]
        for principal, one in meant:
            count += work_on(call, manifold, principal, one).finished
            known.append(manifold.jobs.get(principal, one))
            met |= kinds_met(known[-1], manifold.jobs.troubles(principal, one))

    def say() -> None:
        for one in known:
            print_job(one)
        print_line(f"{plural(count, 'item')} brought to an end" if known else "there is nothing to do for now")

    call.answer(JobsWorked(finished=count, jobs=known), say)
    end_by(met)


def pause(call: Call, job: JobArgument) -> None:
    """Hold a job up: what is under way is brought to its end, and nothing more is begun."""
    _move(call, job, lambda jobs: jobs.pause)


def resume(call: Call, job: JobArgument) -> None:
    """Have a paused job go on."""
    _move(call, job, lambda jobs: jobs.resume)


def cancel(call: Call, job: JobArgument) -> None:
    """End a job: what is done stays so, and what was not begun never will be."""
    _move(call, job, lambda jobs: jobs.cancel)


def retry(call: Call, job: JobArgument) -> None:
    """Have what has failed, and what rests, tried again at once."""
    _move(call, job, lambda jobs: jobs.retry)


def _move(call: Call, job: str, how: Callable[[Jobs], Callable[[Principal, JobId], Job]]) -> None:
    with call.manifold() as manifold:
        done = how(manifold.jobs)(call.principal, _find(manifold, call.principal, job))
    call.answer(done, lambda: print_state(done))


def _each(manifold: Manifold, principal: Principal, wanted: JobFilter) -> Iterator[Job]:
    """Yield jobs, the newest first."""
    after = None
    while True:
        page = manifold.jobs.page(principal, wanted, after=after, limit=_PAGE)
        yield from page
        if len(page) < _PAGE:
            return
        after = JobPlace(page[-1].created_at, page[-1].id)


def _each_item(
    manifold: Manifold, principal: Principal, job: JobId, states: Sequence[ItemState] | None
) -> Iterator[JobItem]:
    after = 0
    while True:
        page = manifold.jobs.items(principal, job, states=states or None, after=after, limit=_PAGE)
        yield from page
        if len(page) < _PAGE:
            return
        after = page[-1].number


def _at_work(manifold: Manifold) -> Iterator[tuple[Principal, JobId]]:
    """Yield each job, of every tenant, when something can be done for it here, with who has started it; each once."""
    from manifold_common.bootstrap.jobs import KINDS
    from manifold_common.domain.access import Principal

    seen: set[JobId] = set()
    while True:
        rows = [row for row in manifold.job_worker.at_work(KINDS, limit=_PAGE) if row.job not in seen]
        if not rows:
            return
        seen.add(rows[0].job)
        yield Principal(rows[0].tenant, rows[0].user), rows[0].job


def _find(manifold: Manifold, principal: Principal, text: str) -> JobId:
    """Return the one job whose id begins so; a whole id as it is.

    Raises:
        InvalidInput: several do, or it is too short. NotFound: none does.
    """
    if len(text) == _ID_CHARS:
        return parse_job_id(text)
    if len(text) < _LEAST_CHARS:
        raise InvalidInput(
            f"{text!r} is too short for the beginning of a job's id", hint=f"give {_LEAST_CHARS} characters or more"
        )
    found = [job for job in _each(manifold, principal, JobFilter()) if job.id.startswith(text)]
    if not found:
        raise NotFound(f"there is no job whose id begins with {text[:64]!r}", hint="'manifold jobs list --all' has all")
    if len(found) > 1:
        alike = ", ".join(f"{job.id} ({job.kind}, {job.state.value})" for job in found[:_MOST_LISTED])
        raise InvalidInput(
            f"{len(found)} ids of jobs begin with {text!r}: {alike}{', ...' if len(found) > _MOST_LISTED else ''}",
            hint="give more of it",
        )
    return found[0].id


def _answer(call: Call, job: Job) -> None:
    def say() -> None:
        print_job(job)
        if job.troubles:
            call.note(f"{call.command('jobs', 'show', job.id, '--items')}   lists all items")
        if job.state is JobState.FAILED or job.trouble is not None:
            call.note(f"{call.command('jobs', 'retry', job.id)}   has them tried again at once")

    call.answer(job, say)


def _print_table(jobs: Iterable[Job]) -> None:
    rows = [
        (job.id, job.kind, _state(job), progress_text(job), f"{job.failed:,}", human_time(job.created_at))
        for job in jobs
    ]
    print_table(("ID", "KIND", "STATE", "PROGRESS", "FAILED", "STARTED"), rows, right=frozenset({3, 4}), spare=(5,))


def _state(job: Job) -> str:
    return f"{job.state.value}, rests" if job.trouble is not None and rests_until(job.trouble) else job.state.value


def _print_items(call: Call, items: Sequence[JobItem]) -> None:
    if not items:
        call.note("there are no such items")
        return
    rows = [
        (
            str(item.number),
            safe(item.item),
            item.state.value,
            str(item.begun),
            human_time(item.changed_at),
            "-" if item.error is None else f"{became(item)}: {error_text(item)}",
        )
        for item in items
    ]
    print_table(("ITEM", "WHAT", "STATE", "BEGUN", "CHANGED", "ERROR"), rows, right=frozenset({0, 3}), title=1)


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(help="Look after work that goes on in the background.")
    command(group, "list", changes=False, answers="JobPage")(list_jobs)
    command(group, "show", changes=False, answers=("Job", "JobItemPage"))(show)
    command(group, "watch", changes=False, answers="Job")(watch)
    command(group, "result", changes=False, answers="JobResult")(result)
    command(group, "work", changes=True, answers="JobsWorked")(work)
    command(group, "pause", changes=True, answers="Job")(pause)
    command(group, "resume", changes=True, answers="Job")(resume)
    command(group, "cancel", changes=True, answers="Job")(cancel)
    command(group, "retry", changes=True, answers="Job")(retry)
    app.add_typer(group, name="jobs")
