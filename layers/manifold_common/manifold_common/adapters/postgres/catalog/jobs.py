"""Jobs and their items.

Whatever changes items locks the row of their job first, so no two wait in a circle.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final

from psycopg.types.json import Jsonb

from manifold_common.adapters.postgres.catalog import rows
from manifold_common.adapters.postgres.database import Database
from manifold_common.domain.event import JOB_EVENTS, event_origin
from manifold_common.domain.job import (
    COMES_FROM,
    RETRIED_IN,
    SPEED_SECONDS,
    SUSPECT_AFTER,
    ItemState,
    JobFilter,
    JobPlace,
    JobState,
    SeenJob,
)
from manifold_common.errors import AlreadyExists
from manifold_common.ids import JobId, TenantId
from manifold_common.ports.catalog import ClaimedItem, ItemReport, JobItem, JobRow, NewJob
from manifold_common.ports.catalog.jobs import same_work

_THE_JOB: Final = "j.tenant_id = %(tenant)s AND j.job_id = %(job)s"
_ITS_ITEMS: Final = "i.tenant_id = %(tenant)s AND i.job_id = %(job)s"
_HELD: Final = f"held AS (SELECT FROM jobs AS j WHERE {_THE_JOB} FOR NO KEY UPDATE)"


def _not_at_rest(by: str = "now()") -> str:
    return f"""j.state = 'running' AND (j.rests_until IS NULL OR j.rests_until <= {by})
      AND (j.paced_until IS NULL OR j.paced_until <= {by})"""


def _free(by: str = "now()") -> str:
    return f"""i.state = 'pending' AND (i.leased_until IS NULL OR i.leased_until <= {by})
      AND (i.rests_until IS NULL OR i.rests_until <= {by})"""


_SOON: Final = "now() + make_interval(secs => %(within)s::double precision)"
_LOST: Final = "i.lost + (i.lease IS NOT NULL)::int"

# The same as domain.event.job_event.
_EVENT: Final = f"""
    INSERT INTO outbox (tenant_id, project_id, type, generation, data, created_at)
    SELECT j.tenant_id, j.job_id, '{JOB_EVENTS}' || j.state, 0, jsonb_build_object(
        'tenant_id', j.tenant_id, 'project_id', coalesce(j.project_id, j.job_id), 'user_id', j.user_id,
        'timestamp', to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US') || '+00:00',
        'job_id', j.job_id, 'kind', j.kind, 'state', j.state,
        'pending', j.pending, 'done', j.done, 'skipped', j.skipped, 'failed', j.failed
    ) || %(origin)s::jsonb, now() FROM j
"""

_ADD = f"""
WITH t AS (
    INSERT INTO tenants (tenant_id, created_at) VALUES (%(tenant)s, now()) ON CONFLICT DO NOTHING
), j AS (
    INSERT INTO jobs AS j (tenant_id, job_id, kind, params, user_id, project_id, rate, state, measured_at, created_at,
                           running_since)
    VALUES (%(tenant)s, %(job)s, %(kind)s, %(params)s, %(user)s, %(project)s, %(rate)s, 'running', now(), now(), now())
    ON CONFLICT DO NOTHING
    RETURNING j.*
), e AS ({_EVENT})
SELECT {rows.JOB} FROM j
"""

_EQUAL = f"""
SELECT {rows.JOB} FROM jobs AS j
WHERE j.tenant_id = %(tenant)s
  AND (j.job_id = %(job)s OR j.kind = %(kind)s AND j.params = %(params)s AND j.ended_at IS NULL)
ORDER BY j.job_id = %(job)s DESC LIMIT 1
"""

_FIND = f"SELECT {rows.JOB} FROM jobs AS j WHERE {_THE_JOB}"

_LIST = f"""
SELECT {rows.JOB} FROM jobs AS j
WHERE j.tenant_id = %(tenant)s
  AND (%(at)s::timestamptz IS NULL OR (j.created_at, j.job_id) < (%(at)s, %(after)s))
  AND (%(states)s::text[] IS NULL OR j.state = ANY (%(states)s))
  AND (%(kind)s::text IS NULL OR j.kind = %(kind)s)
  AND (%(project)s::text IS NULL OR j.project_id = %(project)s)
