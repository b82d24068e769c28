"""Sessions: a working directory on the server's machine, from checkout to close."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import Path, Query, Request, Response
from manifold_common.ids import SessionId, parse_session_id
from manifold_common.services.sessions.shown import (
    checked_out_shown,
    committed_shown,
    saved_shown,
    session_shown,
    status_shown,
)
from manifold_common.shapes.base import seen_of
from manifold_common.shapes.cursors import Content, Cursors
from manifold_common.shapes.intent import Intent
from manifold_common.shapes.requests import CheckoutRequest
from manifold_common.shapes.sessions import (
    CHECKSUM,
    CheckedOut,
    Checkout,
    Closed,
    CommitSession,
    Committed,
    OpenSession,
    Saved,
    Session,
    SessionPage,
    Status,
)

from functions.api.caller import Caller
from functions.api.conditions import expected_generation, request_id
from functions.api.paging import DEFAULT_PAGE, After, Limit, page_of
from functions.api.problem import responses
from functions.api.shaped import Router, answered, content_of

router = Router(prefix="/api/sessions", tags=["sessions"])

_CURSORS = Cursors("sessions", msgspec.msgpack.Decoder(Content[SessionId]))

Checksum = Annotated[bool, Query(description=CHECKSUM)]
SessionRef = Annotated[str, Path(description="Id of a session.", examples=["agent-1"])]


@router.get("", responses=responses(404))
def list_sessions(
    caller: Caller,
    project: Annotated[str | None, Query(description="Only those of this project.")] = None,
    limit: Limit = DEFAULT_PAGE,
    cursor: After = None,
) -> SessionPage:
    """List the caller's sessions, by id."""
    only = None if project is None else caller.project_id(project)
    list_of = (caller.principal, only)
    after = _CURSORS.read(cursor, *list_of)
    found = caller.manifold.sessions.page(caller.principal, only, after=after, limit=limit + 1)
    items, more = page_of([session_shown(row) for row in found], limit)
    return SessionPage(items=items, next_cursor=_CURSORS.write(items[-1].session, *list_of) if more else None)


@router.post("", responses=responses(404, 409, 413, 507))
def open_session(caller: Caller, body: OpenSession) -> CheckedOut:
    """Open a session, or check an open one out again. Uncommitted changes are kept."""
    done = caller.manifold.sessions.checkout(
        caller.principal,
        None if body.session is None else parse_session_id(body.session),
        None if body.project is None else caller.project_id(body.project),
        CheckoutRequest(
            body.generation, tuple(body.paths), body.strategy, seen_of(body.seen_generation), body.drop_lost_draft
        ),
    )
    return checked_out_shown(done)


@router.get("/{session}", responses=responses(404))
def get_session(caller: Caller, session: SessionRef) -> Session:
    """Return one session."""
    return session_shown(caller.manifold.sessions.view(caller.principal, parse_session_id(session)).session)


@router.post("/{session}/checkout", responses=responses(404, 409, 413, 507))
def checkout(caller: Caller, session: SessionRef, body: Checkout | None = None) -> CheckedOut:
    """Bring an open session to a generation. Uncommitted changes are merged with what others committed."""
    wanted = body or Checkout()
    done = caller.manifold.sessions.checkout(
        caller.principal,
        parse_session_id(session),
        request=CheckoutRequest(
            wanted.generation,
            strategy=wanted.strategy,
            seen_generation=seen_of(wanted.seen_generation),
            drop_lost_draft=wanted.drop_lost_draft,
        ),
    )
    return checked_out_shown(done)


@router.get("/{session}/status", responses=responses(404, 409))
def status(caller: Caller, session: SessionRef, checksum: Checksum = False) -> Status:
    """Say what the session has changed and not committed."""
    found = caller.manifold.sessions.status(caller.principal, parse_session_id(session), checksum=checksum)
    return status_shown(found)


@router.post("/{session}/save", responses=responses(404, 409, 413, 507))
def save(caller: Caller, session: SessionRef, checksum: Checksum = False) -> Saved:
    """Store the session's changes durably, without publishing them."""
    return saved_shown(caller.manifold.commits.save(caller.principal, parse_session_id(session), checksum=checksum))


@router.post("/{session}/commit", responses=responses(404, 409, 412, 413, 507))
def commit(request: Request, caller: Caller, session: SessionRef, body: CommitSession | None = None) -> Committed:
    """Publish the session's changes as the next generation."""
    wanted = body or CommitSession()
    expected = expected_generation(request, wanted.expected_generation)
    done = caller.manifold.commits.commit(
        caller.principal,
        parse_session_id(session),
        Intent(wanted.message, wanted.provenance, expected, wanted.strategy, request_id(request)),
        checksum=wanted.checksum,
    )
    return committed_shown(done)


@router.delete(
    "/{session}",
    status_code=204,
    responses={**responses(409), 202: {"content": content_of(Closed), "description": "Closed, and not yet gone."}},
)
def close(caller: Caller, session: SessionRef) -> Response:
    """Drop the session, its working directory and its draft. Closing a closed one is no error."""
    left = caller.manifold.sessions.close(caller.principal, parse_session_id(session))
    if left is None:
        return Response(status_code=204)
    return answered(Closed(left=left), 202)
