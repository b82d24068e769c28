"""Changes to a project's tree: folders, moves, many changes at once, and old generations brought back."""

from __future__ import annotations

from fastapi import APIRouter, Request
from manifold_common.ids import Generation
from manifold_common.services.projects.edits import EditOptions, MakeFolder, Move

from functions.api.caller import Caller, ProjectRef
from functions.api.conditions import expected_generation, request_id
from functions.api.problem import responses
from functions.api.strict_route import StrictRoute
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

router = APIRouter(prefix="/api/projects/{project}", tags=["changes"], route_class=StrictRoute)


@router.post("/dirs", status_code=201, responses=responses(404, 409, 412))
def make_folder(request: Request, caller: Caller, project: ProjectRef, body: NewFolder) -> EditedOut:
    """Create a folder, and those above it. One that is there already is left alone."""
    edit = MakeFolder(body.to_bytes(), mode_of(body.mode))
    options = EditOptions(
        body.message,
        expected=expected_generation(request, body.expected_generation),
        request=request_id(request),
    )
    found = caller.project_id(project)
    return edited_out(caller.manifold.edits.apply(caller.principal, found, [edit], options))


@router.post("/move", responses=responses(404, 409, 412))
def move(request: Request, caller: Caller, project: ProjectRef, body: MovePaths) -> EditedOut:
    """Give a file, link or folder another name. No content is sent again."""
    edit = Move(body.source.to_bytes(), body.destination.to_bytes(), body.overwrite)
    options = EditOptions(
        body.message,
        expected=expected_generation(request, body.expected_generation),
        request=request_id(request),
    )
    found = caller.project_id(project)
    return edited_out(caller.manifold.edits.apply(caller.principal, found, [edit], options))


@router.post("/commits", status_code=201, responses=responses(404, 409, 412, 413, 507))
def commit_changes(request: Request, caller: Caller, project: ProjectRef, body: NewCommit) -> EditedOut:
    """Make many changes as one commit: all of them or none. Larger content goes in by file or archive."""
    edits = [edit_of(change) for change in body.changes]
    expected = expected_generation(request, body.expected_generation)
    options = EditOptions(body.message, body.provenance, expected, body.strategy, request_id(request))
    found = caller.project_id(project)
    return edited_out(caller.manifold.edits.apply(caller.principal, found, edits, options))


@router.post("/restore", responses=responses(404, 409, 412))
def restore(request: Request, caller: Caller, project: ProjectRef, body: Restore) -> EditedOut:
    """Make a new generation in which everything, or some paths, are as they were. Nothing is lost by it."""
    expected = expected_generation(request, body.expected_generation)
    options = EditOptions(body.message, body.provenance, expected, body.strategy, request_id(request))
    found = caller.project_id(project)
    paths = [path.to_bytes() for path in body.paths]
    done = caller.manifold.edits.restore(caller.principal, found, Generation(body.generation), paths, options)
    return edited_out(done)