ORDER BY j.created_at DESC, j.job_id DESC LIMIT %(limit)s
"""

_CHANGED = """
SELECT k.position - 1
FROM unnest(%(tenants)s::text[], %(jobs)s::text[], %(revisions)s::bigint[])
    WITH ORDINALITY AS k (tenant_id, job_id, revision, position)
WHERE NOT EXISTS (SELECT FROM jobs AS j
                  WHERE j.tenant_id = k.tenant_id AND j.job_id = k.job_id AND j.revision = k.revision)
ORDER BY k.position
"""

# In the order of the index, since EXISTS may prefer to read the table, of which most is done with.
_AT_WORK = f"""
SELECT {rows.JOB} FROM jobs AS j
WHERE {_not_at_rest(_SOON)} AND j.kind = ANY (%(kinds)s) AND (NOT j.is_planned OR (
    SELECT true FROM job_items AS i WHERE i.tenant_id = j.tenant_id AND i.job_id = j.job_id AND {_free(_SOON)}
    ORDER BY i.rests_until NULLS FIRST, i.number LIMIT 1))
ORDER BY j.created_at LIMIT %(limit)s
"""

_PLAN = f"""
WITH j AS (
    UPDATE jobs AS j SET
        plan_cursor = %(cursor)s, is_planned = %(cursor)s::text IS NULL, pending = j.pending + %(count)s,
        state = CASE WHEN {{over}} THEN {{end}} ELSE j.state END,
        ended_at = CASE WHEN {{over}} THEN now() END,
        trouble_code = NULL, trouble_text = NULL, rests_until = NULL, revision = j.revision + 1
    WHERE {_THE_JOB} AND j.ended_at IS NULL AND NOT j.is_planned AND j.plan_cursor IS NOT DISTINCT FROM %(seen)s
    RETURNING j.*
), i AS (
    INSERT INTO job_items (tenant_id, job_id, number, item, changed_at)
    SELECT j.tenant_id, j.job_id, j.pending + j.done + j.skipped + j.failed - %(count)s + g.position, g.item, now()
    FROM j, unnest(%(items)s::text[]) WITH ORDINALITY AS g (item, position)
), e AS ({_EVENT} WHERE j.ended_at IS NOT NULL)
SELECT {rows.JOB} FROM j
""".format(
    over="%(cursor)s::text IS NULL AND j.pending + %(count)s = 0 AND j.state = 'running'",
    end="CASE WHEN j.failed > 0 THEN 'failed' ELSE 'done' END",
)

# Under the lock of the job's row, so that all workers together keep to its rate.
_CLAIM = f"""
WITH j AS (
    SELECT least(%(limit)s, ceil(coalesce(j.rate, %(limit)s)))::bigint AS most
    FROM jobs AS j WHERE {_THE_JOB} AND {_not_at_rest()} FOR NO KEY UPDATE
), fresh AS (
    SELECT i.number FROM job_items AS i
    WHERE EXISTS (SELECT FROM j) AND {_ITS_ITEMS} AND {_free()} AND {_LOST} < {SUSPECT_AFTER}
    ORDER BY i.rests_until NULLS FIRST, i.number LIMIT (SELECT most FROM j) FOR UPDATE
), suspect AS (
    SELECT i.number FROM job_items AS i
    WHERE EXISTS (SELECT FROM j) AND NOT EXISTS (SELECT FROM fresh)
      AND {_ITS_ITEMS} AND {_free()} AND {_LOST} >= {SUSPECT_AFTER}
    ORDER BY i.number LIMIT 1 FOR UPDATE
), taken AS (
    UPDATE job_items AS i SET
        begun = i.begun + 1, lost = {_LOST}, lease = %(lease)s,
        leased_until = now() + make_interval(secs => %(seconds)s::double precision), changed_at = now()
    WHERE {_ITS_ITEMS} AND i.number = ANY (ARRAY(SELECT number FROM fresh UNION ALL SELECT number FROM suspect))
    RETURNING i.number, i.item, i.lost
), paced AS (
    UPDATE jobs AS j SET paced_until = now() + make_interval(secs => (SELECT count(*) FROM taken) / j.rate)
    WHERE {_THE_JOB} AND j.rate IS NOT NULL AND EXISTS (SELECT FROM taken)
)
SELECT number, item, lost FROM taken ORDER BY number
"""

_EXTEND = f"""
WITH {_HELD}
UPDATE job_items AS i SET leased_until = now() + make_interval(secs => %(seconds)s::double precision)
WHERE EXISTS (SELECT FROM held) AND {_ITS_ITEMS} AND i.lease = %(lease)s
RETURNING 1
"""

_REPORT = f"""
WITH {_HELD}, mine AS (
    UPDATE job_items AS i SET
        state = g.state, error_code = g.code, error_text = g.text, lease = NULL, leased_until = NULL, lost = 0,
        rests_until = now() + make_interval(secs => g.rest), changed_at = now()
    FROM unnest(%(numbers)s::bigint[], %(states)s::text[], %(codes)s::text[], %(texts)s::text[],
                %(rests)s::double precision[]) AS g (number, state, code, text, rest)
    WHERE EXISTS (SELECT FROM held) AND {_ITS_ITEMS} AND i.number = g.number AND i.lease = %(lease)s
    RETURNING i.state
), c AS (
    SELECT count(*) FILTER (WHERE state = 'done') AS done, count(*) FILTER (WHERE state = 'skipped') AS skipped,
           count(*) FILTER (WHERE state = 'failed') AS failed, count(*) FILTER (WHERE state <> 'pending') AS finished
    FROM mine HAVING count(*) > 0
), j AS (
    UPDATE jobs AS j SET
        pending = j.pending - c.finished, done = j.done + c.done, skipped = j.skipped + c.skipped,
        failed = j.failed + c.failed,
        state = CASE WHEN {{over}} THEN {{end}} ELSE j.state END,
        ended_at = CASE WHEN {{over}} THEN now() ELSE j.ended_at END,
        speed = CASE WHEN {{measured}} THEN
            ({{finished}} - j.measured_from) / extract(epoch FROM now() - j.measured_at) ELSE j.speed END,
        measured_from = CASE WHEN {{measured}} THEN {{finished}} ELSE j.measured_from END,
        measured_at = CASE WHEN {{measured}} THEN now() ELSE j.measured_at END,
        trouble_code = CASE WHEN c.finished > 0 THEN NULL ELSE j.trouble_code END,
        trouble_text = CASE WHEN c.finished > 0 THEN NULL ELSE j.trouble_text END,
        rests_until = CASE WHEN c.finished > 0 THEN NULL ELSE j.rests_until END,
        revision = j.revision + 1
    FROM c WHERE {_THE_JOB}
    RETURNING j.*, c.finished
), e AS ({_EVENT} WHERE j.ended_at = now() AND j.finished > 0 AND j.state IN ('done', 'failed'))
SELECT {rows.JOB} FROM j
""".format(
    over="j.state = 'running' AND j.is_planned AND j.pending = c.finished",
    end="CASE WHEN j.failed + c.failed > 0 THEN 'failed' ELSE 'done' END",
    finished="(j.done + j.skipped + j.failed + c.finished)",
    measured=f"j.ended_at IS NULL AND now() - j.measured_at >= make_interval(secs => {SPEED_SECONDS})",
)

_REST = f"""
UPDATE jobs AS j SET rests_until = now() + make_interval(secs => %(seconds)s::double precision),
    trouble_code = %(code)s, trouble_text = %(text)s, revision = j.revision + 1
