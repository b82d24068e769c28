"""Files that arrive in parts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from manifold_common.adapters.postgres.catalog import rows
from manifold_common.adapters.postgres.catalog.keys import refuses_plain
from manifold_common.adapters.postgres.catalog.projects import head_of, no_project
from manifold_common.adapters.postgres.database import Database
from manifold_common.errors import ContentCollected
from manifold_common.ids import PLAIN, ObjectId, ProjectId, TenantId, UploadId, UserId
from manifold_common.ports.catalog import (
    SPARE_KEPT,
    HeldResumable,
    Purpose,
    ResumableUpload,
    UploadPart,
    encrypted_meanwhile,
)

_HELD = """
SELECT count(*) FILTER (WHERE project_id = %(project)s),
       coalesce(sum(coalesce(total_bytes, received_bytes)) FILTER (WHERE project_id = %(project)s), 0)::bigint,
       count(*)
FROM resumable_uploads WHERE tenant_id = %(tenant)s AND stage = 'open' AND expires_at > %(now)s
"""

_ADD = """
WITH p AS (
    SELECT FROM projects WHERE tenant_id = %(tenant)s AND project_id = %(project)s AND deleted_at IS NULL
      AND (%(sealed)s OR key_epoch = 0)
), added AS (
    INSERT INTO resumable_uploads (tenant_id, project_id, upload_id, user_id, dek_id, about, progress, received_bytes,
                                   total_bytes, spare, created_at, expires_at, stage, purpose)
    SELECT %(tenant)s, %(project)s, %(upload)s, %(user)s, %(dek)s, %(about)s, %(progress)s, %(received)s, %(total)s,
           %(spare)s, %(created)s, %(expires)s, %(stage)s, %(purpose)s
    FROM p
)
SELECT FROM p
"""

_FIND = f"""
SELECT {rows.RESUMABLE} FROM resumable_uploads AS u JOIN projects AS p USING (tenant_id, project_id)
WHERE u.tenant_id = %s AND u.project_id = %s AND u.user_id = %s AND u.upload_id = %s AND u.expires_at > %s
  AND u.stage <> 'removing' AND u.purpose = %s AND p.deleted_at IS NULL
"""

# What it was is read under the lock of the row that changes: of two writers, the later one sees that the first has it.
_HOLD = f"""
WITH u AS (
    SELECT u.* FROM resumable_uploads AS u JOIN projects AS p USING (tenant_id, project_id)
    WHERE u.tenant_id = %(tenant)s AND u.project_id = %(project)s AND u.upload_id = %(upload)s AND u.stage = 'open'
      AND (u.writing_until IS NULL OR u.writing_until <= now()) AND p.deleted_at IS NULL
    FOR UPDATE OF u
), held AS (
    UPDATE resumable_uploads AS r
    SET writer = %(writer)s, writing_until = now() + %(lease)s, spare = r.spare || %(spare)s::text[]
    FROM u WHERE (r.tenant_id, r.project_id, r.upload_id) = (u.tenant_id, u.project_id, u.upload_id)
)
SELECT {rows.RESUMABLE} FROM u
"""

_ADVANCE = """
WITH p AS (
    SELECT FROM projects WHERE tenant_id = %(tenant)s AND project_id = %(project)s AND deleted_at IS NULL
      AND (%(sealed)s OR key_epoch = 0) AND (%(gc_epoch)s::bigint IS NULL OR gc_epoch = %(gc_epoch)s)
    FOR SHARE
), u AS (
    UPDATE resumable_uploads
    SET dek_id = %(dek)s, about = %(about)s, progress = %(progress)s, received_bytes = %(received)s,
        total_bytes = %(total)s, spare = %(spare)s, expires_at = %(expires)s, stage = %(stage)s,
        announced_at = %(announced)s,
        writer = CASE WHEN %(lease)s::interval IS NULL THEN NULL ELSE writer END,
        writing_until = now() + %(lease)s::interval
    FROM p
    WHERE tenant_id = %(tenant)s AND project_id = %(project)s AND upload_id = %(upload)s AND stage = 'open'
      AND writer = %(writer)s
    RETURNING 1
), added AS (
    INSERT INTO resumable_parts (tenant_id, project_id, upload_id, number, dek_id, objects, places)
    SELECT %(tenant)s, %(project)s, %(upload)s, n.number, n.dek, string_to_array(n.objects, ' '), n.places
    FROM u, unnest(%(numbers)s::int[], %(deks)s::text[], %(objects)s::text[], %(places)s::bytea[])
            AS n (number, dek, objects, places)
)
SELECT 1 FROM u
"""

_SETTLE = """
WITH p AS (
    SELECT FROM projects WHERE tenant_id = %(tenant)s AND project_id = %(project)s AND (%(sealed)s OR key_epoch = 0)
    FOR SHARE
), u AS (
    UPDATE resumable_uploads
    SET dek_id = %(dek)s, progress = %(progress)s, received_bytes = %(received)s, total_bytes = %(total)s,
        expires_at = %(expires)s, stage = 'done', spare = %(spare)s, announced_at = %(announced)s, writer = NULL,
        writing_until = NULL
    FROM p
    WHERE tenant_id = %(tenant)s AND project_id = %(project)s AND upload_id = %(upload)s
), gone AS (
    DELETE FROM resumable_parts USING p
    WHERE tenant_id = %(tenant)s AND project_id = %(project)s AND upload_id = %(upload)s
)
SELECT 1 FROM p
"""

_PARTS = """
SELECT number, dek_id, objects, places FROM resumable_parts
WHERE tenant_id = %s AND project_id = %s AND upload_id = %s AND number >= %s ORDER BY number
"""

_REMOVE = """
UPDATE resumable_uploads SET stage = 'removing', expires_at = %s
WHERE tenant_id = %s AND project_id = %s AND upload_id = %s AND expires_at = %s
  AND announced_at IS NOT DISTINCT FROM %s AND writer IS NOT DISTINCT FROM %s
