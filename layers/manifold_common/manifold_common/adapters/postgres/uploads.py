"""Uploads: what clients may store by themselves."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from manifold_common.adapters.postgres import rows
from manifold_common.adapters.postgres.database import Database
from manifold_common.adapters.postgres.sessions import no_session
from manifold_common.ids import ProjectId, SessionId, TenantId, UserId
from manifold_common.ports.uploads import Upload

_ADD = """
WITH s AS (
    SELECT FROM sessions AS s JOIN projects AS p USING (tenant_id, project_id)
    WHERE s.tenant_id = %(tenant)s AND s.user_id = %(user)s AND s.session_id = %(session)s
      AND s.project_id = %(project)s AND p.deleted_at IS NULL
), added AS (
    INSERT INTO uploads (tenant_id, project_id, user_id, session_id, kind, name, object_id, generation, dek_id,
                         created_at, expires_at, claimed)
    SELECT %(tenant)s, %(project)s, %(user)s, %(session)s, u.kind, u.name, u.object_id, u.generation, u.dek_id,
           u.created_at, u.expires_at, u.claimed
    FROM s, unnest(%(kinds)s::text[], %(names)s::text[], %(objects)s::text[], %(generations)s::bigint[],
                   %(deks)s::text[], %(created)s::timestamptz[], %(ends)s::timestamptz[], %(claimed)s::boolean[])
            AS u (kind, name, object_id, generation, dek_id, created_at, expires_at, claimed)
)
SELECT FROM s
"""

_FIND = f"""
SELECT {rows.UPLOAD} FROM uploads AS u JOIN projects AS p USING (tenant_id, project_id)
WHERE u.tenant_id = %(tenant)s AND u.user_id = %(user)s AND u.session_id = %(session)s
  AND u.name = ANY (%(names)s) AND (u.claimed OR u.expires_at > %(now)s)
  AND p.deleted_at IS NULL
"""

_CLAIM = """
UPDATE uploads SET claimed = true WHERE tenant_id = %s AND project_id = %s AND name = ANY (%s) RETURNING 1
"""

_FORGET = "DELETE FROM uploads WHERE tenant_id = %s AND project_id = %s AND name = ANY (%s) RETURNING 1"

_ENDED = f"""
SELECT {rows.UPLOAD} FROM uploads AS u WHERE NOT u.claimed AND u.expires_at < %s ORDER BY u.expires_at LIMIT %s
"""


class Uploads:
    _db: Database

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
            "generations": [one.generation for one in uploads],
            "deks": [one.dek for one in uploads],
            "created": [one.created_at for one in uploads],
            "ends": [one.expires_at for one in uploads],
            "claimed": [one.claimed for one in uploads],
        }
        if not self._db.write(_ADD, params):
            raise no_session(first.session)

    def find_uploads(
        self, tenant: TenantId, user: UserId, session: SessionId, names: Sequence[str], now: datetime
    ) -> list[Upload]:
        params = {"tenant": tenant, "user": user, "session": session, "names": list(names), "now": now}
        return [rows.upload(row) for row in self._db.read(_FIND, params)]

    def claim_uploads(self, tenant: TenantId, project: ProjectId, names: Sequence[str]) -> int:
        return len(self._db.write(_CLAIM, (tenant, project, list(names))))

    def forget_uploads(self, tenant: TenantId, project: ProjectId, names: Sequence[str]) -> None:
        self._db.write(_FORGET, (tenant, project, list(names)))

    def ended_uploads(self, before: datetime, *, limit: int = 100) -> list[Upload]:
        return [rows.upload(row) for row in self._db.read(_ENDED, (before, limit))]
