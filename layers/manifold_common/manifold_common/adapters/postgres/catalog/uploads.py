"""Uploads: what clients may store by themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from manifold_common.adapters.postgres.catalog import rows
from manifold_common.adapters.postgres.catalog.keys import refuses_plain
from manifold_common.adapters.postgres.catalog.sessions import no_session
from manifold_common.adapters.postgres.database import Database
from manifold_common.ids import PLAIN, CommitId, ProjectId, SessionId, TenantId, UserId
from manifold_common.ports.catalog import Held, Upload, encrypted_meanwhile

_HELD = """
SELECT count(*) FILTER (WHERE session_id = %(session)s),
       coalesce(sum(stored_bytes) FILTER (WHERE session_id = %(session)s), 0)::bigint,
       count(*), coalesce(sum(stored_bytes), 0)::bigint
FROM uploads WHERE tenant_id = %(tenant)s AND user_id = %(user)s
"""

_ADD = """
WITH s AS (
    SELECT FROM sessions AS s JOIN projects AS p USING (tenant_id, project_id)
    WHERE s.tenant_id = %(tenant)s AND s.user_id = %(user)s AND s.session_id = %(session)s
      AND s.project_id = %(project)s AND p.deleted_at IS NULL AND (%(sealed)s OR p.key_epoch = 0)
), added AS (
    INSERT INTO uploads (tenant_id, project_id, user_id, session_id, kind, name, object_id, draft_id, generation,
                         dek_id, created_at, expires_at)
    SELECT %(tenant)s, %(project)s, %(user)s, %(session)s, u.kind, u.name, u.object_id, u.draft_id, u.generation,
           u.dek_id, u.created_at, u.expires_at
    FROM s, unnest(%(kinds)s::text[], %(names)s::text[], %(objects)s::text[], %(drafts)s::text[],
                   %(generations)s::bigint[], %(deks)s::text[], %(created)s::timestamptz[], %(ends)s::timestamptz[])
            AS u (kind, name, object_id, draft_id, generation, dek_id, created_at, expires_at)
)
SELECT FROM s
"""

_FIND = f"""
SELECT {rows.UPLOAD} FROM uploads AS u JOIN projects AS p USING (tenant_id, project_id)
WHERE u.tenant_id = %(tenant)s AND u.user_id = %(user)s AND u.session_id = %(session)s
  AND u.name = ANY (%(names)s) AND u.expires_at > %(now)s AND NOT u.removing
  AND p.deleted_at IS NULL
"""

_LINK = """
UPDATE uploads AS u SET stored_bytes = w.size
FROM unnest(%(names)s::text[], %(sizes)s::bigint[]) AS w (name, size)
WHERE u.tenant_id = %(tenant)s AND u.project_id = %(project)s AND u.name = w.name
  AND (u.stored_bytes IS NULL OR u.stored_bytes = w.size) AND NOT u.removing
RETURNING 1
"""

_PROVE = """
UPDATE uploads AS u SET proof = w.proof, expires_at = greatest(u.expires_at, %(until)s)
FROM unnest(%(names)s::text[], %(proofs)s::bytea[]) AS w (name, proof)
WHERE u.tenant_id = %(tenant)s AND u.project_id = %(project)s AND u.name = w.name AND NOT u.removing
RETURNING 1
"""

_REFER = """
UPDATE uploads SET commits = commits || %(commit)s::text, expires_at = greatest(expires_at, %(until)s)
WHERE tenant_id = %(tenant)s AND project_id = %(project)s AND name = ANY (%(names)s) AND NOT removing
RETURNING 1
"""

_FORGET = """
DELETE FROM uploads
WHERE tenant_id = %(tenant)s AND project_id = %(project)s
  AND (name = ANY (%(names)s) OR (draft_id = %(draft)s AND stored_bytes IS NULL))
RETURNING 1
"""

_ENDED = f"SELECT {rows.UPLOAD} FROM uploads AS u WHERE u.expires_at < %s ORDER BY u.expires_at LIMIT %s"

_REMOVE = """
UPDATE uploads SET removing = true
WHERE tenant_id = %s AND project_id = %s AND name = %s AND expires_at = %s AND commits = %s::text[]
RETURNING 1
"""


class Uploads:
    _db: Database

    def held_uploads(self, tenant: TenantId, user: UserId, session: SessionId) -> Held:
        return Held(*self._db.read(_HELD, {"tenant": tenant, "user": user, "session": session})[0])

    def add_uploads(self, uploads: Sequence[Upload]) -> None:
        if not uploads:
            return
        first = uploads[0]
        params = {
            "tenant": first.tenant,
            "project": first.project,
            "user": first.user,
            "session": first.session,
            "kinds": [one.kind for one in uploads],
            "names": [one.name for one in uploads],
            "objects": [one.object_id for one in uploads],
            "drafts": [one.draft for one in uploads],
            "generations": [one.generation for one in uploads],
            "deks": [one.dek for one in uploads],
            "sealed": all(one.dek != PLAIN for one in uploads),
            "created": [one.created_at for one in uploads],
            "ends": [one.expires_at for one in uploads],
        }
        if not self._db.write(_ADD, params):
            if not params["sealed"] and refuses_plain(self._db, first.tenant, first.project):
                raise encrypted_meanwhile(first.project)
            raise no_session(first.session)

    def find_uploads(
        self, tenant: TenantId, user: UserId, session: SessionId, names: Sequence[str], now: datetime
    ) -> list[Upload]:
        params = {"tenant": tenant, "user": user, "session": session, "names": list(names), "now": now}
        return [rows.upload(row) for row in self._db.read(_FIND, params)]

    def link_uploads(self, uploads: Sequence[Upload]) -> int:
        if not uploads:
            return 0
        params = {
            "tenant": uploads[0].tenant,
            "project": uploads[0].project,
            "names": [one.name for one in uploads],
            "sizes": [one.stored_bytes for one in uploads],
        }
        return len(self._db.write(_LINK, params))

    def prove_uploads(
        self, tenant: TenantId, project: ProjectId, proofs: Mapping[str, bytes], expires_at: datetime
    ) -> int:
        params = {
            "tenant": tenant,
            "project": project,
            "names": list(proofs),
            "proofs": list(proofs.values()),
            "until": expires_at,
        }
        return len(self._db.write(_PROVE, params))

    def refer_uploads(
        self, tenant: TenantId, project: ProjectId, names: Sequence[str], commit: CommitId, expires_at: datetime
    ) -> int:
        params = {"tenant": tenant, "project": project, "names": list(names), "commit": commit, "until": expires_at}
        return len(self._db.write(_REFER, params))

    def forget_uploads(
        self, tenant: TenantId, project: ProjectId, names: Sequence[str], *, slots_of: CommitId | None = None
    ) -> None:
        self._db.write(_FORGET, {"tenant": tenant, "project": project, "names": list(names), "draft": slots_of})

    def ended_uploads(self, before: datetime, *, limit: int = 100) -> list[Upload]:
        return [rows.upload(row) for row in self._db.read(_ENDED, (before, limit))]

    def remove_upload(self, seen: Upload) -> bool:
        params = (seen.tenant, seen.project, seen.name, seen.expires_at, list(seen.commits))
        return bool(self._db.write(_REMOVE, params))
