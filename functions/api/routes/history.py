"""A project's commits, and what differs between two generations."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import Path, Query, Request, Response
from manifold_common.domain.arguments import MAX_GENERATION
from manifold_common.domain.history import Point
from manifold_common.ids import Generation
from manifold_common.shapes.history import Commit, CommitPage, DiffPage, TreeDifference

from functions.api.caller import Caller, ProjectRef, generation_of
from functions.api.conditions import check_read
from functions.api.paging import page_of, path_after
from functions.api.problem import responses
from functions.api.shaped import Router
from functions.api.validators import of_generation
from functions.invocation.bounds import fitting

router = Router(prefix="/api/projects/{project}", tags=["history"])

MAX_PAGE = 500
MAX_DIFFERENCES = 10_000

Number = Annotated[int, Query(ge=0, le=MAX_GENERATION)]


@router.get("/commits", responses=responses(404))
def list_commits(
    caller: Caller,
    project: ProjectRef,
    before: Annotated[int | None, Query(ge=0, le=MAX_GENERATION, description="`next` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 100,
) -> CommitPage:
    """List commits, newest first."""
    entries = caller.manifold.history.log(
        caller.principal, caller.project_id(project), before=generation_of(before), limit=limit + 1
    )
    page = fitting(entries[:limit], msgspec.json.encode)
    return CommitPage(items=list(page), next=page[-1].generation if len(entries) > len(page) else None)


@router.get("/commits/{generation}", responses=responses(404))
def get_commit(
    request: Request,
    response: Response,
    caller: Caller,
    project: ProjectRef,
    generation: Annotated[int, Path(ge=1, le=MAX_GENERATION)],
) -> Commit:
    """Return the commit that made a generation."""
    found = caller.manifold.history.commit(caller.principal, caller.project_id(project), Generation(generation))
    made = of_generation(Point(found.generation, found.id), found.created_at)
    check_read(request.headers, made, response.headers)
    return found


@router.get("/diff", responses=responses(404))
def diff(
    caller: Caller,
    project: ProjectRef,
    before: Number,
    after: Number,
    after_path: Annotated[str, Query(description="`next` of the page before.")] = "",
    limit: Annotated[int, Query(ge=1, le=MAX_DIFFERENCES)] = 1000,
) -> DiffPage:
    """Say which paths differ between two generations."""
    last = path_after(after_path)
    found = caller.manifold.history.diff(
        caller.principal, caller.project_id(project), Generation(before), Generation(after)
    )
    items, cursor = page_of(
        found, last, limit, path_of=lambda difference: difference.path, shown=TreeDifference.between
    )
    return DiffPage(before=Generation(before), after=Generation(after), items=items, next=cursor)
