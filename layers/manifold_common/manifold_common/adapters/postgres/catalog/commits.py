"""The commit point, and the history it leaves."""

from __future__ import annotations

from psycopg.types.json import Jsonb

from manifold_common.adapters.postgres.catalog import rows
from manifold_common.adapters.postgres.catalog.projects import head_of, no_project
from manifold_common.adapters.postgres.catalog.sessions import no_session
from manifold_common.adapters.postgres.database import Database
from manifold_common.domain.listing import EVERY_COMMIT, CommitFilter
from manifold_common.errors import NotFound, SessionMoved
from manifold_common.ids import PLAIN, CommitId, Generation, ProjectId, RequestId, TenantId
from manifold_common.ports.catalog import CommitRow, Head, Publication, encrypted_meanwhile, removed_generation

# One statement, one round trip. The session is locked first: whoever closes it at the same time either comes before
# (then there is nothing in s and nothing happens) or waits. The project's row is where writers queue: the one that had
# to wait looks at the new head, finds that it is not its base, and changes nothing. All else hangs on p.
_PUBLISH = """
WITH s AS (
    SELECT FROM sessions
    WHERE tenant_id = %(tenant)s AND user_id = %(session_user)s AND session_id = %(session)s
      AND project_id = %(project)s AND (%(working_set)s::text IS NULL OR working_set_id IS NULL
                                        OR working_set_id = %(working_set)s)
    FOR NO KEY UPDATE
), p AS (
    UPDATE projects SET
        generation = %(generation)s,
        head_commit_id = %(commit)s,
        head_hash = %(hash)s,
        committed_at = %(now)s,
        skills_generation = CASE WHEN %(touches_skills)s THEN %(generation)s ELSE skills_generation END,
        tree_bytes = %(tree_bytes)s,
        tree_files = %(tree_files)s,
        updated_at = greatest(updated_at, %(now)s)
    WHERE tenant_id = %(tenant)s AND project_id = %(project)s AND deleted_at IS NULL
      AND generation = %(base_generation)s AND head_commit_id IS NOT DISTINCT FROM %(base_commit)s
      AND gc_epoch = %(gc_epoch)s
      AND (NOT %(moves_session)s OR EXISTS (SELECT FROM s)) AND (%(sealed)s OR key_epoch = 0)
    RETURNING tenant_id, project_id, skills_generation
), c AS (
    INSERT INTO commits (tenant_id, project_id, generation, commit_id, parent_id, record_hash, dek_id, object_bytes,
                         author_id, session_id, note, request_id, created_at)
    SELECT tenant_id, project_id, %(generation)s, %(commit)s, %(base_commit)s, %(hash)s, %(dek)s, %(object_bytes)s,
           %(author)s, %(session)s, %(note)s, %(request)s, %(now)s
    FROM p
), o AS (
    INSERT INTO outbox (tenant_id, project_id, type, generation, data, created_at)
    SELECT tenant_id, project_id, %(type)s, %(generation)s, %(data)s, %(now)s FROM p
), m AS (
    UPDATE sessions SET
        base_generation = %(generation)s, base_commit_id = %(commit)s, draft_generation = NULL,
        draft_commit_id = NULL, draft_parent_id = NULL, draft_dek_id = NULL, draft_bytes = NULL, draft_saved_at = NULL,
        expires_at = greatest(expires_at, now() + %(session_ttl)s), durable_at = now()
    FROM p
    WHERE sessions.tenant_id = %(tenant)s AND user_id = %(session_user)s AND session_id = %(session)s
)
SELECT
    (SELECT skills_generation FROM p),
    EXISTS (SELECT FROM projects WHERE tenant_id = %(tenant)s AND project_id = %(project)s AND deleted_at IS NULL),
    NOT %(moves_session)s OR EXISTS (SELECT FROM s),
    NOT %(sealed)s AND EXISTS (SELECT FROM projects
                               WHERE tenant_id = %(tenant)s AND project_id = %(project)s AND key_epoch > 0)
"""

