"""Jobs: work on many items, which goes on by itself once it is started."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import anyio
import msgspec
from fastapi import Query, Request, Response
from manifold_common.domain.access import Principal
from manifold_common.domain.api_address import API
from manifold_common.domain.job import RETRIED_IN, ItemState, JobFilter, JobPlace, JobState, SeenJob
from manifold_common.ids import JobId, parse_job_id
from manifold_common.shapes.base import Moment
from manifold_common.shapes.cursors import Content, Cursors
from manifold_common.shapes.jobs import KIND_PATTERN, Job, JobItemPage, JobPage, StartJob
from msgspec import Meta

from functions.api.caller import Call, Caller, JobRef
from functions.api.conditions import Conditions, check_job, check_new, check_read, creates_only, target_of
from functions.api.paging import DEFAULT_PAGE, After, Limit, page_of
from functions.api.presence import LONGEST_WAIT_SECONDS, awaited
from functions.api.problem import responses
from functions.api.shaped import Router, also
from functions.api.validators import of_job, tell_job

router = Router(prefix=f"{API}/jobs", tags=["jobs"])

_CURSORS = Cursors("jobs", msgspec.msgpack.Decoder(Content[tuple[Moment, JobId]]))
_ITEM_CURSORS = Cursors("job items", msgspec.msgpack.Decoder(Content[Annotated[int, Meta(ge=1, le=2**53 - 1)]]))

Wait = Annotated[
    int,
    Query(
        ge=0,
        le=LONGEST_WAIT_SECONDS,
        description="Wait for so many seconds at most: with `If-None-Match` until the job is not as the tag "
        "says, without it until the job is over. One that is done or cancelled stays so, and is not waited for.",
    ),
]


@router.get("", responses=responses(404))
def list_jobs(
    caller: Caller,
    state: Annotated[JobState | None, Query(description="Only those in this state.")] = None,
    kind: Annotated[str | None, Query(description="Only those of this kind.", pattern=KIND_PATTERN)] = None,
    project: Annotated[
        str | None, Query(description="Only those about this project: name or id; of one that was deleted, its id.")
    ] = None,
    limit: Limit = DEFAULT_PAGE,
    cursor: After = None,
) -> JobPage:
    """List jobs, the newest first, without what is wrong with their items."""
    principal, only = caller.principal, None
    if project is not None:
        _, only = caller.manifold.projects.resolve_even_deleted(principal, project)
    list_of = (principal, state, kind, only)
    key = _CURSORS.read(cursor, *list_of)
    wanted = JobFilter(None if state is None else [state], kind, only)
    after = None if key is None else JobPlace(*key)
    items, more = page_of(caller.manifold.jobs.page(principal, wanted, after=after, limit=limit + 1), limit)
    return JobPage(
        items=items, next_cursor=_CURSORS.write((items[-1].created_at, items[-1].id), *list_of) if more else None
    )


@router.post("", responses={**also(201, Job, "The job is a new one."), **responses(404, 412)})
def start_job(request: Request, response: Response, caller: Caller, body: StartJob) -> Job:
    """Start a job, or join an equal one that is not over: what of it rests is then tried at once.

    With `If-None-Match: *` none is joined: an equal one is a 412.
    """
    check_new(request.headers)
    begun = caller.manifold.jobs.start(
        caller.principal, body.kind, body.params, rate=body.rate, only_new=creates_only(request.headers)
    )
    tell_job(response, begun.job, is_new=begun.is_new)
    return begun.job


@router.get("/{job}", responses=responses(404))
async def get_job(request: Request, response: Response, caller: Caller, job: JobRef, wait: Wait = 0) -> Job:
    """Return one job, with the first items that have failed or rest."""
    wanted, conditions, jobs = parse_job_id(job), Conditions(request.headers), caller.manifold.jobs

    async def read(_: Job | None) -> Job:
        return await anyio.to_thread.run_sync(jobs.get, caller.principal, wanted)

    def place_of(found: Job) -> SeenJob | None:
        has_newest = conditions.has_newest(target_of(of_job(found)))
        is_as_before = has_newest if conditions.none_match is not None else not found.state.is_over
        is_as_before = is_as_before and found.state in RETRIED_IN
        return SeenJob(caller.principal.tenant, wanted, found.revision) if is_as_before else None

    found = await awaited(request, caller.api, caller.api.job_watch, wait, read, place_of)
    check_read(request.headers, of_job(found), response.headers)
    return found


@router.get("/{job}/items", responses=responses(404))
def list_job_items(
    caller: Caller,
    job: JobRef,
    state: Annotated[ItemState | None, Query(description="Only those in this state.")] = None,
    limit: Limit = DEFAULT_PAGE,
    cursor: After = None,
) -> JobItemPage:
    """List what a job works on, by number. While it is being planned, more items are added at the end."""
    wanted = parse_job_id(job)
    list_of = (caller.principal, wanted, state)
    after = _ITEM_CURSORS.read(cursor, *list_of) or 0
    states = None if state is None else [state]
    found = caller.manifold.jobs.items(caller.principal, wanted, states=states, after=after, limit=limit + 1)
    items, more = page_of(found, limit)
    return JobItemPage(items=items, next_cursor=_ITEM_CURSORS.write(items[-1].number, *list_of) if more else None)


@router.post("/{job}/pause", responses=responses(404, 409, 412))
def pause_job(request: Request, response: Response, caller: Caller, job: JobRef) -> Job:
    """Have nothing more of a job begun. What workers have begun is brought to its end."""
    return _moved(request, response, caller, job, caller.manifold.jobs.pause)


@router.post("/{job}/resume", responses=responses(404, 409, 412))
def resume_job(request: Request, response: Response, caller: Caller, job: JobRef) -> Job:
    """Have a paused job go on."""
    return _moved(request, response, caller, job, caller.manifold.jobs.resume)


@router.post("/{job}/cancel", responses=responses(404, 409, 412))
def cancel_job(request: Request, response: Response, caller: Caller, job: JobRef) -> Job:
    """End a job. What is done stays so, and what was not begun never will be."""
    return _moved(request, response, caller, job, caller.manifold.jobs.cancel)


@router.post("/{job}/retry", responses=responses(404, 409, 412))
def retry_job(request: Request, response: Response, caller: Caller, job: JobRef) -> Job:
    """Have what failed, and what rests, tried again at once. A job that had failed runs again."""
    return _moved(request, response, caller, job, caller.manifold.jobs.retry)


def _moved(
    request: Request, response: Response, caller: Call, job: str, move: Callable[[Principal, JobId], Job]
) -> Job:
    wanted = parse_job_id(job)
    check_job(caller, request.headers, wanted)
    moved = move(caller.principal, wanted)
    tell_job(response, moved)
    return moved
