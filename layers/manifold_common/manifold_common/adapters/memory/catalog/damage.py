"""Damaged objects, as verifications find them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from manifold_common.adapters.memory.catalog.state import State
from manifold_common.ids import Generation, ProjectId, TenantId
from manifold_common.ports.catalog.damage import MAX_DAMAGED, DamageRow, FoundDamage


class Damages:
    state: State

    def damaged_objects(
        self, tenant: TenantId, project: ProjectId, *, after: str = "", limit: int = MAX_DAMAGED
    ) -> list[DamageRow]:
        with self.state.lock:
            found = self.state.projects.get((tenant, project))
            known = {} if found is None else found.damaged
            return [known[name] for name in sorted(known) if name > after][:limit]

    def count_damaged(self) -> int:
        with self.state.lock:
            return sum(len(found.damaged) for found in self.state.projects.values() if found.alive)

    def note_damage(
        self, tenant: TenantId, project: ProjectId, found: Sequence[FoundDamage], sound: Sequence[DamageRow] = ()
    ) -> None:
        with self.state.lock:
            of = self.state.living_or_none(tenant, project)
            if of is None:
                return
            known, now = of.damaged, self.state.clock.now()
            for row in sound:
                here = known.get(row.object)
                if here is not None and here.seen_at == row.seen_at:
                    del known[row.object]
            for one in found:
                here = known.get(one.object)
                if here is not None:
                    seen_at = max(here.seen_at + timedelta(microseconds=1), now)
                    first = _earlier(here.first_generation, one.first_generation)
                    known[one.object] = replace(here, reason=one.reason, first_generation=first, seen_at=seen_at)
                elif len(known) < MAX_DAMAGED:
                    known[one.object] = DamageRow(*one, found_at=now, seen_at=now)
            of.row = replace(of.row, head=of.row.head._replace(is_damaged=bool(known)))


def _earlier(one: Generation | None, other: Generation | None) -> Generation | None:
    return min((found for found in (one, other) if found is not None), default=None)