# Why there was nothing in s. It has to be asked again: the statement above sees the rows as they were when it began,
# and whoever it waited for may have deleted them.
_MISSED = """
SELECT
    EXISTS (SELECT FROM projects WHERE tenant_id = %(tenant)s AND project_id = %(project)s AND deleted_at IS NULL),
    EXISTS (SELECT FROM sessions WHERE tenant_id = %(tenant)s AND user_id = %(session_user)s
            AND session_id = %(session)s AND project_id = %(project)s)
"""

_FIND_COMMIT = f"""
SELECT {rows.COMMIT} FROM projects AS p JOIN commits AS c USING (tenant_id, project_id)
WHERE p.tenant_id = %s AND p.project_id = %s AND p.deleted_at IS NULL AND c.commit_id = %s
"""

_FIND_REQUEST = f"""
SELECT {rows.COMMIT} FROM projects AS p JOIN commits AS c USING (tenant_id, project_id)
WHERE p.tenant_id = %s AND p.project_id = %s AND p.deleted_at IS NULL AND c.request_id = %s
"""

_COMMIT_AT = f"""
SELECT {rows.COMMIT} FROM projects AS p JOIN commits AS c USING (tenant_id, project_id)
WHERE p.tenant_id = %s AND p.project_id = %s AND p.deleted_at IS NULL AND c.generation = %s
"""

# Times rise with generations, each commit saying a later one than its parent. So the generations of a span of time are
# found by halving, some twenty look-ups by the primary key, and there is no index on times to be kept up.
_SPAN = """
WITH RECURSIVE searched (which, moment, low, high) AS (
    SELECT w.which, w.moment, 1::bigint, p.generation + 1
    FROM projects AS p, (VALUES ('since', %(since)s::timestamptz), ('until', %(until)s)) AS w (which, moment)
    WHERE p.tenant_id = %(tenant)s AND p.project_id = %(project)s AND w.moment IS NOT NULL
    UNION ALL
    SELECT s.which, s.moment, CASE WHEN c.created_at < s.moment THEN c.generation + 1 ELSE s.low END,
           CASE WHEN c.created_at < s.moment THEN s.high ELSE c.generation END
    FROM searched AS s CROSS JOIN LATERAL (
        SELECT c.generation, c.created_at FROM commits AS c
        WHERE c.tenant_id = %(tenant)s AND c.project_id = %(project)s AND c.generation = (s.low + s.high) / 2
        UNION ALL
        SELECT c.generation, c.created_at FROM removed_commits AS c
        WHERE c.tenant_id = %(tenant)s AND c.project_id = %(project)s AND c.generation = (s.low + s.high) / 2
    ) AS c
    WHERE s.low < s.high
)
"""

_OF_AUTHOR = "AND c.author_id = %(author)s"
_OF_SESSION = "AND c.session_id = %(session)s"
_IN_SPAN = """
      AND c.generation >= coalesce((SELECT low FROM searched WHERE which = 'since' AND low = high), 0)
      AND c.generation < coalesce((SELECT low FROM searched WHERE which = 'until' AND low = high), p.generation + 1)
"""

_LIST_COMMITS = f"""
SELECT {rows.COMMIT} FROM projects AS p LEFT JOIN LATERAL (
    SELECT * FROM commits AS c
    WHERE c.tenant_id = p.tenant_id AND c.project_id = p.project_id
      AND c.generation < coalesce(%(before)s::bigint, p.generation + 1) {{conditions}}
    ORDER BY c.generation DESC LIMIT %(limit)s
) AS c ON true
WHERE p.tenant_id = %(tenant)s AND p.project_id = %(project)s AND p.deleted_at IS NULL
ORDER BY c.generation DESC
"""


