"""What is in a project's folders, at any generation."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import Query, Request, Response
from manifold_common.domain.api_address import API
from manifold_common.domain.listing import TreeFilter
from manifold_common.domain.paths import ROOT
from manifold_common.shapes.cursors import Content, Cursors, TreePlace, TreePoint
from manifold_common.shapes.history import Kind, TreeEntry, TreePage, kind_of

from functions.api.caller import Call, Caller, ProjectRef
from functions.api.conditions import check_read
from functions.api.generations import At, named_if
from functions.api.paging import DEFAULT_PAGE, After, Limit, page_of
from functions.api.paths import trailing_path
from functions.api.problem import responses
from functions.api.shaped import Router
from functions.api.validators import of_generation

router = Router(prefix=f"{API}/projects/{{project}}", tags=["files"])

_CURSORS = Cursors("tree", msgspec.msgpack.Decoder(Content[tuple[TreePoint, TreePlace]]))

Recursive = Annotated[bool, Query(description="Everything below the folder, not only what is in it.")]
Glob = Annotated[
    str | None,
    Query(description="Only what matches, and all below that: a path pattern (gitignore syntax), from the root."),
]
OfKind = Annotated[Kind | None, Query(description="Only entries of this kind.")]


@router.get("/tree", responses=responses(404, 410))
def list_root(
    request: Request, response: Response, caller: Caller, project: ProjectRef, recursive: Recursive = False,
    generation: At = None, glob: Glob = None, kind: OfKind = None, limit: Limit = DEFAULT_PAGE, cursor: After = None,
) -> TreePage:  # fmt: skip
    """List the project's root folder. All pages are of the generation that the first one was of."""
    return _list(request, response, caller, project, ROOT, recursive, generation, glob, kind, limit, cursor)


@router.get("/tree/{path:rest}", responses=responses(404, 410))
def list_folder(
    request: Request, response: Response, caller: Caller, project: ProjectRef, recursive: Recursive = False,
    generation: At = None, glob: Glob = None, kind: OfKind = None, limit: Limit = DEFAULT_PAGE, cursor: After = None,
) -> TreePage:  # fmt: skip
    """List a folder. All pages are of the generation that the first one was of."""
    folder = trailing_path(request.scope)
    return _list(request, response, caller, project, folder, recursive, generation, glob, kind, limit, cursor)


def _list(
    request: Request, response: Response, caller: Call, project: str, folder: bytes, recursive: bool,
    generation: str | None, glob: str | None, kind: Kind | None, limit: int, cursor: str | None,
) -> TreePage:  # fmt: skip
    known = caller.project_id(project)
    wanted = TreeFilter(glob, None if kind is None else kind_of(kind))
    named = named_if(generation)
    list_of = (caller.principal, known, folder, recursive, named, wanted)
    place = _CURSORS.read(cursor, *list_of)
    pinned, start = (place[0].point, place[1]) if place else (None, 0)
    chosen = caller.generation(known, named) if pinned is None else None  # the tag may have been moved since
    listing = caller.manifold.history.list_tree(
        caller.principal, known, folder, chosen, recursive=recursive, wanted=wanted, pinned=pinned
    )
    validators = of_generation(listing.point, listing.made_at).asked_by(named)
    check_read(request.headers, validators, response.headers)
    some = [TreeEntry.at(*item) for item in listing.entries[start : start + limit + 1]]
    items, more = page_of(some, limit)
    last = (TreePoint(*listing.point), start + len(items))
    return TreePage(
        generation=listing.generation, items=items, next_cursor=_CURSORS.write(last, *list_of) if more else None
    )
