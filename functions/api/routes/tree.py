"""What is in a project's folders, at any generation."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Request, Response
from manifold_common.domain.arguments import MAX_GENERATION
from manifold_common.domain.paths import ROOT
from manifold_common.shapes.history import TreeEntry, TreePage

from functions.api.caller import Call, Caller, ProjectRef, generation_of
from functions.api.conditions import check_read
from functions.api.paging import page_of, path_after
from functions.api.paths import trailing_path
from functions.api.problem import responses
from functions.api.shaped import Router
from functions.api.validators import of_generation

router = Router(prefix="/api/projects/{project}", tags=["files"])

MAX_PAGE = 10_000

Recursive = Annotated[bool, Query(description="Everything below the folder, not only what is in it.")]
At = Annotated[int | None, Query(ge=0, le=MAX_GENERATION, description="The newest generation by default.")]
After = Annotated[str, Query(description="`next` of the page before.")]
Limit = Annotated[int, Query(ge=1, le=MAX_PAGE)]


@router.get("/tree", responses=responses(404))
def list_root(
    request: Request, response: Response, caller: Caller, project: ProjectRef, recursive: Recursive = False,
    generation: At = None, after: After = "", limit: Limit = 1000,
) -> TreePage:  # fmt: skip
    """List the project's root folder."""
    return _list(request, response, caller, project, ROOT, recursive, generation, after, limit)


@router.get("/tree/{path:rest}", responses=responses(404))
def list_folder(
    request: Request, response: Response, caller: Caller, project: ProjectRef, recursive: Recursive = False,
    generation: At = None, after: After = "", limit: Limit = 1000,
) -> TreePage:  # fmt: skip
    """List a folder."""
    folder = trailing_path(request.scope)
    return _list(request, response, caller, project, folder, recursive, generation, after, limit)


def _list(
    request: Request, response: Response, caller: Call, project: str, folder: bytes, recursive: bool,
    generation: int | None, after: str, limit: int,
) -> TreePage:  # fmt: skip
    last = path_after(after)
    listing = caller.manifold.history.list_tree(
        caller.principal, caller.project_id(project), folder, generation_of(generation), recursive=recursive
    )
    check_read(request.headers, of_generation(listing.point, listing.made_at), response.headers)
    items, cursor = page_of(
        listing.entries, last, limit, path_of=lambda item: item[0], shown=lambda item: TreeEntry.at(*item)
    )
    return TreePage(generation=listing.generation, items=items, next=cursor)
