"""Sessions: a working directory on the server's machine, from checkout to close."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import JSONResponse
from manifold_common.ids import parse_session_id
from manifold_common.services.sessions.commit import CommitRequest

from functions.api.caller import Caller, generation_of
from functions.api.conditions import expected_generation, request_id
from functions.api.problem import responses
from functions.api.strict_route import StrictRoute
from functions.shapes.base import seen_of
from functions.shapes.sessions import (
    CHECKSUM,
    CheckedOutOut,
    Checkout,
    ClosedOut,
    CommitSession,
    CommittedOut,
    OpenSession,
    SavedOut,
    SessionList,
    SessionOut,
    StatusOut,
    checked_out_out,
    committed_out,
    saved_out,
    session_out,
    status_out,
)

router = APIRouter(prefix="/api/sessions", tags=["sessions"], route_class=StrictRoute)

Checksum = Annotated[bool, Query(description=CHECKSUM)]
SessionRef = Annotated[str, Path(description="Id of a session.", examples=["agent-1"])]


@router.get("", responses=responses(404))
def list_sessions(
    caller: Caller, project: Annotated[str | None, Query(description="Only those of this project.")] = None
) -> SessionList:
    """List the caller's sessions."""
    only = None if project is None else caller.project_id(project)
    return SessionList(items=[session_out(row) for row in caller.manifold.sessions.all(caller.principal, only)])


@router.post("", responses=responses(404, 409, 413, 507))
def open_session(caller: Caller, body: OpenSession) -> CheckedOutOut:
    """Open a session, or check an open one out again. Uncommitted changes are kept."""
    done = caller.manifold.sessions.checkout(
        caller.principal,
        None if body.session is None else parse_session_id(body.session),
        None if body.project is None else caller.project_id(body.project),
        generation=generation_of(body.generation),
        patterns=tuple(body.paths),
        strategy=body.strategy,
        seen_generation=seen_of(body.seen_generation),
        drop_lost_draft=body.drop_lost_draft,
    )
    return checked_out_out(done)


@router.get("/{session}", responses=responses(404))
def get_session(caller: Caller, session: SessionRef) -> SessionOut:
    """Return one session."""
    return session_out(caller.manifold.sessions.view(caller.principal, parse_session_id(session)).session)


@router.post("/{session}/checkout", responses=responses(404, 409, 413, 507))
def checkout(caller: Caller, session: SessionRef, body: Checkout | None = None) -> CheckedOutOut:
    """Bring an open session to a generation. Uncommitted changes are merged with what others committed."""
    wanted = body or Checkout()
    done = caller.manifold.sessions.checkout(
        caller.principal,
        parse_session_id(session),
        generation=generation_of(wanted.generation),
        strategy=wanted.strategy,
        seen_generation=seen_of(wanted.seen_generation),
        drop_lost_draft=wanted.drop_lost_draft,
    )
    return checked_out_out(done)


@router.get("/{session}/status", responses=responses(404, 409))
def status(caller: Caller, session: SessionRef, checksum: Checksum = False) -> StatusOut:
    """Say what the session has changed and not committed."""
    found = caller.manifold.sessions.status(caller.principal, parse_session_id(session), checksum=checksum)
    return status_out(found)


@router.post("/{session}/save", responses=responses(404, 409, 413, 507))
def save(caller: Caller, session: SessionRef, checksum: Checksum = False) -> SavedOut:
    """Store the session's changes durably, without publishing them."""
    return saved_out(caller.manifold.commits.save(caller.principal, parse_session_id(session), checksum=checksum))


@router.post("/{session}/commit", responses=responses(404, 409, 412, 413, 507))
def commit(request: Request, caller: Caller, session: SessionRef, body: CommitSession | None = None) -> CommittedOut:
    """Publish the session's changes as the next generation."""
    wanted = body or CommitSession()
    expected = expected_generation(request, wanted.expected_generation)
    done = caller.manifold.commits.commit(
        caller.principal,
        parse_session_id(session),
        CommitRequest(
            wanted.message, wanted.provenance, wanted.strategy, expected, request_id(request), wanted.checksum
        ),
    )
    return committed_out(done)


@router.delete(
    "/{session}",
    status_code=204,
    responses={**responses(409), 202: {"model": ClosedOut, "description": "Closed, and not yet gone."}},
)
def close(caller: Caller, session: SessionRef) -> Response:
    """Drop the session, its working directory and its draft. Closing a closed one is no error."""
    left = caller.manifold.sessions.close(caller.principal, parse_session_id(session))
    if left is None:
        return Response(status_code=204)
    return JSONResponse(ClosedOut(left=left).model_dump(), status_code=202)
