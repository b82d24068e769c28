"""A whole tree as one archive, out and in."""

from __future__ import annotations

from typing import Annotated

from anyio import to_thread
from fastapi import Query, Request, Response
from manifold_common.domain.api_address import API
from manifold_common.domain.named_request import NamedRequest
from manifold_common.domain.paths import ROOT, from_text
from manifold_common.domain.tag import Named
from manifold_common.ids import Generation
from manifold_common.services.archive import ArchiveFormat, ExportedArchive
from manifold_common.shapes.changes import ImportedArchive
from manifold_common.shapes.intent import Intent
from manifold_common.shapes.jobs import Job
from manifold_common.shapes.projects import Project

from functions.api.archive_answers import BINARY, FOUND, MEDIA_TYPES
from functions.api.caller import Call, Caller, ProjectRef
from functions.api.conditions import check_read, expected_by
from functions.api.generations import At, named_if
from functions.api.methods import is_head
from functions.api.prefer import BEGUN, accepted, begun_before, prefers_async
from functions.api.problem import responses
from functions.api.request_body import Body
from functions.api.request_names import named_request, reading
from functions.api.response_body import attachment, content_range, hold, requested_range, stream
from functions.api.shaped import Router, also
from functions.api.validators import UNCHANGED, of_archive, tell_edits

router = Router(prefix=f"{API}/projects/{{project}}", tags=["archive"])

_TAKEN = (
    "application/gzip",
    "application/x-tar",
    "application/zip",
    "application/octet-stream",
    "application/x-gzip",
    "application/x-zip-compressed",
)
"""What the content may be said to be, if anything; which of the three it is shows in itself."""
_UPLOAD = {"requestBody": {"required": True, "content": dict.fromkeys(_TAKEN, BINARY)}}


@router.get(
    "/archive", response_class=Response, responses={**FOUND, **also(202, Job, BEGUN), **responses(404, 416, 422)}
)
async def download_archive(
    request: Request,
    caller: Caller,
    project: ProjectRef,
    archive_format: Annotated[ArchiveFormat, Query(alias="format")] = ArchiveFormat.TAR_GZ,
    generation: At = None,
) -> Response:
    """Download a generation as one archive: modes, times, links and empty folders included.

    Takes Range (one range of bytes), If-None-Match and If-Range. With `Prefer: respond-async` a job makes it, and it is
    downloaded from there.
    """
    named, request_name = named_if(generation), named_request(request, caller)
    known, found = await to_thread.run_sync(_found, caller, project, archive_format, named)
    validators = of_archive(found).asked_by(named)
    headers = {
        "Accept-Ranges": "bytes",
        "Content-Disposition": attachment(f"{known.name}-{found.generation}.{archive_format.value}".encode()),
        "Manifold-Generation": str(found.generation),
    }
    check_read(request.headers, validators, headers)
    if prefers_async(request.headers) and not is_head(request.scope):
        return await to_thread.run_sync(_begun, request_name, caller, known, archive_format, found.generation)
    wanted, status, pieces = requested_range(request.headers, validators.etag), 200, found.read()
    if wanted is not None or not is_head(request.scope):
        await hold(request, caller.api.room, await to_thread.run_sync(found.held_bytes, wanted))
    if wanted is not None:
        status, part = 206, await to_thread.run_sync(found.part, wanted)
        headers |= content_range(part.start, part.length, part.total)
        pieces = part.pieces
    elif found.size is not None:
        headers["Content-Length"] = str(found.size)
    media_type = MEDIA_TYPES[archive_format]
    return stream(request, caller.api.room, pieces, status=status, headers=headers, media_type=media_type, is_held=True)


def _begun(
    named: NamedRequest | None, caller: Call, project: Project, archive_format: ArchiveFormat, generation: Generation
) -> Response:
    return accepted(caller.manifold.deferred.archive(caller.principal, project.id, archive_format, generation, named))


def _found(
    caller: Call, project: str, archive_format: ArchiveFormat, named: Named | None
) -> tuple[Project, ExportedArchive]:
    known = caller.project(project)
    number = caller.generation(known.id, named)
    return known, caller.manifold.archives.export(caller.principal, known.id, archive_format, number)


@router.post(
    "/archive",
    status_code=201,
    openapi_extra=_UPLOAD,
    responses={**also(200, ImportedArchive, UNCHANGED), **also(202, Job, BEGUN), **responses(404, 408, 409, 412, 422)},
)
async def upload_archive(
    request: Request,
    response: Response,
    caller: Caller,
    project: ProjectRef,
    message: Annotated[str, Query(max_length=10_000, description="Message of the commit.")] = "",
    folder: Annotated[str, Query(description="Put the archive below this folder.")] = "",
    replace: Annotated[bool, Query(description="Remove what stands there and is not in the archive.")] = False,
) -> ImportedArchive | Response:
    """Put a tar, tar.gz or zip into the project as one commit, or nothing of it. The body is the archive.

    With `Prefer: respond-async` a job does it, once the archive is here.
    """
    named = named_request(request, caller)
    below = from_text(folder) if folder else ROOT

    def work(body: Body) -> ImportedArchive | Response:
        found, of_body = caller.project(project), reading(named, body)
        before = begun_before(request.headers, caller, found.id, of_body)
        if before is not None:
            return before
        deferred = caller.manifold.deferred
        if prefers_async(request.headers) and not deferred.is_done(caller.principal, found.id, named):
            intent = Intent(message, expected=expected_by(caller, request.headers, found), request=of_body)
            return accepted(deferred.load(caller.principal, found.id, body, intent, folder=below, replace=replace))
        done = caller.manifold.archives.load(
            caller.principal,
            found.id,
            body,
            Intent(message, request=of_body),
            folder=below,
            replace=replace,
            expected=lambda: expected_by(caller, request.headers, found),
        )
        tell_edits(response, done, is_made=True)
        return done

    return await caller.api.bodies.run(request, work)
