"""A project's commits, and what differs between two generations."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import Path, Query, Request, Response
from manifold_common.domain.api_address import API
from manifold_common.domain.history import Point
from manifold_common.domain.listing import CommitFilter, Fact
from manifold_common.errors import InvalidInput
from manifold_common.ids import parse_session_id, parse_user_id
from manifold_common.shapes.cursors import COMMITS, Content, Cursors, TreePlace, TreePoint
from manifold_common.shapes.history import Commit, CommitPage, DiffPage, TreeDifference
from manifold_common.shapes.path import Place

from functions.api.caller import Caller, ProjectRef
from functions.api.conditions import check_read
from functions.api.generations import named_if, named_of
from functions.api.paging import DEFAULT_PAGE, After, Limit, Time, page_of, time_of
from functions.api.problem import responses
from functions.api.shaped import REQUEST, Router
from functions.api.validators import of_generation

router = Router(prefix=f"{API}/projects/{{project}}", tags=["history"])

_DIFFERENCES = Cursors("diff", msgspec.msgpack.Decoder(Content[tuple[TreePoint, TreePoint, TreePlace]]))

At = Annotated[str, Query(description="Number or tag of a generation.")]


@router.get("/commits", responses=responses(404))
def list_commits(
    caller: Caller,
    project: ProjectRef,
    author: Annotated[str | None, Query(description="Only those of this user.")] = None,
    session: Annotated[str | None, Query(description="Only those of this session.")] = None,
    since: Time = None,
    until: Time = None,
    before_generation: Annotated[
        str | None, Query(description="Only those of lower generations than this one: number or tag.")
    ] = None,
    path: Annotated[str | None, Query(description="Only those that changed it, or something below it.")] = None,
    path_base64: Annotated[str | None, Query(description="Its exact bytes, where they are not UTF-8.")] = None,
    provenance: Annotated[
        str | None,
        Query(description="Only those with this `KEY`, or `KEY=VALUE`: text as it is, other values as JSON has them."),
    ] = None,
    limit: Limit = DEFAULT_PAGE,
    cursor: After = None,
) -> CommitPage:
    """List commits, newest first. `since` is the first moment that counts, `until` the first that does not.

    What `path` and `provenance` ask for is looked for commit by commit, a bounded number in each request: a page may
    have few items, or none, and a `next_cursor`.
    """
    known = caller.project_id(project)
    wanted = CommitFilter(
        None if author is None else parse_user_id(author),
        None if session is None else parse_session_id(session),
        time_of(since, "since"),
        time_of(until, "until"),
        caller.generation(known, named_if(before_generation, "before_generation")),
        _path_of(path, path_base64),
        None if provenance is None else Fact.of(provenance),
    )
    list_of = (caller.principal, known, wanted)
    before = COMMITS.read(cursor, *list_of)
    found = caller.manifold.history.log_page(caller.principal, known, wanted, before=before, limit=limit)
    items, more = page_of(found.entries, limit)
    last = items[-1].generation if more else found.before
    return CommitPage(items=items, next_cursor=None if last is None else COMMITS.write(last, *list_of))


@router.get("/commits/{generation}", responses=responses(404))
def get_commit(
    request: Request,
    response: Response,
    caller: Caller,
    project: ProjectRef,
    generation: Annotated[str, Path(description="Number or tag.")],
) -> Commit:
    """Return the commit that made a generation."""
    named, known = named_of(generation), caller.project_id(project)
    if named == 0:
        raise InvalidInput("generation 0 is the empty project: no commit made it", hint="commits count from 1")
    found = caller.manifold.history.commit(caller.principal, known, caller.generation(known, named))
    validators = of_generation(Point(found.generation, found.id), found.created_at).asked_by(named)
    check_read(request.headers, validators, response.headers)
    return found


@router.get("/diff", responses=responses(404, 410))
def diff(
    caller: Caller,
    project: ProjectRef,
    before: At,
    after: At,
    limit: Limit = DEFAULT_PAGE,
    cursor: After = None,
) -> DiffPage:
    """Say which paths differ between two generations. What the pages after the first compare are the same two."""
    known = caller.project_id(project)
    first, second = named_of(before, "before"), named_of(after, "after")
    list_of = (caller.principal, known, first, second)
    place = _DIFFERENCES.read(cursor, *list_of)
    pinned = (place[0].point, place[1].point) if place else None
    start = place[2] if place else 0
    history = caller.manifold.history
    if pinned is None:
        one, other = caller.generation(known, first), caller.generation(known, second)
        found = history.compare(caller.principal, known, one, other)
    else:  # a tag may have been moved since
        found = history.compare_pinned(caller.principal, known, *pinned)
    some = [TreeDifference.between(difference) for difference in found.differences[start : start + limit + 1]]
    items, more = page_of(some, limit)
    last = (TreePoint(*found.before), TreePoint(*found.after), start + len(items))
    return DiffPage(
        before=found.before.generation,
        after=found.after.generation,
        items=items,
        next_cursor=_DIFFERENCES.write(last, *list_of) if more else None,
    )


def _path_of(text: str | None, encoded: str | None) -> bytes | None:
    given = {name: value for name, value in (("path", text), ("path_base64", encoded)) if value is not None}
    return REQUEST.value(Place, given).exact if given else None
