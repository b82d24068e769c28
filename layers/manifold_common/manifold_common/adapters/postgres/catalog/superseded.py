"""Superseded objects: noted by triggers of the sessions' table, read and forgotten here."""

from __future__ import annotations

from collections.abc import Sequence

from manifold_common.adapters.postgres.catalog.backups import IS_HELD
from manifold_common.adapters.postgres.database import Database
from manifold_common.ports.catalog import SupersededObject

# The time is that at which the statement began. One that had to wait for others may have been done after a backup was
# declared, and that has what it took away; none takes longer than this (../defaults.py).
_GIVEN_UP = "x.superseded_at + interval '11 minutes'"

_SUPERSEDED = f"""
SELECT x.tenant_id, x.project_id, x.generation, x.commit_id,
       EXISTS (SELECT FROM commits AS c
               WHERE c.commit_id = x.commit_id AND c.tenant_id = x.tenant_id AND c.project_id = x.project_id)
       OR EXISTS (SELECT FROM sessions AS s
                  WHERE s.project_id = x.project_id AND s.tenant_id = x.tenant_id AND s.draft_commit_id = x.commit_id)
       OR EXISTS (SELECT FROM deleted_sessions AS d
                  WHERE d.project_id = x.project_id AND d.tenant_id = x.tenant_id AND d.draft_commit_id = x.commit_id)
FROM superseded_objects AS x
WHERE x.superseded_at <= now() - make_interval(secs => %s::double precision)
  AND NOT {IS_HELD.format(_GIVEN_UP)}
ORDER BY x.superseded_at LIMIT %s
"""

_FORGET = """
DELETE FROM superseded_objects AS x
USING unnest(%s::text[], %s::text[], %s::text[]) AS gone (tenant_id, project_id, commit_id)
WHERE x.tenant_id = gone.tenant_id AND x.project_id = gone.project_id AND x.commit_id = gone.commit_id
RETURNING 1
"""


class Superseded:
    _db: Database

    def superseded_objects(self, older_than_seconds: float, *, limit: int = 100) -> list[SupersededObject]:
        return [SupersededObject(*row) for row in self._db.read(_SUPERSEDED, (older_than_seconds, limit))]

    def forget_superseded(self, objects: Sequence[SupersededObject]) -> None:
        tenants = [one.tenant for one in objects]
        self._db.write(_FORGET, (tenants, [one.project for one in objects], [one.commit for one in objects]))
