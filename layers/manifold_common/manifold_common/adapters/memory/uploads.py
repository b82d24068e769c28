"""The list of uploads of the catalog in memory."""

from __future__ import annotations

import threading
from collections.abc import Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import datetime

from manifold_common.ids import ProjectId, SessionId, TenantId, UserId
from manifold_common.ports.uploads import Upload


@dataclass(slots=True)
class MemoryUploads:
    """Guarded by the catalog's lock, which also decides what may be added and found."""

    lock: threading.RLock
    rows: dict[tuple[TenantId, ProjectId, str], Upload] = field(default_factory=dict)

    def add(self, uploads: Sequence[Upload]) -> None:
        self.rows |= {(one.tenant, one.project, one.name): one for one in uploads}

    def find(
        self,
        tenant: TenantId,
        user: UserId,
        session: SessionId,
        projects: Set[ProjectId],
        names: Sequence[str],
        now: datetime,
    ) -> list[Upload]:
        with self.lock:
            return [
                one
                for one in self.rows.values()
                if (one.tenant, one.user, one.session) == (tenant, user, session)
                and one.project in projects
                and one.name in names
                and (one.claimed or one.expires_at > now)
            ]

    def claim(self, tenant: TenantId, project: ProjectId, names: Sequence[str]) -> int:
        with self.lock:
            there = [(tenant, project, name) for name in set(names) if (tenant, project, name) in self.rows]
            for key in there:
                self.rows[key] = replace(self.rows[key], claimed=True)
            return len(there)

    def forget(self, tenant: TenantId, project: ProjectId, names: Sequence[str]) -> None:
        with self.lock:
            for name in names:
                self.rows.pop((tenant, project, name), None)

    def ended(self, before: datetime, limit: int) -> list[Upload]:
        with self.lock:
            over = [one for one in self.rows.values() if not one.claimed and one.expires_at < before]
        return sorted(over, key=lambda one: one.expires_at)[:limit]
