"""Makes posted changes the next generation of a project."""

from __future__ import annotations

import time
from typing import Any

from manifold_common.services.projects.edits import Edited

from functions.commit.request import CommitEvent
from functions.invocation import metrics
from functions.invocation.bounds import listed
from functions.invocation.decode import action_of, request_of
from functions.invocation.entry import Call, function
from functions.invocation.http import answer, direct_event, is_http
from functions.invocation.path_text import path_fields
from functions.invocation.principal import project_of


@function("commit")
def handler(event: Any, call: Call) -> dict[str, Any]:
    """Do the event's action and answer which generation came of it."""
    if is_http(event):
        return answer(_act(direct_event(event), call))
    return _act(event, call)


def _act(event: Any, call: Call) -> dict[str, Any]:
    action = action_of(event, ("commit", "publish", "verify", "keep"))
    if action == "commit":
        return _commit(request_of(CommitEvent, event), call)
    from functions.data_plane import direct  # its shapes are costly to load, and posted changes have no use for them

    actions = {"publish": direct.publish, "verify": direct.verify, "keep": direct.keep}
    return actions[action](event, call)


def _commit(request: CommitEvent, call: Call) -> dict[str, Any]:
    principal = request.principal()
    edits = request.edits()
    manifold = call.enter(principal)
    project = project_of(manifold, principal, request.project)
    begun = time.monotonic()
    done = manifold.edits.apply(principal, project, edits, request.intent())
    metrics.milliseconds("workspace.commit.duration", time.monotonic() - begun)
    return _summary(done)


def _summary(done: Edited) -> dict[str, Any]:
    return {
        "project": done.project,
        "generation": done.generation,
        "commit": done.commit,
        "paths": [path_fields(path) for path in listed(done.paths)],
        "paths_total": len(done.paths),
        "conflicts": [path_fields(path) for path in listed(done.conflicts)],
        "kept": list(done.kept),
    }
