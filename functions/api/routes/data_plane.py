"""Clients that read and store content by themselves: plans and uploads."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Request, Response
from manifold_common.domain.api_address import API
from manifold_common.ids import parse_session_id
from manifold_common.shapes.access import (
    LinkUploads,
    OpenUploads,
    Plan,
    PlanProject,
    PlanSession,
    Published,
    PublishUploads,
    SessionPlan,
    UploadLinks,
    UploadSlots,
    Verified,
    VerifyUploads,
)
from manifold_common.shapes.base import seen_of
from manifold_common.shapes.sessions import Saved

from functions.api.caller import Caller, ProjectRef
from functions.api.conditions import check_project, check_session, creates_only
from functions.api.problem import responses
from functions.api.request_names import request_of_session
from functions.api.shaped import Router
from functions.api.validators import tell_commit
from functions.data_plane.answers import (
    keep_uploads,
    plan_session,
    publish_uploads,
    verify_uploads,
    wanted_by,
    with_plan,
)

router = Router(prefix=API, tags=["direct access"])

SessionRef = Annotated[str, Path(description="Id of a session.", examples=["agent-1"])]


@router.post("/projects/{project}/plan", responses=responses(404, 412))
def plan_project(request: Request, caller: Caller, project: ProjectRef, body: PlanProject | None = None) -> Plan:
    """Say how to read a generation from the object store: links to its objects, and the key of each."""
    body = body or PlanProject()
    found = caller.project(project)
    check_project(request.headers, found)
    return caller.manifold.plans.plan(
        caller.principal, found.id, caller.generation(found.id, body.generation), wanted_by(body)
    )


@router.post("/sessions/{session}/plan", responses=responses(404, 409, 412))
def plan_working_set(
    request: Request, caller: Caller, session: SessionRef, body: PlanSession | None = None
) -> SessionPlan:
    """Open a session whose working set is on the client's machine, or bring it to another generation."""
    body, found = body or PlanSession(), parse_session_id(session)
    project = None if body.project is None else caller.project_id(body.project)
    check_session(caller, request.headers, found, project=project)
    only_new = creates_only(request.headers)
    return plan_session(caller.manifold, caller.principal, found, project, body, only_new=only_new)


@router.post("/sessions/{session}/uploads", responses=responses(404, 409, 412))
def open_uploads(request: Request, caller: Caller, session: SessionRef, body: OpenUploads) -> UploadSlots:
    """Give room for a draft and packs of it in the object store: a name for each object, and its key."""
    check_session(caller, request.headers, parse_session_id(session))
    uploads, base = caller.manifold.uploads, seen_of(body.base_generation)
    assert base is not None
    return uploads.open(caller.principal, parse_session_id(session), base, body.packs, draft=body.draft)


@router.post("/sessions/{session}/links", responses=responses(404, 412))
def link_uploads(request: Request, caller: Caller, session: SessionRef, body: LinkUploads) -> UploadLinks:
    """Give links that create objects in such room, each once and with the length that is told."""
    check_session(caller, request.headers, parse_session_id(session))
    sizes: dict[str, int] = {one.name: one.size for one in body.uploads}
    return UploadLinks(links=caller.manifold.uploads.link(caller.principal, parse_session_id(session), sizes))


@router.post("/sessions/{session}/verify", responses=responses(404, 412))
def verify(request: Request, caller: Caller, session: SessionRef, body: VerifyUploads) -> Verified:
    """Check packs ahead, for a draft with more than one request can check."""
    check_session(caller, request.headers, parse_session_id(session))
    return verify_uploads(caller.manifold, caller.principal, parse_session_id(session), body)


@router.post("/sessions/{session}/publish", responses=responses(404, 409, 412, 422))
def publish(
    request: Request, response: Response, caller: Caller, session: SessionRef, body: PublishUploads
) -> Published:
    """Publish an uploaded draft as the next generation. All that was uploaded is checked before."""
    found, named = parse_session_id(session), request_of_session(request)
    done = publish_uploads(
        caller.manifold,
        caller.principal,
        found,
        body,
        expected=check_session(
            caller, request.headers, found, seen_of(body.expected_generation), commits=True, named=named
        ),
        request=named,
    )
    tell_commit(response, done)
    return with_plan(caller.manifold, caller.principal, found, body, done)


@router.post("/sessions/{session}/keep", responses=responses(404, 409, 412))
def keep(request: Request, caller: Caller, session: SessionRef, body: VerifyUploads) -> Saved:
    """Keep an uploaded draft as the session's saved work, without publishing it. One that changes nothing ends that."""
    check_session(caller, request.headers, parse_session_id(session))
    return keep_uploads(caller.manifold, caller.principal, parse_session_id(session), body)
