"""Which commits changed a path, or carry a fact in their provenance.

Both are sealed, so there is no index of them: commits are read, newest first. One search reads so many, or for so long,
and then gives what it has found, with the place where the next one goes on. So it may find nothing, and not be at the
end.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from manifold_common.domain.access import Principal
from manifold_common.domain.listing import CommitFilter
from manifold_common.domain.paths import ROOT
from manifold_common.domain.patience import check_wanted
from manifold_common.domain.tree import Changes
from manifold_common.engine.commit_writer import Note, decode_note
from manifold_common.ids import Generation, ProjectId
from manifold_common.ports.catalog import CommitRow
from manifold_common.services.context import Context

MOST_OPENED = 5000
"""Commits whose notes one search opens: some 20 microseconds each."""
MOST_READ = 500
"""Commits that one search reads from the object store, where they are not cached."""
SEARCH_SECONDS = 2.0
_AT_ONCE = 500


class Found(NamedTuple):
    commits: list[tuple[CommitRow, Note]]
    before: Generation | None
    """Go on before this one; ``None``: there is nothing more."""


def search(
    context: Context,
    principal: Principal,
    project: ProjectId,
    wanted: CommitFilter,
    before: Generation | None,
    limit: int,
) -> Found:
    """Raises CorruptObject."""
    tenant = principal.tenant
    keys = context.keys.of(tenant, project)
    ends = context.clock.monotonic() + SEARCH_SECONDS
    found: list[tuple[CommitRow, Note]] = []
    opened = read = 0
    while True:
        rows = context.catalog.list_commits(tenant, project, wanted=wanted, before=before, limit=_AT_ONCE)
        noted = [(row, decode_note(keys, tenant, project, row)) for row in rows]
        likely = [row for row, note in noted if wanted.provenance is None or wanted.provenance.is_in(note.provenance)]
        changes = _changes_of(context, principal, project, likely, wanted)
        candidates = {row.generation for row in likely}
        for row, note in noted:
            check_wanted()
            before = row.generation
            opened += 1
            if row.generation in candidates:
                if changes is None or touches(next(changes), wanted.path or ROOT):
                    found.append((row, note))
                read += changes is not None
            is_over = opened >= MOST_OPENED or read >= MOST_READ or context.clock.monotonic() >= ends
            if len(found) == limit or is_over:
                return Found(found, before if before > 1 else None)
        if len(rows) < _AT_ONCE:
            return Found(found, None)


def _changes_of(
    context: Context, principal: Principal, project: ProjectId, rows: list[CommitRow], wanted: CommitFilter
) -> Iterator[Changes] | None:
    if wanted.path in (None, ROOT):
        return None
    return (commit.changes for commit in context.log.read_commits(principal.tenant, project, rows))


def touches(changes: Changes, path: bytes) -> bool:
    """Tell whether ``path`` was changed, or something below it."""
    below = path + b"/"
    return any(
        path in paths or any(one.startswith(below) for one in paths) for paths in (changes.upserts, changes.deletes)
    )
