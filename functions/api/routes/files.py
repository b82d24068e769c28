"""Files: read at any generation, write at the head. A write is one commit."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query, Request, Response
from manifold_common.domain.api_address import API
from manifold_common.domain.tag import Named
from manifold_common.services.projects.edits import Delete, PutFile
from manifold_common.services.projects.history import OpenFile
from manifold_common.shapes.changes import Edited
from manifold_common.shapes.files import FileContents, ReadFiles
from manifold_common.shapes.history import time_text
from manifold_common.shapes.intent import Intent

from functions.api.caller import Call, Caller, ProjectRef
from functions.api.conditions import check_project, check_read, creates_only, expected_by
from functions.api.generations import At, named_if
from functions.api.paths import trailing_path
from functions.api.problem import responses
from functions.api.request_body import Body
from functions.api.request_names import named_request, reading
from functions.api.response_body import attachment, content_range, media_type_of, requested_range, stream
from functions.api.shaped import Router, also
from functions.api.validators import of_file, tell_commit, tell_file

router = Router(prefix=f"{API}/projects/{{project}}", tags=["files"])

Why = Annotated[str, Query(max_length=10_000, description="Message of the commit.")]
FileMode = Annotated[
    str | None,
    Query(pattern=r"^0?[0-7]{3}$", description="Permission bits in octal; those of the file replaced, or 644."),
]

_BYTES = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
_OF_ITS_NAME = {**_BYTES, "*/*": _BYTES["application/octet-stream"]}
_FOUND: dict[int | str, dict[str, Any]] = {
    200: {"description": "The file. Its type is the one that its name says.", "content": _OF_ITS_NAME},
    206: {"description": "The part asked for.", "content": _OF_ITS_NAME},
}
_UPLOAD = {"requestBody": {"required": True, "content": _BYTES}}


@router.get("/files/{path:rest}", response_class=Response, responses={**_FOUND, **responses(404, 416)})
def read_file(request: Request, caller: Caller, project: ProjectRef, generation: At = None) -> Response:
    """Read a file. Takes Range (one range of bytes), If-None-Match and If-Range."""
    named = named_if(generation)
    file = _open(request, caller, project, named)
    headers = _headers(file, caller)
    check_read(request.headers, of_file(file).asked_by(named), headers)
    wanted = requested_range(request.headers, file.etag)
    status, start, length = 200, 0, file.size
    if wanted is not None:
        status, (start, length) = 206, wanted.within(file.size)
        headers |= content_range(start, length, file.size)
    headers["Content-Length"] = str(length)
    pieces, media_type = file.read(start, length), media_type_of(file.path)
    return stream(request, caller.api.room, pieces, status=status, headers=headers, media_type=media_type)


@router.head("/files/{path:rest}", response_class=Response, responses={200: _FOUND[200], **responses(404)})
def look_at_file(request: Request, caller: Caller, project: ProjectRef, generation: At = None) -> Response:
    """Say what reading the file would answer, without its content."""
    named = named_if(generation)
    file = _open(request, caller, project, named)
    headers = _headers(file, caller)
    check_read(request.headers, of_file(file).asked_by(named), headers)
    headers["Content-Length"] = str(file.size)
    return Response(headers=headers, media_type=media_type_of(file.path))


@router.post("/read", responses=responses(404, 412))
def read_files(request: Request, caller: Caller, project: ProjectRef, body: ReadFiles) -> FileContents:
    """Read many files at once, of one generation: as many of the paths as one answer holds."""
    found, paths = caller.project(project), [path.exact for path in body.paths]
    check_project(request.headers, found)
    return caller.manifold.history.read_files(
        caller.principal, found.id, paths, caller.generation(found.id, body.generation)
    )


@router.put(
    "/files/{path:rest}",
    openapi_extra=_UPLOAD,
    responses={**also(201, Edited, "It was not there before."), **responses(404, 408, 409, 412, 422)},
)
async def put_file(
    request: Request, response: Response, caller: Caller, project: ProjectRef, message: Why = "", mode: FileMode = None
) -> Edited:
    """Create or replace a file; missing folders are made. The body is the file."""
    return await _write(request, response, caller, project, message, mode, creates_only(request.headers))


@router.post(
    "/files/{path:rest}",
    status_code=201,
    openapi_extra=_UPLOAD,
    responses=responses(404, 408, 409, 412, 422),
)
async def create_file(
    request: Request, response: Response, caller: Caller, project: ProjectRef, message: Why = "", mode: FileMode = None
) -> Edited:
    """Create a file that is not there yet."""
    return await _write(request, response, caller, project, message, mode, True)


@router.delete("/files/{path:rest}", responses=responses(404, 409, 412, 422))
def delete_path(
    request: Request,
    response: Response,
    caller: Caller,
    project: ProjectRef,
    recursive: Annotated[bool, Query(description="Needed for a folder that is not empty.")] = False,
    message: Why = "",
) -> Edited:
    """Remove a file, a link or a folder."""
    path = trailing_path(request.scope)
    found, named = caller.project(project), named_request(request, caller)
    expected = expected_by(caller, request.headers, found, path=path, named=named)
    intent = Intent(message, expected=expected, request=named)
    done = caller.manifold.edits.apply(caller.principal, found.id, [Delete(path, recursive)], intent)
    tell_commit(response, done)
    return done


async def _write(
    request: Request, response: Response, caller: Call, project: str, message: str, mode: str | None, only_new: bool
) -> Edited:
    path = trailing_path(request.scope)
    named = named_request(request, caller)

    def work(body: Body) -> Edited:
        found, of_body = caller.project(project), reading(named, body)
        expected = expected_by(caller, request.headers, found, path=path, creates=only_new, named=of_body)
        intent = Intent(message, expected=expected, request=of_body)
        edit = PutFile(path, body, mode=int(mode, 8) if mode else None, create_only=only_new)
        done = caller.manifold.edits.write(caller.principal, found.id, edit, intent)
        tell_file(response, done, path)
        return done.answer

    return await caller.api.bodies.run(request, work)


def _open(request: Request, caller: Call, project: str, named: Named | None) -> OpenFile:
    path, known = trailing_path(request.scope), caller.project_id(project)
    return caller.manifold.history.open_file(caller.principal, known, path, caller.generation(known, named))


def _headers(file: OpenFile, caller: Call) -> dict[str, str]:
    sealed = caller.manifold.settings.projects.encrypt
    return {
        "Accept-Ranges": "bytes",
        "Content-Disposition": attachment(file.path.rpartition(b"/")[2]),
        # What is encrypted at rest must not lie in a browser's cache on some disk.
        "Cache-Control": "no-store" if sealed else "private, no-cache",
        "Manifold-Generation": str(file.generation),
        "Manifold-Mode": f"{file.entry.mode:03o}",
        "Manifold-Modified-At": time_text(file.entry.mtime_ns),
    }
