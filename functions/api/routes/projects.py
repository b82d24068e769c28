"""Projects: list, create, get, rename, delete, fork."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from manifold_common.domain.history import Point
from manifold_common.engine.staleness import require_expected
from manifold_common.errors import Conflict

from functions.api.caller import Call, Caller, ProjectRef, generation_of
from functions.api.conditions import expected_generation
from functions.api.problem import responses
from functions.api.strict_route import StrictRoute
from functions.shapes.projects import Fork, ProjectFacts, ProjectName, ProjectOut, ProjectPage, project_out

router = APIRouter(prefix="/api/projects", tags=["projects"], route_class=StrictRoute)

MAX_PAGE = 500


@router.get("", responses=responses())
def list_projects(
    caller: Caller,
    after: Annotated[str, Query(description="Names after this one.", max_length=200)] = "",
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 100,
) -> ProjectPage:
    """List the caller's projects by name."""
    rows = caller.manifold.projects.page(caller.principal, after_name=after, limit=limit + 1)
    page = [project_out(row) for row in rows[:limit]]
    return ProjectPage(items=page, next=page[-1].name if len(rows) > limit else None)


@router.post("", status_code=201, responses=responses(409))
def create_project(caller: Caller, body: ProjectName, response: Response) -> ProjectOut:
    """Create an empty project."""
    row = caller.manifold.projects.create(caller.principal, body.name)
    response.headers["Location"] = f"/api/projects/{row.project}"
    return project_out(row)


@router.get("/{project}", responses=responses(404))
def get_project(caller: Caller, project: ProjectRef, response: Response) -> ProjectOut:
    """Return one project. Its ETag is the generation with its commit, ready for If-Match."""
    row = caller.project(project)
    response.headers["ETag"] = f'"{Point(row.head.generation, row.head.commit)}"'
    plain = caller.manifold.projects.plain_objects(caller.principal, {row.project: row.encryption})
    return project_out(row, plain.get(row.project))


@router.patch("/{project}", responses=responses(404, 409, 412))
def rename_project(caller: Caller, project: ProjectRef, body: ProjectName, request: Request) -> ProjectOut:
    """Give a project another name."""
    row = _checked(caller, project, request)
    return project_out(caller.manifold.projects.rename(caller.principal, row.project, body.name))


@router.delete("/{project}", status_code=204, responses=responses(404, 409, 412))
def delete_project(
    caller: Caller,
    project: ProjectRef,
    request: Request,
    only_unused: Annotated[
        bool, Query(description="Only if it is empty and nobody has a session on it, which is seen in the same step.")
    ] = False,
) -> None:
    """Make a project, its sessions and its history invisible."""
    row = _checked(caller, project, request)
    if not only_unused:
        caller.manifold.projects.delete(caller.principal, row.project)
    elif not caller.manifold.projects.withdraw(caller.principal, row.project):
        raise Conflict("the project has generations or open sessions", hint="leave out only_unused to delete these too")


@router.post("/{project}/fork", status_code=201, responses=responses(404, 409, 412))
def fork_project(caller: Caller, project: ProjectRef, body: Fork, request: Request, response: Response) -> ProjectOut:
    """Make a new project from a generation of this one, without copying its content."""
    source = _checked(caller, project, request)
    row = caller.manifold.forks.fork(caller.principal, source.project, body.name, generation_of(body.generation))
    response.headers["Location"] = f"/api/projects/{row.project}"
    return project_out(row)


def _checked(caller: Call, project: str, request: Request) -> ProjectFacts:
    """Return the project, if it is at the generation that If-Match names. These changes make no generation, so that is
    looked at just before, not in the same step."""
    row = caller.project(project)
    require_expected(Point(row.head.generation, row.head.commit), expected_generation(request))
    return row
