"""What has come of jobs that do one request each, which its client did not wait for (Prefer: respond-async)."""

from __future__ import annotations

from anyio import to_thread
from fastapi import Request, Response
from manifold_common.domain.api_address import API
from manifold_common.domain.history import Point
from manifold_common.ids import JobId, parse_job_id
from manifold_common.services.archive import ArchiveFormat
from manifold_common.services.deferred.deferred import DeferredArchive
from manifold_common.shapes.jobs import JobResult
from manifold_common.shapes.projects import Project

from functions.api.archive_answers import FOUND, MEDIA_TYPES
from functions.api.caller import Call, Caller, JobRef
from functions.api.conditions import check_read
from functions.api.methods import is_head
from functions.api.problem import responses
from functions.api.response_body import attachment, content_range, hold, requested_range, stream
from functions.api.shaped import Router
from functions.api.validators import of_made_archive

router = Router(prefix=f"{API}/jobs/{{job}}", tags=["jobs"])


@router.get("/result", responses=responses(404))
def get_job_result(caller: Caller, job: JobRef) -> JobResult:
    """Return what has come of a job that does one request: what the request is answered without a job."""
    return caller.manifold.deferred.result(caller.principal, parse_job_id(job))


@router.get("/content", response_class=Response, responses={**FOUND, **responses(404, 416)})
async def download_job_content(request: Request, caller: Caller, job: JobRef) -> Response:
    """Download the archive that a job has made. Takes Range (one range of bytes), If-None-Match and If-Range."""
    project, (made, content) = await to_thread.run_sync(_found, caller, parse_job_id(job))
    archive_format = ArchiveFormat(made.format)
    validators = of_made_archive(made.etag, Point(made.generation, made.generation_commit))
    headers = {
        "Accept-Ranges": "bytes",
        "Content-Disposition": attachment(f"{project.name}-{made.generation}.{made.format}".encode()),
        "Manifold-Generation": str(made.generation),
    }
    check_read(request.headers, validators, headers)
    wanted, status, start, end = requested_range(request.headers, validators.etag), 200, 0, content.size
    if wanted is None:
        headers["Content-Length"] = str(content.size)
    else:
        start, length = wanted.within(content.size)
        status, end = 206, start + length
        headers |= content_range(start, length, content.size)
    if not is_head(request.scope):
        await hold(request, caller.api.room, content.held_bytes)
    pieces, media_type = content.read(start, end), MEDIA_TYPES[archive_format]
    return stream(request, caller.api.room, pieces, status=status, headers=headers, media_type=media_type, is_held=True)


def _found(caller: Call, job: JobId) -> tuple[Project, DeferredArchive]:
    found = caller.manifold.deferred.content(caller.principal, job)
    return caller.manifold.projects.get(caller.principal, found.made.project), found