RETURNING 1
"""

_FORGET = """
DELETE FROM resumable_uploads WHERE tenant_id = %s AND project_id = %s AND upload_id = %s RETURNING 1
"""

_ENDED = f"""
SELECT {rows.RESUMABLE} FROM resumable_uploads AS u WHERE u.expires_at < %s ORDER BY u.expires_at LIMIT %s
"""

_CLUTTERED = f"""
SELECT {rows.RESUMABLE} FROM resumable_uploads AS u
WHERE (u.stage = 'done' AND u.spare <> '{{}}' AND u.announced_at < %s)
   OR (u.stage = 'open' AND cardinality(u.spare) > {SPARE_KEPT} AND u.writer IS NULL AND u.announced_at IS NULL)
ORDER BY u.expires_at LIMIT %s
"""


class ResumableUploads:
    _db: Database

    def held_resumable(self, tenant: TenantId, project: ProjectId, now: datetime) -> HeldResumable:
        return HeldResumable(*self._db.read(_HELD, {"tenant": tenant, "project": project, "now": now})[0])

    def add_resumable(self, upload: ResumableUpload) -> None:
        params = {**_params(upload), "user": upload.user, "created": upload.created_at, "purpose": upload.purpose}
        if not self._db.write(_ADD, params):
            if upload.dek == PLAIN and refuses_plain(self._db, upload.tenant, upload.project):
                raise encrypted_meanwhile(upload.project)
            raise no_project(upload.project)

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
        found = self._db.read(_FIND, (tenant, project, user, upload, now, purpose))
        return rows.resumable(found[0]) if found else None

    def hold_resumable(
        self, tenant: TenantId, project: ProjectId, upload: UploadId, writer: str, lease: timedelta,
        spare: Sequence[ObjectId],
    ) -> ResumableUpload | None:  # fmt: skip
        params = {
            "tenant": tenant,
            "project": project,
            "upload": upload,
            "writer": writer,
            "lease": lease,
            "spare": list(spare),
        }
        found = self._db.write(_HOLD, params)
        return rows.resumable(found[0]) if found else None

    def advance_resumable(
        self,
        upload: ResumableUpload,
        writer: str,
        parts: Sequence[UploadPart],
        lease: timedelta | None,
        *,
        gc_epoch: int | None = 0,
    ) -> bool:
        params = {
            **_params(upload),
            "gc_epoch": gc_epoch if parts else None,
            "writer": writer,
            "lease": lease,
            "numbers": [part.number for part in parts],
            "deks": [part.dek for part in parts],
            "objects": [" ".join(part.objects) for part in parts],
            "places": [part.places for part in parts],
        }
        params["sealed"] = params["sealed"] and all(part.dek != PLAIN for part in parts)
        if self._db.write(_ADVANCE, params):
            return True
        if not params["sealed"] and refuses_plain(self._db, upload.tenant, upload.project):
            raise encrypted_meanwhile(upload.project)
        if parts and gc_epoch is not None and head_of(self._db, upload.tenant, upload.project).gc_epoch != gc_epoch:
            raise ContentCollected(upload.project)
        return False

    def settle_resumable(self, upload: ResumableUpload) -> None:
        params = _params(upload)
        if self._db.write(_SETTLE, params) or params["sealed"]:
            return
        if refuses_plain(self._db, upload.tenant, upload.project):
            raise encrypted_meanwhile(upload.project)

    def resumable_parts(
        self, tenant: TenantId, project: ProjectId, upload: UploadId, *, first: int = 0
    ) -> list[UploadPart]:
        found = self._db.read(_PARTS, (tenant, project, upload, first))
        return [UploadPart(number, dek, tuple(objects), places) for number, dek, objects, places in found]

    def remove_resumable(self, seen: ResumableUpload, expires_at: datetime) -> bool:
        name = (seen.tenant, seen.project, seen.upload)
        was = (seen.expires_at, seen.announced_at, seen.writer)
        return bool(self._db.write(_REMOVE, (expires_at, *name, *was)))

    def forget_resumable(self, tenant: TenantId, project: ProjectId, upload: UploadId) -> None:
        self._db.write(_FORGET, (tenant, project, upload))

    def ended_resumable(self, before: datetime, *, limit: int = 100) -> list[ResumableUpload]:
        return [rows.resumable(row) for row in self._db.read(_ENDED, (before, limit))]

    def cluttered_resumable(self, done_before: datetime, *, limit: int = 100) -> list[ResumableUpload]:
        return [rows.resumable(row) for row in self._db.read(_CLUTTERED, (done_before, limit))]


def _params(upload: ResumableUpload) -> dict[str, Any]:
    return {
        "tenant": upload.tenant,
        "project": upload.project,
        "upload": upload.upload,
        "dek": upload.dek,
        "sealed": upload.dek != PLAIN,
        "about": upload.about,
        "progress": upload.progress,
        "received": upload.received_bytes,
        "total": upload.total_bytes,
        "spare": list(upload.spare),
        "expires": upload.expires_at,
        "announced": upload.announced_at,
        "stage": upload.stage,
    }
