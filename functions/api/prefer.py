"""What a client would rather have, where there is a choice (Prefer, RFC 7240): to be answered when work has begun.

What it would rather have and is not known here, or is malformed, is passed over, as that document asks for.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from fastapi import Response
from manifold_common.domain.named_request import NamedRequest
from manifold_common.ids import ProjectId
from manifold_common.shapes.jobs import Job
from starlette.datastructures import Headers

from functions.api.caller import Call
from functions.api.shaped import answered
from functions.api.validators import tell_job
from functions.api.weights import members_of

RESPOND_ASYNC: Final = "respond-async"
BEGUN: Final = "With `Prefer: respond-async`: the job that does it has begun."


def prefers_async(headers: Headers) -> bool:
    """Tell whether a client would rather be answered by the job that does the work than wait for its end."""
    for line in headers.getlist("prefer"):
        for first, *_ in members_of(line):
            name, _, value = first.partition("=")
            if name.strip() == RESPOND_ASYNC and value.strip() in ("", '""'):
                return True
    return False


def begun_before(headers: Headers, caller: Call, project: ProjectId, named: NamedRequest | None) -> Response | None:
    """Return the answer to who prefers not to wait, and has had this very request begun. Raises RequestNameReused."""
    if named is None or not prefers_async(headers):
        return None
    job = caller.manifold.deferred.same(caller.principal, project, named)
    return None if job is None else accepted(job)


def accepted(job: Job) -> Response:
    """Return the answer to a client that prefers not to wait: which job does the work."""
    answer = answered(job, HTTPStatus.ACCEPTED)
    tell_job(answer, job, is_new=True)
    answer.status_code = HTTPStatus.ACCEPTED
    answer.headers["Preference-Applied"] = RESPOND_ASYNC
    return answer
