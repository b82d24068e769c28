"""A catalog that was set back (restored from a backup, or a standby that lags) is noticed by whoever has seen more."""

from __future__ import annotations

from manifold_common.errors import StaleStore
from manifold_common.ids import CommitId, Generation
from manifold_common.ports.catalog import Head


def refuse_stale(head: Head, seen: Generation | None, seen_commit: CommitId | None = None) -> None:
    """Raises StaleStore unless ``head`` is at or beyond generation ``seen``, whose commit was ``seen_commit``."""
    if seen is None or head.generation > seen:
        return
    other = seen_commit is not None and head.generation == seen and head.commit != seen_commit
    if head.generation < seen or other:
        raise StaleStore(
            f"the project is at generation {head.generation}, but generation {seen} was seen before"
            + (", with another commit" if other else ""),
            hint="the database may have been restored from an old backup: find that out before writing anything",
            head_generation=head.generation,
            seen_generation=seen,
        )
