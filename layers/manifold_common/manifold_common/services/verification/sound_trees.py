"""Trees of a project in which something is damaged, read past that."""

from __future__ import annotations

from collections.abc import Collection

from manifold_common.engine.tree_log import Snapshot, empty_snapshot, key_of_checkpoint
from manifold_common.errors import CorruptObject
from manifold_common.ids import Generation
from manifold_common.ports.catalog import CheckpointRow
from manifold_common.services.context import Context
from manifold_common.services.verification.verification import Verification

_STARTS = 3
"""Checkpoints that a tree is tried to be known from."""


class SoundTrees:
    def __init__(self, context: Context, seen: Verification, damaged: Collection[str]) -> None:
        """Args: ``damaged``: names of objects."""
        self._context = context
        self._tenant, self._project = seen.tenant, seen.project
        keys = context.keys.of(seen.tenant, seen.project)
        rows = context.catalog.list_checkpoints(seen.tenant, seen.project)
        counting = [row for row in rows if keys.trusts(row.dek)]
        names = {row.generation: key_of_checkpoint(seen.tenant, seen.project, row) for row in counting}
        self.sound = {row.generation: row for row in counting if names[row.generation] not in damaged}
        """Checkpoints that are not known to be damaged."""
        self.lost = {generation: key for generation, key in names.items() if key in damaged}
        """The names of those that are."""

    def load(self, generation: Generation) -> Snapshot:
        """Return a tree, read past the checkpoints that are damaged. Raises CorruptObject. NotFound."""
        if not generation:
            return empty_snapshot(self._tenant, self._project)
        before = sorted((one for one in self.sound if one <= generation), reverse=True)
        starts: list[CheckpointRow | None] = [self.sound[one] for one in before[:_STARTS]]
        error: CorruptObject | None = None
        for start in (*starts, None):
            try:
                return self._context.log.load_from(self._tenant, self._project, generation, start)
            except CorruptObject as found:
                error = error or found
        assert error is not None
        raise error
