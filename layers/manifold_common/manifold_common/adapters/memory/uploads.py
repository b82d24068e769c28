"""The list of uploads of the catalog in memory."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import datetime

from manifold_common.ids import CommitId, ProjectId, SessionId, TenantId, UserId
from manifold_common.ports.uploads import Held, Upload

_Key = tuple[TenantId, ProjectId, str]


@dataclass(slots=True)
class MemoryUploads:
    """Guarded by the catalog's lock, which also decides what may be added and found."""

    lock: threading.RLock
    rows: dict[_Key, Upload] = field(default_factory=dict)
    removing: set[_Key] = field(default_factory=set)

    def held(self, tenant: TenantId, user: UserId, session: SessionId) -> Held:
        with self.lock:
            users = [one for one in self.rows.values() if (one.tenant, one.user) == (tenant, user)]
        sessions = [one for one in users if one.session == session]
        return Held(len(sessions), _bytes(sessions), len(users), _bytes(users))

    def add(self, uploads: Sequence[Upload]) -> None:
        self.rows |= {_key(one): one for one in uploads}

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
                for key, one in self.rows.items()
                if (one.tenant, one.user, one.session) == (tenant, user, session)
                and one.project in projects
                and one.name in names
                and one.expires_at > now
                and key not in self.removing
            ]

    def link(self, uploads: Sequence[Upload]) -> int:
        with self.lock:
            fitting = [
                (found, one)
                for one in uploads
                if (found := self._usable(_key(one))) and found.stored_bytes in (None, one.stored_bytes)
            ]
            for found, one in fitting:
                self.rows[_key(one)] = replace(found, stored_bytes=one.stored_bytes)
            return len(fitting)

    def prove(self, tenant: TenantId, project: ProjectId, proofs: Mapping[str, bytes], expires_at: datetime) -> int:
        with self.lock:
            there = [found for name in proofs if (found := self._usable((tenant, project, name)))]
            for one in there:
                until = max(one.expires_at, expires_at)
                self.rows[_key(one)] = replace(one, proof=proofs[one.name], expires_at=until)
            return len(there)

    def refer(
        self, tenant: TenantId, project: ProjectId, names: Sequence[str], commit: CommitId, expires_at: datetime
    ) -> int:
        with self.lock:
            there = [found for name in set(names) if (found := self._usable((tenant, project, name)))]
            for one in there:
                until = max(one.expires_at, expires_at)
                self.rows[_key(one)] = replace(one, commits=(*one.commits, commit), expires_at=until)
            return len(there)

    def forget(self, tenant: TenantId, project: ProjectId, names: Sequence[str], slots_of: CommitId | None) -> None:
        with self.lock:
            for key, one in list(self.rows.items()):
                is_slot = one.draft == slots_of and one.stored_bytes is None
                if key[:2] == (tenant, project) and (one.name in names or is_slot):
                    del self.rows[key]
                    self.removing.discard(key)

    def ended(self, before: datetime, limit: int) -> list[Upload]:
        with self.lock:
            over = [one for one in self.rows.values() if one.expires_at < before]
        return sorted(over, key=lambda one: one.expires_at)[:limit]

    def remove(self, seen: Upload) -> bool:
        with self.lock:
            found = self.rows.get(_key(seen))
            same = found is not None and (found.expires_at, found.commits) == (seen.expires_at, seen.commits)
            if same:
                self.removing.add(_key(seen))
            return same

    def _usable(self, key: _Key) -> Upload | None:
        return None if key in self.removing else self.rows.get(key)


def _key(upload: Upload) -> _Key:
    return upload.tenant, upload.project, upload.name


def _bytes(uploads: Iterable[Upload]) -> int:
    return sum(one.stored_bytes or 0 for one in uploads)
