"""Rotates the master key when its time has come, starts a rewrap where data keys are not under it, and works on jobs
about keys: by the clock, by hand, and woken by the queue when a job has something to do."""

from __future__ import annotations

from typing import Any

from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.domain.wording import plural
from manifold_common.errors import PartlyDone
from manifold_common.services.jobs.due import start_due
from manifold_common.services.keys.rotation import TRIED_AGAIN_AFTER
from manifold_common.shapes.decode import plain
from manifold_common.shapes.jobs import Job
from manifold_common.shapes.keys import MasterKey, Reencrypted

from functions.invocation import metrics
from functions.invocation.batch import kind_of
from functions.invocation.decode import refusal_of
from functions.invocation.entry import Call, function
from functions.invocation.schedule import ScheduledRequest, scheduled
from functions.invocation.work import Worked, each_turn, work_on_jobs

_MARGIN_SECONDS = 10.0
"""One key takes a few seconds at most."""
_FUNCTION = "reencrypt"


class ReencryptRequest(ScheduledRequest, frozen=True, kw_only=True):
    """Rewrap keys that are not under the newest version of the key of the settings."""

    project: str | None = None
    """Only keys of this one: its name or id."""


@function(_FUNCTION)
def handler(event: Any, call: Call) -> Any:
    """Work until there is nothing to do or time runs out; answer how far the rewrap is. The next invocation goes on.

    A message of the queue starts no rewrap and is answered by those that failed: keys that did are no reason.

    Raises:
        PartlyDone: keys failed, or something that they need is away. The others are done, or will be.
    """
    kind = kind_of(event)
    if kind == "kafka":
        raise refusal_of("eventSource", "this function takes nothing from a topic")
    if kind == "sqs":
        return each_turn(event, lambda: _work(call))
    return _rewrap(scheduled(ReencryptRequest, event), call)


def _rewrap(request: ReencryptRequest, call: Call) -> Reencrypted:
    manifold = call.manifold
    manifold.rotation.rotate_if_due()
    kek, begun = manifold.rewrap.kek(), None
    if kek is not None:
        only = None
        if request.project is not None:
            only = manifold.projects.resolve_even_deleted(LOCAL_PRINCIPAL, request.project)
        if next(manifold.rewrap.pending(only=only), None) is not None:
            begun = _begun(manifold, request.project)
    worked = _work(call)
    job = None if begun is None else manifold.jobs.get(LOCAL_PRINCIPAL, begun.id)
    # By the first wrapping, its provider may have made the first version.
    current = MasterKey.of(manifold.rewrap.kek() if worked.finished else kek)
    answer = Reencrypted(current=current, job=job, finished=worked.finished)
    failed = max(job.failed, len(job.troubles)) if job is not None else 0
    if failed:
        raise PartlyDone(
            f"not rewrapped: {plural(failed, 'key')}; rewrapped: {job.done if job is not None else 0}",
            hint="the next run tries them again; the function's log has a line for each",
            **plain(answer),
        )
    return answer


def _begun(manifold: Manifold, project: str | None) -> Job:
    """Start a rewrap. One that is under way goes on as it is: its workers were woken when it was started."""
    due_at = manifold.context.clock.now() - TRIED_AGAIN_AFTER
    return start_due(manifold.jobs, "rewrap", {"project": project}, due_at=due_at).job


def _work(call: Call) -> Worked:
    worked = work_on_jobs(call, _FUNCTION, _MARGIN_SECONDS)
    metrics.count("keys.rewrapped", worked.done["rewrap"])
    metrics.count("keys.failed", worked.failed["rewrap"])
    return worked