class Commits:
    _db: Database

    def publish_commit(self, publication: Publication) -> Head | None:
        commit = publication.commit
        params = {
            "tenant": publication.tenant,
            "project": publication.project,
            "base_generation": publication.base.generation,
            "base_commit": publication.base.commit,
            "gc_epoch": publication.base.gc_epoch,
            "generation": commit.generation,
            "commit": commit.commit,
            "hash": commit.record_hash,
            "dek": commit.dek,
            "sealed": commit.dek != PLAIN,
            "object_bytes": commit.object_bytes,
            "author": commit.author,
            "session": commit.session,
            "session_user": publication.session_user,
            "working_set": publication.working_set,
            "session_ttl": publication.session_ttl,
            "moves_session": publication.session_user is not None and commit.session is not None,
            "note": commit.note,
            "request": commit.request,
            "now": commit.created_at,
            "touches_skills": publication.touches_skills,
            "tree_bytes": publication.tree_bytes,
            "tree_files": publication.tree_files,
            "type": publication.event.type,
            "data": Jsonb(publication.event.data),
        }
        skills_generation, project_exists, session_is_here, is_late = self._db.write(_PUBLISH, params)[0]
        if skills_generation is not None:
            return Head(
                commit.generation,
                commit.commit,
                commit.record_hash,
                skills_generation,
                commit.created_at,
                publication.base.gc_epoch,
                publication.base.is_damaged,
            )
        if project_exists and is_late:
            raise encrypted_meanwhile(publication.project)
        if project_exists and session_is_here:
            return None
        project_exists, session_exists = self._db.read(_MISSED, params)[0]
        if not project_exists:
            raise no_project(publication.project)
        assert commit.session is not None
        raise SessionMoved(commit.session) if session_exists else no_session(commit.session)

    def head(self, tenant: TenantId, project: ProjectId) -> Head:
        return head_of(self._db, tenant, project)

    def find_commit(self, tenant: TenantId, project: ProjectId, commit: CommitId) -> CommitRow | None:
        found = self._db.read(_FIND_COMMIT, (tenant, project, commit))
        return rows.commit(found[0]) if found else None

    def find_request(self, tenant: TenantId, project: ProjectId, request: RequestId) -> CommitRow | None:
        found = self._db.read(_FIND_REQUEST, (tenant, project, request))
        return rows.commit(found[0]) if found else None

    def commit_at(self, tenant: TenantId, project: ProjectId, generation: Generation) -> CommitRow:
        found = self._db.read(_COMMIT_AT, (tenant, project, generation))
        if not found:
            head = self.head(tenant, project)
            if 1 <= generation <= head.generation:
                raise removed_generation(project, generation)
            raise NotFound(f"project {project} has no commit of generation {generation}")
        return rows.commit(found[0])

    def list_commits(
        self,
        tenant: TenantId,
        project: ProjectId,
        *,
        wanted: CommitFilter = EVERY_COMMIT,
        before: Generation | None = None,
        limit: int = 100,
    ) -> list[CommitRow]:
        params = {
            "tenant": tenant,
            "project": project,
            "author": wanted.author,
            "session": wanted.session,
            "since": wanted.since,
            "until": wanted.until,
            "before": min((one for one in (before, wanted.before) if one is not None), default=None),
            "limit": limit,
        }
        found = self._db.read(_listing(wanted), params)
        if not found:
            raise no_project(project)
        return [rows.commit(row) for row in found if row[0] is not None]


def _listing(wanted: CommitFilter) -> str:
    """Return the statement with the conditions that there are: with all of them in one, no index would serve any."""
    is_timed = wanted.since is not None or wanted.until is not None
    conditions = [
        _OF_AUTHOR if wanted.author is not None else "",
        _OF_SESSION if wanted.session is not None else "",
        _IN_SPAN if is_timed else "",
    ]
    return (_SPAN if is_timed else "") + _LIST_COMMITS.format(conditions=" ".join(conditions))
