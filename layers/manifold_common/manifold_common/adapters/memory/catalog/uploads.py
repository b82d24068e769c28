"""Uploads: what clients may store by themselves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from manifold_common.adapters.memory.catalog.state import State, UploadKey, no_session
from manifold_common.ids import CommitId, ProjectId, SessionId, TenantId, UserId
from manifold_common.ports.catalog import Held, Upload


class Uploads:
    state: State

    def held_uploads(self, tenant: TenantId, user: UserId, session: SessionId) -> Held:
        with self.state.lock:
            users = [one for one in self.state.uploads.values() if (one.tenant, one.user) == (tenant, user)]
        sessions = [one for one in users if one.session == session]
        return Held(len(sessions), _bytes(sessions), len(users), _bytes(users))

    def add_uploads(self, uploads: Sequence[Upload]) -> None:
        with self.state.lock:
            for one in uploads:
                if self.state.session(one.tenant, one.user, one.session).project != one.project:
                    raise no_session(one.session)
                self.state.require_key(self.state.living(one.tenant, one.project), one.dek)
            self.state.uploads |= {_key(one): one for one in uploads}

    def find_uploads(
        self, tenant: TenantId, user: UserId, session: SessionId, names: Sequence[str], now: datetime
    ) -> list[Upload]:
        with self.state.lock:
            return [
                one
                for key, one in self.state.uploads.items()
                if (one.tenant, one.user, one.session) == (tenant, user, session)
                and self.state.living_or_none(tenant, one.project) is not None
                and one.name in names
                and one.expires_at > now
                and key not in self.state.removing
            ]

    def link_uploads(self, uploads: Sequence[Upload]) -> int:
        with self.state.lock:
            fitting = [
                (found, one)
                for one in uploads
                if (found := self._usable(_key(one))) and found.stored_bytes in (None, one.stored_bytes)
            ]
            for found, one in fitting:
                self.state.uploads[_key(one)] = replace(found, stored_bytes=one.stored_bytes)
            return len(fitting)

    def prove_uploads(
        self, tenant: TenantId, project: ProjectId, proofs: Mapping[str, bytes], expires_at: datetime
    ) -> int:
        with self.state.lock:
            there = [found for name in proofs if (found := self._usable((tenant, project, name)))]
            for one in there:
                until = max(one.expires_at, expires_at)
                self.state.uploads[_key(one)] = replace(one, proof=proofs[one.name], expires_at=until)
            return len(there)

    def refer_uploads(
        self, tenant: TenantId, project: ProjectId, names: Sequence[str], commit: CommitId, expires_at: datetime
    ) -> int:
        with self.state.lock:
            there = [found for name in set(names) if (found := self._usable((tenant, project, name)))]
            for one in there:
                until = max(one.expires_at, expires_at)
                self.state.uploads[_key(one)] = replace(one, commits=(*one.commits, commit), expires_at=until)
            return len(there)

    def forget_uploads(
        self, tenant: TenantId, project: ProjectId, names: Sequence[str], *, slots_of: CommitId | None = None
    ) -> None:
        with self.state.lock:
            for key, one in list(self.state.uploads.items()):
                is_slot = one.draft == slots_of and one.stored_bytes is None
                if key[:2] == (tenant, project) and (one.name in names or is_slot):
                    del self.state.uploads[key]
                    self.state.removing.discard(key)

    def ended_uploads(self, before: datetime, *, limit: int = 100) -> list[Upload]:
        with self.state.lock:
            over = [one for one in self.state.uploads.values() if one.expires_at < before]
        return sorted(over, key=lambda one: one.expires_at)[:limit]

    def remove_upload(self, seen: Upload) -> bool:
        with self.state.lock:
            found = self.state.uploads.get(_key(seen))
            same = found is not None and (found.expires_at, found.commits) == (seen.expires_at, seen.commits)
            if same:
                self.state.removing.add(_key(seen))
            return same

    def _usable(self, key: UploadKey) -> Upload | None:
        return None if key in self.state.removing else self.state.uploads.get(key)


def _key(upload: Upload) -> UploadKey:
    return upload.tenant, upload.project, upload.name


def _bytes(uploads: Iterable[Upload]) -> int:
    return sum(one.stored_bytes or 0 for one in uploads)