WHERE {_THE_JOB} AND j.ended_at IS NULL
RETURNING 1
"""

_UNDER_WAY = """
SELECT EXISTS (
    SELECT FROM job_items WHERE tenant_id = %s AND job_id = %s AND lease IS NOT NULL AND leased_until > now())
"""

# A job that was paused when its last item was reported has ended once it goes on.
_MOVE = f"""
WITH j AS (
    UPDATE jobs AS j SET
        state = CASE WHEN {{over}} THEN CASE WHEN j.failed > 0 THEN 'failed' ELSE 'done' END ELSE %(to)s END,
        ended_at = CASE WHEN %(to)s = 'cancelled' OR {{over}} THEN now() END,
        rests_until = NULL, trouble_code = NULL, trouble_text = NULL, speed = NULL,
        measured_at = now(), measured_from = j.done + j.skipped + j.failed,
        running_since = CASE WHEN %(to)s = 'running' THEN now() ELSE j.running_since END, revision = j.revision + 1
    WHERE {_THE_JOB} AND j.state = ANY (%(from)s)
    RETURNING j.*
), e AS ({_EVENT})
SELECT {rows.JOB} FROM j
""".format(over="%(to)s = 'running' AND j.is_planned AND j.pending = 0")

# Not if a report came between the moment whose items are looked at and the lock: they may be others by now.
_RETRY = f"""
WITH held AS (
    SELECT FROM jobs AS j
    WHERE {_THE_JOB} AND j.state = ANY (%(from)s)
      AND j.revision = (SELECT revision FROM jobs WHERE tenant_id = %(tenant)s AND job_id = %(job)s)
    FOR NO KEY UPDATE
), i AS (
    UPDATE job_items AS i SET
        state = 'pending', rests_until = NULL, error_code = NULL, error_text = NULL, lost = 0, changed_at = now()
    WHERE EXISTS (SELECT FROM held) AND {_ITS_ITEMS}
      AND (i.state = 'failed' OR i.state = 'pending' AND i.lease IS NULL AND i.error_code IS NOT NULL)
), j AS (
    UPDATE jobs AS j SET
        failed = 0, pending = j.pending + j.failed, rate = coalesce(%(rate)s::double precision, j.rate),
        paced_until = CASE WHEN %(rate)s::double precision IS NULL THEN j.paced_until END,
        state = CASE WHEN j.state = 'failed' THEN 'running' ELSE j.state END, ended_at = NULL,
        rests_until = NULL, trouble_code = NULL, trouble_text = NULL, speed = NULL,
        measured_at = now(), measured_from = j.done + j.skipped,
        running_since = CASE WHEN j.state = 'failed' THEN now() ELSE j.running_since END, revision = j.revision + 1
    WHERE EXISTS (SELECT FROM held) AND {_THE_JOB}
    RETURNING j.*
), e AS ({_EVENT} WHERE j.running_since = now())
SELECT {rows.JOB} FROM j
"""

_ITEMS = """
SELECT number, item, state, begun, error_code, error_text, rests_until, changed_at FROM job_items
WHERE tenant_id = %(tenant)s AND job_id = %(job)s AND number > %(after)s
  AND (%(states)s::text[] IS NULL OR state = ANY (%(states)s))
  AND (NOT %(only_troubled)s OR error_code IS NOT NULL)
