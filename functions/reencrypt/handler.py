"""Wraps a slice of the data keys anew, under the key of the settings."""

from __future__ import annotations

from typing import Any

from manifold_common.domain.keys import KeyCursor
from manifold_common.domain.wording import plural
from manifold_common.errors import PartlyDone
from manifold_common.ids import parse_dek_id, parse_project_id, parse_tenant_id
from manifold_common.shapes.decode import plain
from manifold_common.shapes.keys import Rewrapped

from functions.invocation import metrics
from functions.invocation.decode import refusal_of
from functions.invocation.entry import Call, function
from functions.invocation.schedule import Job, scheduled

_MARGIN_SECONDS = 10.0
"""One key takes a few seconds at most."""


class ReencryptRequest(Job, frozen=True, kw_only=True):
    """Rewrap keys that are not under the newest version of the key of the settings."""

    after: str | None = None
    """Go on there: ``next`` of an earlier answer. The beginning by default, which also tries again what failed."""


@function("reencrypt")
def handler(event: Any, call: Call) -> Rewrapped:
    """Rewrap until all is done or time runs out; answer how far it came.

    Raises:
        PartlyDone: keys failed. The others are done, and the next run from the beginning tries these again.
    """
    request = scheduled(ReencryptRequest, event)
    after = _cursor_of(request.after) if request.after is not None else None
    done = call.manifold.rewrap.run(after, stop=call.ends_within(_MARGIN_SECONDS))
    metrics.count("keys.rewrapped", done.rewrapped)
    metrics.count("keys.failed", len(done.troubles))
    answer = done.answer()
    if done.troubles:
        raise PartlyDone(
            f"not rewrapped: {plural(len(done.troubles), 'key')}; rewrapped: {done.rewrapped}",
            hint="the next run tries them again; the function's log has a line for each",
            **plain(answer),
        )
    return answer


def _cursor_of(text: str) -> KeyCursor:
    parts = text.split("/")
    if len(parts) != 3:
        raise refusal_of("after", "expected <tenant>/<project>/<key>, as an answer's next has it")
    tenant, project, dek = parts
    return parse_tenant_id(tenant), parse_project_id(project), parse_dek_id(dek)
