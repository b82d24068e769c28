"""Changes to a project's tree: folders, moves, many changes at once, and old generations brought back."""

from __future__ import annotations

from fastapi import Request
from manifold_common.services.projects.changes import edit_of, mode_of
from manifold_common.services.projects.edits import MakeFolder, Move
from manifold_common.shapes.changes import Edited, MovePaths, NewCommit, NewFolder, Restore
from manifold_common.shapes.intent import Intent

from functions.api.caller import Caller, ProjectRef
from functions.api.conditions import expected_generation, request_id
from functions.api.problem import responses
from functions.api.shaped import Router

router = Router(prefix="/api/projects/{project}", tags=["changes"])


@router.post("/dirs", status_code=201, responses=responses(404, 409, 412))
def make_folder(request: Request, caller: Caller, project: ProjectRef, body: NewFolder) -> Edited:
    """Create a folder, and those above it. One that is there already is left alone."""
    edit = MakeFolder(body.exact, mode_of(body.mode))
    intent = Intent(
        body.message,
        expected=expected_generation(request, body.expected_generation),
        request=request_id(request),
    )
    found = caller.project_id(project)
    return caller.manifold.edits.apply(caller.principal, found, [edit], intent)


@router.post("/move", responses=responses(404, 409, 412))
def move(request: Request, caller: Caller, project: ProjectRef, body: MovePaths) -> Edited:
    """Give a file, link or folder another name. No content is sent again."""
    edit = Move(body.source.exact, body.destination.exact, body.overwrite)
    intent = Intent(
        body.message,
        expected=expected_generation(request, body.expected_generation),
        request=request_id(request),
    )
    found = caller.project_id(project)
    return caller.manifold.edits.apply(caller.principal, found, [edit], intent)


@router.post("/commits", status_code=201, responses=responses(404, 409, 412, 413, 507))
def commit_changes(request: Request, caller: Caller, project: ProjectRef, body: NewCommit) -> Edited:
    """Make many changes as one commit: all of them or none. Larger content goes in by file or archive."""
    edits = [edit_of(change) for change in body.changes]
    expected = expected_generation(request, body.expected_generation)
    intent = Intent(body.message, body.provenance, expected, body.strategy, request_id(request))
    found = caller.project_id(project)
    return caller.manifold.edits.apply(caller.principal, found, edits, intent)


@router.post("/restore", responses=responses(404, 409, 412))
def restore(request: Request, caller: Caller, project: ProjectRef, body: Restore) -> Edited:
    """Make a new generation in which everything, or some paths, are as they were. Nothing is lost by it."""
    expected = expected_generation(request, body.expected_generation)
    intent = Intent(body.message, body.provenance, expected, body.strategy, request_id(request))
    found = caller.project_id(project)
    paths = [path.exact for path in body.paths]
    return caller.manifold.edits.restore(caller.principal, found, body.generation, paths, intent)