ORDER BY number LIMIT %(limit)s
"""

_FORGET = """
WITH old AS (
    SELECT tenant_id, job_id FROM jobs WHERE ended_at <= now() - make_interval(secs => %s::double precision)
    ORDER BY ended_at LIMIT %s FOR UPDATE SKIP LOCKED
)
DELETE FROM jobs AS j USING old WHERE j.tenant_id = old.tenant_id AND j.job_id = old.job_id
RETURNING 1
"""


class Jobs:
    _db: Database

    def add_job(self, new: NewJob) -> tuple[JobRow, bool]:
        params = {
            "tenant": new.tenant,
            "job": new.job,
            "kind": new.kind,
            "params": new.params,
            "user": new.user,
            "project": new.project,
            "rate": new.rate,
            "origin": Jsonb(event_origin()),
        }
        while True:  # the equal one may end between the two statements
            for statement, is_new in ((_ADD, True), (_EQUAL, False)):
                found = self._db.write(statement, params) if is_new else self._db.read(statement, params)
                if found:
                    return rows.job(found[0]), is_new

    def find_job(self, tenant: TenantId, job: JobId) -> JobRow | None:
        return _first(self._db.read(_FIND, {"tenant": tenant, "job": job}))

    def list_jobs(
        self, tenant: TenantId, only: JobFilter, *, after: JobPlace | None = None, limit: int = 100
    ) -> list[JobRow]:
        params = {
            "tenant": tenant,
            "at": after.created_at if after else None,
            "after": after.job if after else None,
            "states": None if only.states is None else [state.value for state in only.states],
            "kind": only.kind,
            "project": only.project,
            "limit": limit,
        }
        return [rows.job(row) for row in self._db.read(_LIST, params)]

    def changed_jobs(self, seen: Sequence[SeenJob]) -> list[int]:
        params = {
            "tenants": [one.tenant for one in seen],
            "jobs": [one.job for one in seen],
            "revisions": [one.revision for one in seen],
        }
        return [int(row[0]) for row in self._db.read(_CHANGED, params)]

    def jobs_at_work(self, kinds: Collection[str], *, within_seconds: float = 0, limit: int = 100) -> list[JobRow]:
        params = {"kinds": list(kinds), "within": within_seconds, "limit": limit}
        return [rows.job(row) for row in self._db.read(_AT_WORK, params)]

    def plan_items(
        self, tenant: TenantId, job: JobId, seen: str | None, items: Sequence[str], cursor: str | None
    ) -> JobRow | None:
        params = {
            "tenant": tenant,
            "job": job,
            "seen": seen,
            "items": list(items),
            "count": len(items),
            "cursor": cursor,
            "origin": Jsonb(event_origin()),
        }
        return _first(self._db.write(_PLAN, params)) or self.find_job(tenant, job)

    def claim_items(self, tenant: TenantId, job: JobId, lease: str, *, seconds: float, limit: int) -> list[ClaimedItem]:
        params = {"tenant": tenant, "job": job, "lease": lease, "seconds": seconds, "limit": limit}
        return [ClaimedItem(*row) for row in self._db.write(_CLAIM, params)]

    def extend_items(self, tenant: TenantId, job: JobId, lease: str, *, seconds: float) -> int:
        params = {"tenant": tenant, "job": job, "lease": lease, "seconds": seconds}
        return len(self._db.write(_EXTEND, params))

    def report_items(self, tenant: TenantId, job: JobId, lease: str, reports: Sequence[ItemReport]) -> JobRow | None:
        params = {
            "tenant": tenant,
            "job": job,
            "lease": lease,
            "numbers": [report.number for report in reports],
            "states": [report.state.value for report in reports],
            "codes": [report.code for report in reports],
            "texts": [report.text for report in reports],
            "rests": [report.rest_seconds for report in reports],
            "origin": Jsonb(event_origin()),
        }
        return _first(self._db.write(_REPORT, params)) or self.find_job(tenant, job)

    def rest_job(self, tenant: TenantId, job: JobId, *, seconds: float, code: str, text: str | None) -> None:
        self._db.write(_REST, {"tenant": tenant, "job": job, "seconds": seconds, "code": code, "text": text})

    def is_under_way(self, tenant: TenantId, job: JobId) -> bool:
        return bool(self._db.read(_UNDER_WAY, (tenant, job))[0][0])

    def move_job(self, tenant: TenantId, job: JobId, to: JobState) -> JobRow | None:
        params: dict[str, Any] = {
            "tenant": tenant,
            "job": job,
            "to": to.value,
            "from": [state.value for state in COMES_FROM[to]],
            "origin": Jsonb(event_origin()),
        }
        return _first(self._db.write(_MOVE, params)) or self.find_job(tenant, job)

    def retry_job(self, tenant: TenantId, job: JobId, *, rate: float | None = None) -> JobRow | None:
        states = [state.value for state in RETRIED_IN]
        params = {"tenant": tenant, "job": job, "from": states, "rate": rate, "origin": Jsonb(event_origin())}
        while True:  # a report may come between
            try:
                tried = _first(self._db.write(_RETRY, params))
            except AlreadyExists as error:
                raise same_work() from error
            found = tried or self.find_job(tenant, job)
            if found is tried or found is None or found.state not in RETRIED_IN:
                return found

    def job_items(
        self,
        tenant: TenantId,
        job: JobId,
        *,
        states: Collection[ItemState] | None = None,
        only_troubled: bool = False,
        after: int = 0,
        limit: int = 100,
    ) -> list[JobItem]:
        params = {
            "tenant": tenant,
            "job": job,
            "after": after,
            "states": None if states is None else [state.value for state in states],
            "only_troubled": only_troubled,
            "limit": limit,
        }
        return [rows.job_item(row) for row in self._db.read(_ITEMS, params)]

    def forget_jobs(self, ended_for_seconds: float, *, limit: int = 100) -> int:
        return len(self._db.write(_FORGET, (ended_for_seconds, limit)))


def _first(found: Sequence[tuple[Any, ...]]) -> JobRow | None:
    return rows.job(found[0]) if found else None
