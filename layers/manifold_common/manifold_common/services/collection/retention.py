"""Generations that no rule keeps leave the history.

Order of effects: a checkpoint of each kept generation whose predecessor goes, so that it can be read without; then the
generations, some at a time, each time the newest of a gap first: whatever is left of the history, and whenever this is
cut off, is readable.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.domain.event import PROJECT_TRIMMED, project_event
from manifold_common.domain.garbage import Rules, starts_of, to_remove
from manifold_common.engine.tree_log import Snapshot
from manifold_common.ids import PLAIN, Generation
from manifold_common.ports.catalog import Holdings, OutboxEvent, Standing
from manifold_common.services.context import Context

_AT_ONCE = 1000
_AUTHOR = LOCAL_PRINCIPAL.user


class Retention:
    def __init__(self, context: Context, default: Rules) -> None:
        self._context = context
        self._default = default

    def rules_of(self, holdings: Holdings) -> Rules:
        own, default = holdings.retention, self._default
        return Rules(
            default.generations if own.generations is None else own.generations,
            default.days if own.days is None else own.days,
            default.grace,
        )

    def due(self, holdings: Holdings) -> list[Generation]:
        """Return the generations that are to leave the history, oldest first."""
        if holdings.standing is not Standing.ALIVE:
            return []
        recorded = [(row.generation, row.recorded_at or holdings.now) for row in holdings.commits]
        return to_remove(recorded, holdings.pinned, holdings.now, self.rules_of(holdings))

    def held(self, holdings: Holdings) -> list[Generation]:
        """Return the generations that stay for no other reason than that something stands on them, oldest first."""
        gone = set(self.due(holdings))
        unpinned = replace(holdings, pinned=frozenset())
        return [generation for generation in self.due(unpinned) if generation not in gone]

    def missing_starts(self, holdings: Holdings, gone: Sequence[Generation]) -> Iterator[Snapshot]:
        """Yield the trees of the kept generations that could not be read any more once ``gone`` are: their predecessor
        is one of these, and they have no checkpoint that counts."""
        removed = set(gone)
        kept = [row.generation for row in holdings.commits if row.generation not in removed]
        is_sealed = any(key.dek != PLAIN for key in holdings.keys)
        there = {row.generation for row in holdings.checkpoints if row.dek != PLAIN or not is_sealed}
        for start in starts_of(kept):
            if start not in there:
                yield self._context.log.load(holdings.tenant, holdings.project, start)

    def apply(self, holdings: Holdings) -> int:
        """Remove what is due. Returns how many generations are gone.

        Raises:
            ContentCollected: objects of the family have been condemned meanwhile. CorruptObject: the history cannot be
            read; nothing of it is removed that is needed to.
        """
        context, tenant, project = self._context, holdings.tenant, holdings.project
        gone = self.due(holdings)
        if not gone:
            return 0
        for snapshot in self.missing_starts(holdings, gone):
            row = context.writer.write_checkpoint(snapshot)
            with context.keys.writing(tenant, project):
                context.catalog.add_checkpoint(tenant, project, row, gc_epoch=snapshot.head.gc_epoch)
        removed = 0
        for some in _chunks(gone):
            now = context.clock.now()
            data = project_event(tenant, project, _AUTHOR, now, first=some[0], last=some[-1], generations=len(some))
            event = OutboxEvent(PROJECT_TRIMMED, data)
            if context.catalog.remove_generations(tenant, project, some, event):
                removed += len(some)
        context.log.forget(tenant, project)
        return removed


def _chunks(gone: Sequence[Generation]) -> Iterator[list[Generation]]:
    """Yield generations that follow one another, the newest of each gap first."""
    gap: list[Generation] = []
    for generation in reversed(gone):
        if gap and (gap[-1] != generation + 1 or len(gap) == _AT_ONCE):
            yield gap[::-1]
            gap = []
        gap.append(generation)
    if gap:
        yield gap[::-1]
