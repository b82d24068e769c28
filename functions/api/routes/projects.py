"""Projects: list, create, get, rename, delete, bring back, fork."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import Path, Query, Request, Response
from manifold_common.domain.api_address import API
from manifold_common.domain.listing import ProjectFilter
from manifold_common.domain.project_name import MAX_NAME_BYTES
from manifold_common.errors import Conflict
from manifold_common.ids import ProjectId
from manifold_common.shapes.cursors import Content, Cursors
from manifold_common.shapes.projects import Fork, Project, ProjectName, ProjectPage, Undelete
from msgspec import Meta

from functions.api.caller import Caller, ProjectRef
from functions.api.conditions import check_new, check_project, check_read
from functions.api.paging import DEFAULT_PAGE, After, Limit, Time, page_of, time_of
from functions.api.problem import responses
from functions.api.shaped import Router
from functions.api.validators import of_project, tell_project

router = Router(prefix=f"{API}/projects", tags=["projects"])

_Name = Annotated[str, Meta(max_length=MAX_NAME_BYTES, pattern=r"\A[^\x00]+\Z")]
_CURSORS = Cursors("projects", msgspec.msgpack.Decoder(Content[_Name]))
_CURSORS_OF_DELETED = Cursors("deleted projects", msgspec.msgpack.Decoder(Content[tuple[_Name, ProjectId]]))

DeletedProjectRef = Annotated[
    str,
    Path(description="Id of a deleted project, or its name, if no other one had that.", examples=["demo"]),
]


@router.get("", responses=responses())
def list_projects(
    caller: Caller,
    prefix: Annotated[str, Query(description="Only those whose name begins so.", max_length=MAX_NAME_BYTES)] = "",
    created_since: Time = None,
    created_until: Time = None,
    updated_since: Time = None,
    updated_until: Time = None,
    deleted: Annotated[
        bool, Query(description="Deleted projects that can be brought back, in place of living ones.")
    ] = (False),
    limit: Limit = DEFAULT_PAGE,
    cursor: After = None,
) -> ProjectPage:
    """List the caller's projects by name. `since` is the first moment that counts, `until` the first that does not."""
    wanted = ProjectFilter(
        prefix,
        created_since=time_of(created_since, "created_since"),
        created_until=time_of(created_until, "created_until"),
        updated_since=time_of(updated_since, "updated_since"),
        updated_until=time_of(updated_until, "updated_until"),
    )
    list_of = (caller.principal, wanted)
    if deleted:
        place = _CURSORS_OF_DELETED.read(cursor, *list_of)
        items, more = page_of(
            caller.manifold.deleted_projects.page(caller.principal, wanted=wanted, after=place, limit=limit + 1), limit
        )
        following = _CURSORS_OF_DELETED.write((items[-1].name, items[-1].id), *list_of) if more else None
        return ProjectPage(items=items, next_cursor=following)
    after = _CURSORS.read(cursor, *list_of)
    found = caller.manifold.projects.page(caller.principal, wanted=wanted, after_name=after or "", limit=limit + 1)
    items, more = page_of(found, limit)
    return ProjectPage(items=items, next_cursor=_CURSORS.write(items[-1].name, *list_of) if more else None)


@router.post("", status_code=201, responses=responses(409, 412))
def create_project(request: Request, response: Response, caller: Caller, body: ProjectName) -> Project:
    """Create an empty project."""
    check_new(request.headers)
    made = caller.manifold.projects.create(caller.principal, body.name)
    tell_project(response, made, is_new=True)
    return made


@router.get("/{project}", responses=responses(404))
def get_project(request: Request, response: Response, caller: Caller, project: ProjectRef) -> Project:
    """Return one project. Its ETag is the generation with its commit and the project's revision, ready for If-Match."""
    found = caller.project(project)
    check_read(request.headers, of_project(found), response.headers)
    return caller.manifold.projects.with_plain_objects(caller.principal, [found])[0]


@router.patch("/{project}", responses=responses(404, 409, 412))
def rename_project(
    request: Request, response: Response, caller: Caller, project: ProjectRef, body: ProjectName
) -> Project:
    """Give a project another name."""
    found = caller.project(project)
    expected = check_project(request.headers, found)
    renamed = caller.manifold.projects.rename(caller.principal, found.id, body.name, expected)
    tell_project(response, renamed)
    return renamed


@router.delete("/{project}", status_code=204, responses=responses(404, 409, 412))
def delete_project(
    caller: Caller,
    project: ProjectRef,
    request: Request,
    only_unused: Annotated[
        bool, Query(description="Only if it is empty and nobody has a session on it, which is seen in the same step.")
    ] = False,
) -> None:
    """Make a project, its sessions and its history invisible. For `projects.retention.deletedProjectDays` it can be
    brought back: `GET /projects?deleted=true` has it until then."""
    found = caller.project(project)
    expected = check_project(request.headers, found)
    if not only_unused:
        caller.manifold.projects.delete(caller.principal, found.id, expected)
    elif not caller.manifold.projects.withdraw(caller.principal, found.id, expected):
        raise Conflict("the project has generations or open sessions", hint="leave out only_unused to delete these too")


@router.post("/{project}/undelete", responses=responses(404, 409, 412))
def undelete_project(
    request: Request, response: Response, caller: Caller, project: DeletedProjectRef, body: Undelete | None = None
) -> Project:
    """Bring a deleted project back, with its history, its tags, and the sessions that hold saved work.

    Where it was brought back already, under that name, nothing is changed.
    """
    found = caller.manifold.deleted_projects.resolve(caller.principal, project)
    check_project(request.headers, found)
    name = None if body is None else body.name
    done = caller.manifold.deleted_projects.undelete(caller.principal, found.id, name)
    tell_project(response, done)
    return done


@router.post("/{project}/fork", status_code=201, responses=responses(404, 409, 412))
def fork_project(request: Request, response: Response, caller: Caller, project: ProjectRef, body: Fork) -> Project:
    """Make a new project from a generation of this one, without copying its content."""
    source = caller.project(project)
    expected = check_project(request.headers, source, makes_another=True)
    generation = caller.generation(source.id, body.generation)
    made = caller.manifold.forks.fork(caller.principal, source.id, body.name, generation, expected)
    tell_project(response, made, is_new=True)
    return made
