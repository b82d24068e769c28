"""Changes to a project's tree: folders, moves, many changes at once, and old generations brought back."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from manifold_common.domain.paths import check_path
from manifold_common.ids import Generation
from manifold_common.services.projects.edits import EditOptions, MakeFolder, Move

from functions.api.caller import Caller, ProjectRef
from functions.api.conditions import expected_by
from functions.api.problem import responses
from functions.api.request_names import named_request
from functions.api.validators import tell_edits, tell_folder
from functions.shapes.base import seen_of
from functions.shapes.changes import (
    EditedOut,
    MovePaths,
    NewCommit,
    NewFolder,
    Restore,
    edit_of,
    edited_out,
    mode_of,
)

router = APIRouter(prefix="/api/projects/{project}", tags=["changes"])


@router.post("/dirs", status_code=201, responses=responses(404, 409, 412, 422))
def make_folder(
    request: Request, response: Response, caller: Caller, project: ProjectRef, body: NewFolder
) -> EditedOut:
    """Create a folder, and those above it. One that is there already is left alone."""
    edit = MakeFolder(body.to_bytes(), mode_of(body.mode))
    found, named = caller.project_id(project), named_request(request, caller)
    expected = expected_by(
        caller, request.headers, found, seen_of(body.expected_generation), path=check_path(edit.path), named=named
    )
    options = EditOptions(body.message, expected=expected, request=named)
    done = caller.manifold.edits.apply(caller.principal, found, [edit], options)
    tell_folder(response, done, edit.path)
    return edited_out(done)


@router.post("/move", responses=responses(404, 409, 412, 422))
def move(request: Request, response: Response, caller: Caller, project: ProjectRef, body: MovePaths) -> EditedOut:
    """Give a file, link or folder another name. No content is sent again."""
    edit = Move(body.source.to_bytes(), body.destination.to_bytes(), body.overwrite)
    found, named = caller.project_id(project), named_request(request, caller)
    expected = expected_by(
        caller,
        request.headers,
        found,
        seen_of(body.expected_generation),
        path=check_path(edit.source),
        unless_there=check_path(edit.destination),
        named=named,
    )
    options = EditOptions(body.message, expected=expected, request=named)
    done = caller.manifold.edits.apply(caller.principal, found, [edit], options)
    tell_edits(response, done)
    return edited_out(done)


@router.post("/commits", status_code=201, responses=responses(404, 409, 412, 413, 422, 507))
def commit_changes(
    request: Request, response: Response, caller: Caller, project: ProjectRef, body: NewCommit
) -> EditedOut:
    """Make many changes as one commit: all of them or none. Larger content goes in by file or archive."""
    edits = [edit_of(change) for change in body.changes]
    found, named = caller.project_id(project), named_request(request, caller)
    expected = expected_by(caller, request.headers, found, seen_of(body.expected_generation), named=named)
    options = EditOptions(body.message, body.provenance, expected, body.strategy, named)
    done = caller.manifold.edits.apply(caller.principal, found, edits, options)
    tell_edits(response, done, is_made=True)
    return edited_out(done)


@router.post("/restore", responses=responses(404, 409, 412, 422))
def restore(request: Request, response: Response, caller: Caller, project: ProjectRef, body: Restore) -> EditedOut:
    """Make a new generation in which everything, or some paths, are as they were. Nothing is lost by it."""
    found, named = caller.project_id(project), named_request(request, caller)
    expected = expected_by(caller, request.headers, found, seen_of(body.expected_generation), named=named)
    options = EditOptions(body.message, body.provenance, expected, body.strategy, named)
    paths = [path.to_bytes() for path in body.paths]
    done = caller.manifold.edits.restore(caller.principal, found, Generation(body.generation), paths, options)
    tell_edits(response, done)
    return edited_out(done)
