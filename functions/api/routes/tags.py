"""Names for the generations of a project."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import Path, Request, Response
from manifold_common.domain.api_address import API
from manifold_common.ids import TagName, parse_tag_name
from manifold_common.shapes.cursors import Content, Cursors
from manifold_common.shapes.tags import SetTag, Tag, TagPage

from functions.api.caller import Caller, ProjectRef
from functions.api.conditions import check_read, check_tag, creates_only
from functions.api.paging import DEFAULT_PAGE, After, Limit, page_of
from functions.api.problem import responses
from functions.api.shaped import Router, also
from functions.api.validators import of_tag, tell_tag

router = Router(prefix=f"{API}/projects/{{project}}/tags", tags=["tags"])

_CURSORS = Cursors("tags", msgspec.msgpack.Decoder(Content[TagName]))

TagRef = Annotated[str, Path(description="Name of a tag.", examples=["release-1"])]


@router.get("", responses=responses(404))
def list_tags(caller: Caller, project: ProjectRef, limit: Limit = DEFAULT_PAGE, cursor: After = None) -> TagPage:
    """List a project's tags, by name."""
    known = caller.project_id(project)
    list_of = (caller.principal, known)
    after = _CURSORS.read(cursor, *list_of)
    found = caller.manifold.tags.page(caller.principal, known, after_name=after or "", limit=limit + 1)
    items, more = page_of(found, limit)
    return TagPage(items=items, next_cursor=_CURSORS.write(items[-1].name, *list_of) if more else None)


@router.get("/{tag}", responses=responses(404))
def get_tag(request: Request, response: Response, caller: Caller, project: ProjectRef, tag: TagRef) -> Tag:
    """Return one tag. Its ETag is the generation that it names, with its commit, and since when it does."""
    found = caller.manifold.tags.get(caller.principal, caller.project_id(project), parse_tag_name(tag))
    check_read(request.headers, of_tag(found), response.headers)
    return found


@router.put(
    "/{tag}",
    status_code=201,
    responses={**also(200, Tag, "It was there, and names that generation now."), **responses(404, 409, 412)},
)
def set_tag(
    request: Request, response: Response, caller: Caller, project: ProjectRef, tag: TagRef, body: SetTag
) -> Tag:
    """Give a generation a name. A tag that names another one is moved by If-Match alone, from what that names.

    Where it names that generation already, nothing is changed. `If-None-Match: *` only makes it.
    """
    tags, known, name = caller.manifold.tags, caller.project_id(project), parse_tag_name(tag)
    seen = tags.find(caller.principal, known, name)
    expected, only_new = check_tag(request.headers, seen, moves=True), creates_only(request.headers)
    done, is_new = tags.set(caller.principal, known, name, body.named, expected=expected, only_new=only_new)
    tell_tag(response, known, done, is_new=is_new)
    return done


@router.delete("/{tag}", status_code=204, responses=responses(404, 412))
def remove_tag(request: Request, caller: Caller, project: ProjectRef, tag: TagRef) -> None:
    """Remove a tag. The generation that it named stays."""
    tags, known, name = caller.manifold.tags, caller.project_id(project), parse_tag_name(tag)
    expected = check_tag(request.headers, tags.find(caller.principal, known, name))
    tags.remove(caller.principal, known, name, expected=expected)
