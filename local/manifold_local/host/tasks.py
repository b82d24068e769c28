"""What the host does by itself, and how often: the chores, and watching over what it runs on."""

from __future__ import annotations

from manifold_common.bootstrap import Manifold
from manifold_common.bootstrap.chores import CHORES, Chore

from manifold_local.embedded.postgres import EmbeddedPostgres
from manifold_local.host.scheduler import Task

_DATABASE_SECONDS = 5.0


def chores(manifold: Manifold) -> list[Task]:
    """Return the chores as the host does them. Periods of 0 leave theirs out."""
    found = [task_of(chore, manifold) for chore in CHORES.values()]
    return [task for task in found if task.period_seconds > 0]


def task_of(chore: Chore, manifold: Manifold) -> Task:
    seconds = chore.every.seconds(manifold)
    return Task(chore.name, seconds, lambda stop: chore.run(manifold, stop), is_long=chore.is_long)


def watch_over(postgres: EmbeddedPostgres, manifold: Manifold) -> Task:
    """Return what starts the embedded server again if it has gone."""
    return Task("watch_database", _DATABASE_SECONDS, lambda _: _revive(manifold, postgres))


def _revive(manifold: Manifold, postgres: EmbeddedPostgres) -> bool:
    """Returns whether that was needed."""
    if manifold.context.catalog.health()[0]:
        return False
    postgres.ensure_running()
    return True
