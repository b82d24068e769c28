"""Sessions: a working directory on the server's machine, from checkout to close."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import Path, Query, Request, Response
from manifold_common.domain.api_address import API
from manifold_common.ids import SessionId, parse_session_id
from manifold_common.shapes.base import seen_of
from manifold_common.shapes.cursors import Content, Cursors
from manifold_common.shapes.sessions import (
    CHECKSUM,
    CheckedOut,
    Checkout,
    CheckoutKind,
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
from functions.api.conditions import check_read, check_session, creates_only
from functions.api.paging import DEFAULT_PAGE, After, Limit, page_of
from functions.api.problem import responses
from functions.api.request_names import request_of_session
from functions.api.shaped import Router, also, answered
from functions.api.validators import of_session, tell_commit, tell_session
from functions.invocation.generations import generation_for

router = Router(prefix=f"{API}/sessions", tags=["sessions"])

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
    items, more = page_of(found, limit)
    return SessionPage(items=items, next_cursor=_CURSORS.write(items[-1].session, *list_of) if more else None)


@router.post(
    "",
    responses={**also(201, CheckedOut, "The session is a new one."), **responses(404, 409, 412)},
)
def open_session(request: Request, response: Response, caller: Caller, body: OpenSession) -> CheckedOut:
    """Open a session, or check an open one out again. Uncommitted changes are kept."""
    session = None if body.session is None else parse_session_id(body.session)
    project = None if body.project is None else caller.project_id(body.project)
    check_session(caller, request.headers, session, project=project)
    done = caller.manifold.sessions.checkout(
        caller.principal,
        session,
        project,
        body.request(
            generation_for(caller.manifold, caller.principal, session, project, body.generation),
            only_new=creates_only(request.headers),
        ),
    )
    opened = caller.manifold.sessions.get(caller.principal, done.session)
    tell_session(response, opened, is_new=done.kind is CheckoutKind.NEW)
    return done


@router.get("/{session}", responses=responses(404))
def get_session(request: Request, response: Response, caller: Caller, session: SessionRef) -> Session:
    """Return one session."""
    found = caller.manifold.sessions.get(caller.principal, parse_session_id(session))
    check_read(request.headers, of_session(found), response.headers)
    return found


@router.post("/{session}/checkout", responses=responses(404, 409, 412))
def checkout(
    request: Request, response: Response, caller: Caller, session: SessionRef, body: Checkout | None = None
) -> CheckedOut:
    """Bring an open session to a generation. Uncommitted changes are merged with what others committed."""
    wanted = body or Checkout()
    found = parse_session_id(session)
    check_session(caller, request.headers, found)
    generation = generation_for(caller.manifold, caller.principal, found, None, wanted.generation)
    done = caller.manifold.sessions.checkout(caller.principal, found, request=wanted.request(generation))
    tell_session(response, caller.manifold.sessions.get(caller.principal, done.session))
    return done


@router.get("/{session}/status", responses=responses(404, 409))
def status(caller: Caller, session: SessionRef, checksum: Checksum = False) -> Status:
    """Say what the session has changed and not committed."""
    return caller.manifold.sessions.status(caller.principal, parse_session_id(session), checksum=checksum).answer


@router.post("/{session}/save", responses=responses(404, 409, 412))
def save(
    request: Request, response: Response, caller: Caller, session: SessionRef, checksum: Checksum = False
) -> Saved:
    """Store the session's changes durably, without publishing them."""
    found = parse_session_id(session)
    check_session(caller, request.headers, found)
    done = caller.manifold.commits.save(caller.principal, found, checksum=checksum)
    tell_session(response, caller.manifold.sessions.get(caller.principal, found))
    return done


@router.post("/{session}/commit", responses=responses(404, 409, 412, 422))
def commit(
    request: Request, response: Response, caller: Caller, session: SessionRef, body: CommitSession | None = None
) -> Committed:
    """Publish the session's changes as the next generation."""
    wanted = body or CommitSession()
    found, named = parse_session_id(session), request_of_session(request)
    expected = check_session(
        caller, request.headers, found, seen_of(wanted.expected_generation), commits=True, named=named
    )
    done = caller.manifold.commits.commit(
        caller.principal,
        found,
        wanted.intent(expected, named),
        checksum=wanted.checksum,
    )
    tell_commit(response, done)
    return done


@router.delete(
    "/{session}",
    status_code=204,
    responses={**responses(409, 412), **also(202, Closed, "Closed, and some of it is still there.")},
)
def close(request: Request, caller: Caller, session: SessionRef) -> Response:
    """Drop the session, its working directory and its draft. Closing a closed one is no error."""
    check_session(caller, request.headers, parse_session_id(session))
    done = caller.manifold.sessions.close(caller.principal, parse_session_id(session))
    return answered(done, 202) if done.left or done.set_aside else Response(status_code=204)
