"""Makes posted changes the next generation of a project."""

from __future__ import annotations

import hashlib
import time
from typing import Any

import msgspec
from manifold_common.domain.arguments import optional_request
from manifold_common.services.projects.changes import edit_of
from manifold_common.shapes.base import Answer, seen_of
from manifold_common.shapes.changes import Edited, NewCommit

from functions.invocation import metrics
from functions.invocation.decode import action_of, parts_of
from functions.invocation.entry import Call, function
from functions.invocation.http import answer, direct_event, is_http
from functions.invocation.principal import OnBehalf, project_of


class _Asked(OnBehalf, frozen=True, kw_only=True):
    action: str = "commit"
    project: str
    """Name or id."""
    request_id: str | None = None
    """The caller's own name for this request, unique in the project. Sent again, it changes nothing and is answered as
    before; another one of that name is refused."""


@function("commit")
def handler(event: Any, call: Call) -> Answer | dict[str, Any]:
    """Do the event's action and answer which generation came of it."""
    if is_http(event):
        return answer(_act(direct_event(event), call))
    return _act(event, call)


def _act(event: Any, call: Call) -> Answer:
    action = action_of(event, ("commit", "publish", "verify", "keep"))
    if action == "commit":
        return _commit(event, call)
    from functions.data_plane import direct  # posted changes have no use for it

    actions = {"publish": direct.publish, "verify": direct.verify, "keep": direct.keep}
    return actions[action](event, call)


def _commit(event: Any, call: Call) -> Edited:
    asked, body = parts_of(event, _Asked, NewCommit)
    principal = asked.principal()
    edits = list(map(edit_of, body.changes))

    def fingerprint() -> bytes:
        said = (principal.user, "commit", body)
        return hashlib.sha256(msgspec.json.encode(said, order="deterministic")).digest()

    name = optional_request(asked.request_id)
    request = None if name is None else name._replace(fingerprint=fingerprint)
    intent = body.intent(seen_of(body.expected_generation), request)
    manifold = call.enter(principal)
    project = project_of(manifold, principal, asked.project)
    begun = time.monotonic()
    done = manifold.edits.apply(principal, project, edits, intent)
    metrics.milliseconds("workspace.commit.duration", time.monotonic() - begun)
    return done
