"""Which installation the catalog is of: it goes with the process, and so is never a copy."""

from __future__ import annotations

from dataclasses import replace

from manifold_common.adapters.memory.catalog.state import State
from manifold_common.ids import IncarnationId
from manifold_common.ports.catalog import InstallationRow


class Installation:
    state: State

    def installation(self) -> InstallationRow:
        with self.state.lock:
            return self.state.installation

    def settle_installation(self, seen: IncarnationId, *, incarnation: IncarnationId, store: str) -> bool:
        with self.state.lock:
            row = self.state.installation
            if row.incarnation != seen:
                return False
            self.state.installation = replace(row, incarnation=incarnation, settled_on=row.database, store=store)
            return True
