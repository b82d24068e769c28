"""Checks a session out: into this function's own storage, where it stays warm for the session's next invocation."""

from __future__ import annotations

import time
from typing import Any

from manifold_common.ids import parse_session_id
from manifold_common.shapes.base import Answer
from manifold_common.shapes.sessions import CheckedOut, OpenSession

from functions.invocation import metrics
from functions.invocation.decode import action_of, parts_of
from functions.invocation.entry import Call, function
from functions.invocation.generations import generation_for
from functions.invocation.http import answer, direct_event, is_http
from functions.invocation.principal import OnBehalf, project_of


class _Asked(OnBehalf, frozen=True, kw_only=True):
    action: str = "checkout"


@function("checkout")
def handler(event: Any, call: Call) -> Answer | dict[str, Any]:
    """Do the event's action and answer a summary of what is there now."""
    if is_http(event):
        return answer(_act(direct_event(event), call))
    return _act(event, call)


def _act(event: Any, call: Call) -> Answer:
    if action_of(event, ("checkout", "plan")) == "plan":
        from functions.data_plane import direct  # a checkout has no use for it

        return direct.plan(event, call)
    return _checkout(event, call)


def _checkout(event: Any, call: Call) -> CheckedOut:
    asked, body = parts_of(event, _Asked, OpenSession)
    principal = asked.principal()
    session = parse_session_id(body.session) if body.session is not None else None
    manifold = call.enter(principal, session)
    begun = time.monotonic()
    sessions = manifold.sessions
    project = project_of(manifold, principal, body.project) if body.project is not None else None
    generation = generation_for(manifold, principal, session, project, body.generation)
    done = sessions.checkout(principal, session, project, body.request(generation))
    metrics.milliseconds("workspace.checkout.duration", time.monotonic() - begun)
    return done
