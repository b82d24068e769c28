"""Checks a session out: into this function's own storage, where it stays warm for the session's next invocation."""

from __future__ import annotations

import time
from typing import Any

from manifold_common.ids import parse_session_id
from manifold_common.services.sessions.sessions import CheckedOut

from functions.checkout.request import CheckoutEvent
from functions.invocation import metrics
from functions.invocation.bounds import listed
from functions.invocation.decode import action_of, request_of
from functions.invocation.entry import Call, function
from functions.invocation.http import answer, direct_event, is_http
from functions.invocation.path_text import path_fields
from functions.invocation.principal import project_of


@function("checkout")
def handler(event: Any, call: Call) -> dict[str, Any]:
    """Do the event's action and answer a summary of what is there now."""
    if is_http(event):
        return answer(_act(direct_event(event), call))
    return _act(event, call)


def _act(event: Any, call: Call) -> dict[str, Any]:
    if action_of(event, ("checkout", "plan")) == "plan":
        from functions.data_plane import direct  # its shapes are costly to load, and a checkout has no use for them

        return direct.plan(event, call)
    return _checkout(request_of(CheckoutEvent, event), call)


def _checkout(request: CheckoutEvent, call: Call) -> dict[str, Any]:
    principal = request.principal()
    session = parse_session_id(request.session) if request.session is not None else None
    manifold = call.enter(principal, session)
    begun = time.monotonic()
    done = manifold.sessions.checkout(
        principal,
        session,
        project_of(manifold, principal, request.project) if request.project is not None else None,
        request.wanted(),
    )
    metrics.milliseconds("workspace.checkout.duration", time.monotonic() - begun)
    return _summary(done)


def _summary(done: CheckedOut) -> dict[str, Any]:
    return {
        "session": done.session,
        "project": done.project,
        "path": done.path,
        "kind": done.kind.value,
        "generation": done.generation,
        "commit": done.commit,
        "head_generation": done.head_generation,
        "entries": done.files,
        "total_bytes": done.total_bytes,
        "expires_at": done.expires_at.isoformat(),
        "dropped_draft": done.dropped_draft,
        "conflicts": [path_fields(path) for path in listed(done.conflicts)],
        "kept": list(done.kept),
    }
