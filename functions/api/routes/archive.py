"""A whole tree as one archive, out and in."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query, Request, Response
from manifold_common.domain.api_address import API
from manifold_common.domain.arguments import MAX_GENERATION
from manifold_common.domain.paths import ROOT, from_text
from manifold_common.services.archive import ArchiveFormat
from manifold_common.services.archive.shown import imported_shown
from manifold_common.shapes.changes import ImportedArchive
from manifold_common.shapes.intent import Intent

from functions.api.caller import Caller, ProjectRef, generation_of
from functions.api.conditions import check_read, expected_by
from functions.api.problem import responses
from functions.api.request_body import Body
from functions.api.request_names import named_request, reading
from functions.api.response_body import attachment, stream
from functions.api.shaped import Router, also
from functions.api.validators import UNCHANGED, of_generation, tell_edits

router = Router(prefix=f"{API}/projects/{{project}}", tags=["archive"])

_MEDIA_TYPES = {ArchiveFormat.TAR_GZ: "application/gzip", ArchiveFormat.ZIP: "application/zip"}
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_FOUND: dict[int | str, dict[str, Any]] = {
    200: {"description": "The archive.", "content": dict.fromkeys(_MEDIA_TYPES.values(), _BINARY)}
}
_TAKEN = (
    "application/gzip",
    "application/x-tar",
    "application/zip",
    "application/octet-stream",
    "application/x-gzip",
    "application/x-zip-compressed",
)
"""What the content may be said to be, if anything; which of the three it is shows in itself."""
_UPLOAD = {"requestBody": {"required": True, "content": dict.fromkeys(_TAKEN, _BINARY)}}


@router.get("/archive", response_class=Response, responses={**_FOUND, **responses(404)})
def download_archive(
    request: Request,
    caller: Caller,
    project: ProjectRef,
    archive_format: Annotated[ArchiveFormat, Query(alias="format")] = ArchiveFormat.TAR_GZ,
    generation: Annotated[int | None, Query(ge=0, le=MAX_GENERATION)] = None,
) -> Response:
    """Download a generation as one archive: modes, times, links and empty folders included."""
    known = caller.project(project)
    found = caller.manifold.archives.export(caller.principal, known.id, archive_format, generation_of(generation))
    headers = {
        "Content-Disposition": attachment(f"{known.name}-{found.generation}.{archive_format.value}".encode()),
        "Manifold-Generation": str(found.generation),
    }
    check_read(request.headers, of_generation(found.point, found.made_at, is_weak=True), headers)
    return stream(request, caller.api.room, found.pieces, headers=headers, media_type=_MEDIA_TYPES[archive_format])


@router.post(
    "/archive",
    status_code=201,
    openapi_extra=_UPLOAD,
    responses={**also(200, ImportedArchive, UNCHANGED), **responses(404, 408, 409, 412, 422)},
)
async def upload_archive(
    request: Request,
    response: Response,
    caller: Caller,
    project: ProjectRef,
    message: Annotated[str, Query(max_length=10_000, description="Message of the commit.")] = "",
    folder: Annotated[str, Query(description="Put the archive below this folder.")] = "",
    replace: Annotated[bool, Query(description="Remove what stands there and is not in the archive.")] = False,
) -> ImportedArchive:
    """Put a tar, tar.gz or zip into the project as one commit, or nothing of it. The body is the archive."""
    named = named_request(request, caller)
    below = from_text(folder) if folder else ROOT

    def work(body: Body) -> ImportedArchive:
        found, of_body = caller.project_id(project), reading(named, body)
        intent = Intent(message, expected=expected_by(caller, request.headers, found, named=of_body), request=of_body)
        done = caller.manifold.archives.load(caller.principal, found, body, intent, folder=below, replace=replace)
        tell_edits(response, done.edited, is_made=True)
        return imported_shown(done)

    return await caller.api.bodies.run(request, work)
