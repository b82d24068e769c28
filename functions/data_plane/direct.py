"""The data plane as the checkout and commit functions serve it: by events that name who asks, or by HTTP events."""

from __future__ import annotations

from typing import Any, TypeVar

from manifold_common.domain.access import Principal
from manifold_common.domain.arguments import optional_request
from manifold_common.domain.named_request import NamedRequest
from manifold_common.ids import SessionId, parse_session_id
from msgspec import Struct
from pydantic import BaseModel, ValidationError

from functions.data_plane.answers import keep_uploads, plan_session, publish_uploads, verify_uploads
from functions.data_plane.shapes import PublishIn, SessionPlanIn, VerifyIn
from functions.invocation.decode import refusal_of, request_of
from functions.invocation.entry import Call
from functions.invocation.principal import OnBehalf
from functions.shapes.base import seen_of

M = TypeVar("M", bound=BaseModel)


class _Asked(OnBehalf, kw_only=True):
    action: str
    session: str
    request_id: str | None = None
    """The caller's own name for the request, so that it may be sent again."""


class _Said(Struct):
    principal: Principal
    session: SessionId
    request: NamedRequest | None


def plan(event: Any, call: Call) -> dict[str, Any]:
    """Open a session whose working set is on the client's machine, or bring it to another generation."""
    said, body = _read(event, SessionPlanIn)
    manifold = call.enter(said.principal, said.session)
    return _plain(plan_session(manifold, said.principal, said.session, body))


def verify(event: Any, call: Call) -> dict[str, Any]:
    """Check packs ahead, for a draft with more than one call can check."""
    said, body = _read(event, VerifyIn)
    return _plain(verify_uploads(call.enter(said.principal, said.session), said.principal, said.session, body))


def publish(event: Any, call: Call) -> dict[str, Any]:
    """Publish an uploaded draft as the next generation."""
    said, body = _read(event, PublishIn)
    manifold, expected = call.enter(said.principal, said.session), seen_of(body.expected_generation)
    answer, _ = publish_uploads(manifold, said.principal, said.session, body, expected=expected, request=said.request)
    return _plain(answer)


def keep(event: Any, call: Call) -> dict[str, Any]:
    """Keep an uploaded draft as the session's saved work, without publishing it."""
    said, body = _read(event, VerifyIn)
    return _plain(keep_uploads(call.enter(said.principal, said.session), said.principal, said.session, body))


def _read(event: Any, kind: type[M]) -> tuple[_Said, M]:
    """Raises InvalidInput."""
    asked = {name: value for name, value in event.items() if name in _Asked.__struct_fields__}
    rest = {name: value for name, value in event.items() if name not in asked}
    request = request_of(_Asked, asked)
    try:
        body = kind.model_validate(rest)
    except ValidationError as error:
        fault = error.errors(include_input=False, include_url=False)[0]
        place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in fault["loc"]).lstrip(".")
        raise refusal_of(place, fault["msg"].removeprefix("Value error, ")) from None
    name = request.request_id
    said = _Said(request.principal(), parse_session_id(request.session), optional_request(name or None))
    return said, body


def _plain(answer: BaseModel) -> dict[str, Any]:
    return answer.model_dump(mode="json")
