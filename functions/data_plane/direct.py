"""The data plane as the checkout and commit functions serve it: by events that name who asks, or by HTTP events."""

from __future__ import annotations

from typing import Any, TypeVar

from manifold_common.domain.access import Principal
from manifold_common.domain.arguments import optional_request
from manifold_common.domain.named_request import NamedRequest
from manifold_common.ids import SessionId, parse_session_id
from manifold_common.shapes.access import PlanSession, Published, PublishUploads, SessionPlan, Verified, VerifyUploads
from manifold_common.shapes.base import Request, seen_of
from manifold_common.shapes.sessions import Saved
from msgspec import Struct

from functions.data_plane.answers import (
    keep_uploads,
    plan_session,
    publish_uploads,
    verify_uploads,
    with_plan,
)
from functions.invocation.decode import parts_of
from functions.invocation.entry import Call
from functions.invocation.principal import OnBehalf, project_of

M = TypeVar("M", bound=Request)


class _Asked(OnBehalf, frozen=True, kw_only=True):
    action: str
    session: str


class _AskedToPublish(_Asked, frozen=True, kw_only=True):
    request_id: str | None = None
    """The caller's own name for the request, so that it may be sent again."""


class _Said(Struct):
    principal: Principal
    session: SessionId
    request: NamedRequest | None = None


def plan(event: Any, call: Call) -> SessionPlan:
    """Open a session whose working set is on the client's machine, or bring it to another generation."""
    said, body = _read(event, PlanSession)
    manifold = call.enter(said.principal, said.session)
    project = None if body.project is None else project_of(manifold, said.principal, body.project)
    return plan_session(manifold, said.principal, said.session, project, body)


def verify(event: Any, call: Call) -> Verified:
    """Check packs ahead, for a draft with more than one call can check."""
    said, body = _read(event, VerifyUploads)
    return verify_uploads(call.enter(said.principal, said.session), said.principal, said.session, body)


def publish(event: Any, call: Call) -> Published:
    """Publish an uploaded draft as the next generation."""
    asked, body = parts_of(event, _AskedToPublish, PublishUploads)
    said = _said(asked, optional_request(asked.request_id))
    manifold, expected = call.enter(said.principal, said.session), seen_of(body.expected_generation)
    done = publish_uploads(manifold, said.principal, said.session, body, expected=expected, request=said.request)
    return with_plan(manifold, said.principal, said.session, body, done)


def keep(event: Any, call: Call) -> Saved:
    """Keep an uploaded draft as the session's saved work, without publishing it."""
    said, body = _read(event, VerifyUploads)
    return keep_uploads(call.enter(said.principal, said.session), said.principal, said.session, body)


def _read(event: Any, kind: type[M]) -> tuple[_Said, M]:
    """Raises InvalidInput."""
    asked, body = parts_of(event, _Asked, kind)
    return _said(asked), body


def _said(asked: _Asked, request: NamedRequest | None = None) -> _Said:
    return _Said(asked.principal(), parse_session_id(asked.session), request)
