"""The host's background tasks, and how often each runs."""

from __future__ import annotations

from manifold_common.bootstrap import Manifold

from manifold_local.embedded.postgres import EmbeddedPostgres
from manifold_local.host.scheduler import Task

_DATABASE_SECONDS = 5.0
_WORKING_SETS_SECONDS = 60.0
_SETTLE_SECONDS = 30.0


def background_tasks(manifold: Manifold, postgres: EmbeddedPostgres | None) -> list[Task]:
    """Return the tasks. Periods of 0 in the settings leave theirs out."""
    maintenance, projects = manifold.maintenance, manifold.settings.projects
    every = projects.maintenance.interval_seconds
    found = [
        Task("save drafts", projects.workspace.draft_seconds, maintenance.save_drafts),
        Task("remove working sets", _WORKING_SETS_SECONDS, maintenance.sweep_working_sets),
        Task("close sessions", every, maintenance.sweep_sessions),
        Task("write checkpoints", every, maintenance.write_checkpoints),
        Task("remove unused uploads", every, manifold.uploads.sweep),
        Task("remove superseded objects", every, manifold.superseded.sweep),
        Task("settle events", min(every, _SETTLE_SECONDS) if manifold.events.sinks else every, manifold.events.settle),
        Task("prune events", every, manifold.events.prune),
    ]
    if postgres is not None:
        found.append(Task("watch the database", _DATABASE_SECONDS, lambda: _revive(manifold, postgres)))
    return [task for task in found if task.period_seconds > 0]


def _revive(manifold: Manifold, postgres: EmbeddedPostgres) -> bool:
    """Start the embedded server again if it has gone. Returns whether that was needed."""
    if manifold.context.catalog.health()[0]:
        return False
    postgres.ensure_running()
    return True
