"""Changes to a project's tree: folders, moves, many changes at once, and old generations brought back."""

from __future__ import annotations

from fastapi import Request, Response
from manifold_common.domain.api_address import API
from manifold_common.domain.paths import check_path
from manifold_common.services.projects.changes import edit_of, mode_of
from manifold_common.services.projects.edits import MakeFolder, Move
from manifold_common.shapes.base import seen_of
from manifold_common.shapes.changes import Edited, MovePaths, NewCommit, NewFolder, Restore
from manifold_common.shapes.intent import Intent
from manifold_common.shapes.jobs import Job

from functions.api.caller import Caller, ProjectRef
from functions.api.conditions import expected_by
from functions.api.prefer import BEGUN, accepted, begun_before, prefers_async
from functions.api.problem import responses
from functions.api.request_names import named_request
from functions.api.shaped import Router, also
from functions.api.validators import UNCHANGED, tell_edits, tell_folder

router = Router(prefix=f"{API}/projects/{{project}}", tags=["changes"])


@router.post(
    "/dirs",
    status_code=201,
    responses={**also(200, Edited, "It was there already."), **responses(404, 409, 412, 422)},
)
def make_folder(request: Request, response: Response, caller: Caller, project: ProjectRef, body: NewFolder) -> Edited:
    """Create a folder, and those above it. One that is there already is left alone."""
    edit = MakeFolder(body.exact, mode_of(body.mode))
    found, named = caller.project(project), named_request(request, caller)
    expected = expected_by(
        caller, request.headers, found, seen_of(body.expected_generation), path=check_path(edit.path), named=named
    )
    intent = Intent(body.message, expected=expected, request=named)
    done = caller.manifold.edits.write(caller.principal, found.id, edit, intent)
    tell_folder(response, done, edit.path)
    return done.answer


@router.post("/move", responses=responses(404, 409, 412, 422))
def move(request: Request, response: Response, caller: Caller, project: ProjectRef, body: MovePaths) -> Edited:
    """Give a file, link or folder another name. No content is sent again."""
    edit = Move(body.source.exact, body.destination.exact, body.overwrite)
    found, named = caller.project(project), named_request(request, caller)
    expected = expected_by(
        caller,
        request.headers,
        found,
        seen_of(body.expected_generation),
        path=check_path(edit.source),
        unless_there=check_path(edit.destination),
        named=named,
    )
    intent = Intent(body.message, expected=expected, request=named)
    done = caller.manifold.edits.apply(caller.principal, found.id, [edit], intent)
    tell_edits(response, done)
    return done


@router.post(
    "/commits",
    status_code=201,
    responses={**also(200, Edited, UNCHANGED), **responses(404, 409, 412, 422)},
)
def commit_changes(
    request: Request, response: Response, caller: Caller, project: ProjectRef, body: NewCommit
) -> Edited:
    """Make many changes as one commit: all of them or none. Larger content goes in by file or archive."""
    edits = [edit_of(change) for change in body.changes]
    found, named = caller.project(project), named_request(request, caller)
    expected = expected_by(caller, request.headers, found, seen_of(body.expected_generation), named=named)
    intent = body.intent(expected, named)
    done = caller.manifold.edits.apply(caller.principal, found.id, edits, intent)
    tell_edits(response, done, is_made=True)
    return done


@router.post("/restore", responses={**also(202, Job, BEGUN), **responses(404, 409, 412, 422)})
def restore(
    request: Request, response: Response, caller: Caller, project: ProjectRef, body: Restore
) -> Edited | Response:
    """Make a new generation in which everything, or some paths, are as they were. Nothing is lost by it.

    With `Prefer: respond-async` a job does it.
    """
    found, named = caller.project(project), named_request(request, caller)
    before = begun_before(request.headers, caller, found.id, named)
    if before is not None:
        return before
    expected = expected_by(caller, request.headers, found, seen_of(body.expected_generation), named=named)
    intent = body.intent(expected, named)
    paths = [path.exact for path in body.paths]
    deferred = caller.manifold.deferred
    if prefers_async(request.headers) and not deferred.is_done(caller.principal, found.id, named):
        return accepted(deferred.restore(caller.principal, found.id, body.generation, paths, intent))
    done = caller.manifold.edits.restore(caller.principal, found.id, body.generation, paths, intent)
    tell_edits(response, done)
    return done
