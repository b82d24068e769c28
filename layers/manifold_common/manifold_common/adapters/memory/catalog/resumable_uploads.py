"""Files that arrive in parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from manifold_common.adapters.memory.catalog.state import ResumableKey, State
from manifold_common.ids import ObjectId, ProjectId, TenantId, UploadId, UserId
from manifold_common.ports.catalog import SPARE_KEPT, HeldResumable, Purpose, ResumableUpload, UploadPart


class ResumableUploads:
    state: State

    def held_resumable(self, tenant: TenantId, project: ProjectId, now: datetime) -> HeldResumable:
        with self.state.lock:
            of_tenant = [
                one
                for one in self.state.resumable.values()
                if one.tenant == tenant and one.stage == "open" and one.expires_at > now
            ]
        here = [one for one in of_tenant if one.project == project]
        size = sum(one.received_bytes if one.total_bytes is None else one.total_bytes for one in here)
        return HeldResumable(len(here), size, len(of_tenant))

    def add_resumable(self, upload: ResumableUpload) -> None:
        with self.state.lock:
            self.state.require_key(self.state.living(upload.tenant, upload.project), upload.dek)
            self.state.resumable[_key(upload)] = upload
            self.state.resumable_parts[_key(upload)] = {}

    def find_resumable(
        self,
        tenant: TenantId,
        project: ProjectId,
        user: UserId,
        upload: UploadId,
        now: datetime,
        *,
        purpose: Purpose = "file",
    ) -> ResumableUpload | None:
        with self.state.lock:
            found = self._living((tenant, project, upload))
        if found is None or (found.user, found.purpose) != (user, purpose):
            return None
        return found if found.expires_at > now and found.stage != "removing" else None

    def hold_resumable(
        self, tenant: TenantId, project: ProjectId, upload: UploadId, writer: str, lease: timedelta,
        spare: Sequence[ObjectId],
    ) -> ResumableUpload | None:  # fmt: skip
        with self.state.lock:
            found, now = self._living((tenant, project, upload)), self.state.clock.now()
            if (
                found is None
                or found.stage != "open"
                or (found.writing_until is not None and found.writing_until > now)
            ):
                return None
            self.state.resumable[_key(found)] = replace(
                found, writer=writer, writing_until=now + lease, spare=(*found.spare, *spare)
            )
            return found

    def advance_resumable(
        self,
        upload: ResumableUpload,
        writer: str,
        parts: Sequence[UploadPart],
        lease: timedelta | None,
        *,
        gc_epoch: int | None = 0,
    ) -> bool:
        with self.state.lock:
            found = self._living(_key(upload))
            if found is None or found.stage != "open" or found.writer != writer:
                return False
            project = self.state.living(upload.tenant, upload.project)
            for dek in (upload.dek, *(part.dek for part in parts)):
                self.state.require_key(project, dek)
            if parts and gc_epoch is not None:
                self.state.require_epoch(project, gc_epoch)
            self.state.resumable[_key(upload)] = replace(
                upload,
                writer=writer if lease is not None else None,
                writing_until=self.state.clock.now() + lease if lease is not None else None,
            )
            self.state.resumable_parts[_key(upload)] |= {part.number: part for part in parts}
            return True

    def settle_resumable(self, upload: ResumableUpload) -> None:
        with self.state.lock:
            if _key(upload) in self.state.resumable:
                self.state.require_key(self.state.projects[upload.tenant, upload.project], upload.dek)
                self.state.resumable[_key(upload)] = replace(upload, stage="done", writer=None, writing_until=None)
                self.state.resumable_parts[_key(upload)] = {}

    def resumable_parts(
        self, tenant: TenantId, project: ProjectId, upload: UploadId, *, first: int = 0
    ) -> list[UploadPart]:
        with self.state.lock:
            found = self.state.resumable_parts.get((tenant, project, upload), {})
            return [part for number, part in sorted(found.items()) if number >= first]

    def remove_resumable(self, seen: ResumableUpload, expires_at: datetime) -> bool:
        with self.state.lock:
            found = self.state.resumable.get(_key(seen))
            if found is None or _removable(found) != _removable(seen):
                return False
            self.state.resumable[_key(seen)] = replace(found, stage="removing", expires_at=expires_at)
            return True

    def forget_resumable(self, tenant: TenantId, project: ProjectId, upload: UploadId) -> None:
        with self.state.lock:
            self.state.resumable.pop((tenant, project, upload), None)
            self.state.resumable_parts.pop((tenant, project, upload), None)

    def ended_resumable(self, before: datetime, *, limit: int = 100) -> list[ResumableUpload]:
        with self.state.lock:
            over = [one for one in self.state.resumable.values() if one.expires_at < before]
        return sorted(over, key=lambda one: one.expires_at)[:limit]

    def cluttered_resumable(self, done_before: datetime, *, limit: int = 100) -> list[ResumableUpload]:
        with self.state.lock:
            found = [one for one in self.state.resumable.values() if _is_cluttered(one, done_before)]
        return sorted(found, key=lambda one: one.expires_at)[:limit]

    def _living(self, key: ResumableKey) -> ResumableUpload | None:
        return self.state.resumable.get(key) if self.state.living_or_none(key[0], key[1]) is not None else None


def _key(upload: ResumableUpload) -> ResumableKey:
    return upload.tenant, upload.project, upload.upload


def _is_cluttered(upload: ResumableUpload, done_before: datetime) -> bool:
    if upload.stage == "done":
        return bool(upload.spare) and upload.announced_at is not None and upload.announced_at < done_before
    is_idle = upload.stage == "open" and upload.writer is None and upload.announced_at is None
    return is_idle and len(upload.spare) > SPARE_KEPT


def _removable(upload: ResumableUpload) -> tuple[object, ...]:
    return upload.expires_at, upload.announced_at, upload.writer
