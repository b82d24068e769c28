"""The outbox and its streams. Each method is one statement; leases are told by the clock that is passed in."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import groupby

from manifold_common.adapters.postgres.catalog import rows
from manifold_common.adapters.postgres.catalog.sinks import JUDGE, judgement
from manifold_common.adapters.postgres.database import Database
from manifold_common.ids import TenantProject
from manifold_common.ports.catalog import EventClaim, EventReport, EventStream, OutboxRow, SinkReport
from manifold_common.ports.clock import Clock

_BATCH = 10_000

_LIST = f"""
SELECT {rows.OUTBOX} FROM outbox AS o
WHERE o.sequence > %(after)s
  AND (%(tenant)s::text IS NULL OR (o.tenant_id = %(tenant)s AND o.project_id = %(project)s))
ORDER BY o.sequence LIMIT %(limit)s
"""

_RECENT = f"""
SELECT {rows.OUTBOX} FROM outbox AS o
WHERE %(tenant)s::text IS NULL OR (o.tenant_id = %(tenant)s AND o.project_id = %(project)s)
ORDER BY o.sequence DESC LIMIT %(limit)s
"""

# A stream is taken by the update, which looks at the newest version of its row: of two relays that saw it free, one
# gets it. The rows come after what that version says is delivered. Streams are locked in one order, so that relays do
# not wait in a circle. The same goes for the try that a sink gets after it has failed: one relay makes it.
_CLAIM = f"""
WITH failing AS MATERIALIZED (
    SELECT parked_at IS NOT NULL OR retry_at > %(now)s OR probing_until > %(now)s AS closed
    FROM event_sinks WHERE sink = %(sink)s AND (failures > 0 OR parked_at IS NOT NULL)
), work AS (
    SELECT o.tenant_id, o.project_id
    FROM outbox AS o LEFT JOIN event_streams AS s
        ON s.sink = %(sink)s AND s.tenant_id = o.tenant_id AND s.project_id = o.project_id
    WHERE NOT EXISTS (SELECT FROM failing WHERE closed)
      AND o.delivered_at IS NULL AND o.sequence > coalesce(s.delivered, 0) AND s.parked_at IS NULL
      AND (s.retry_at IS NULL OR s.retry_at <= %(now)s) AND (s.leased_until IS NULL OR s.leased_until <= %(now)s)
    GROUP BY o.tenant_id, o.project_id, s.failures
    ORDER BY CASE WHEN EXISTS (SELECT FROM failing) THEN coalesce(s.failures, 0) END, min(o.sequence)
    LIMIT CASE WHEN EXISTS (SELECT FROM failing) THEN 1 ELSE %(streams)s END
), probe AS (
    UPDATE event_sinks SET probe = %(lease)s, probing_until = %(until)s
    WHERE sink = %(sink)s AND failures > 0 AND parked_at IS NULL AND (retry_at IS NULL OR retry_at <= %(now)s)
      AND (probing_until IS NULL OR probing_until <= %(now)s) AND EXISTS (SELECT FROM work)
    RETURNING failures
), mine AS (
    INSERT INTO event_streams AS s (sink, tenant_id, project_id, lease, leased_until)
    SELECT %(sink)s, tenant_id, project_id, %(lease)s, %(until)s FROM work
    WHERE NOT EXISTS (SELECT FROM failing) OR EXISTS (SELECT FROM probe)
    ORDER BY tenant_id, project_id
    ON CONFLICT (sink, tenant_id, project_id) DO UPDATE SET lease = %(lease)s, leased_until = %(until)s
    WHERE s.parked_at IS NULL
      AND (s.retry_at IS NULL OR s.retry_at <= %(now)s) AND (s.leased_until IS NULL OR s.leased_until <= %(now)s)
    RETURNING s.tenant_id, s.project_id, s.delivered, s.refusals, s.failures
)
SELECT m.tenant_id, m.project_id, m.refusals, m.failures, coalesce((SELECT failures FROM probe), 0), {rows.OUTBOX}
FROM mine AS m LEFT JOIN LATERAL (
    SELECT * FROM outbox AS o
    WHERE o.tenant_id = m.tenant_id AND o.project_id = m.project_id AND o.sequence > m.delivered
      AND o.delivered_at IS NULL
    ORDER BY o.sequence LIMIT CASE WHEN EXISTS (SELECT FROM probe) THEN 1 ELSE %(events)s END
) AS o ON true
ORDER BY m.failures, m.tenant_id, m.project_id, o.sequence
"""

_REPORT = f"""
WITH given AS (
    SELECT * FROM unnest(%(tenants)s::text[], %(projects)s::text[], %(delivered)s::bigint[], %(errors)s::text[],
                         %(refused)s::boolean[], %(retries)s::timestamptz[], %(parks)s::boolean[])
        AS g (tenant_id, project_id, delivered, error, refused, retry_at, park)
), mine AS (
    SELECT s.sink, s.tenant_id, s.project_id FROM event_streams AS s JOIN given USING (tenant_id, project_id)
    WHERE s.sink = %(sink)s AND s.lease = %(lease)s
    ORDER BY s.tenant_id, s.project_id FOR NO KEY UPDATE OF s
), judged AS (
    {JUDGE}
)
UPDATE event_streams AS s SET
    delivered = greatest(s.delivered, g.delivered),
    refusals = CASE WHEN g.delivered > s.delivered THEN 0 ELSE s.refusals END + g.refused::int,
    failures = CASE WHEN g.delivered > s.delivered THEN 0 ELSE s.failures END + (g.error IS NOT NULL)::int,
    retry_at = g.retry_at,
    parked_at = CASE WHEN g.park THEN %(now)s::timestamptz END,
    last_error = CASE WHEN g.delivered IS NULL AND g.error IS NULL THEN s.last_error ELSE g.error END,
    lease = NULL,
    leased_until = NULL
FROM mine AS m JOIN given AS g USING (tenant_id, project_id)
WHERE s.sink = m.sink AND s.tenant_id = m.tenant_id AND s.project_id = m.project_id AND s.lease = %(lease)s
RETURNING 1
"""

_SETTLE = """
WITH passed AS (
    SELECT tenant_id, project_id, min(delivered) AS delivered FROM event_streams
    WHERE sink = ANY(%(sinks)s) GROUP BY tenant_id, project_id HAVING count(*) = cardinality(%(sinks)s::text[])
)
UPDATE outbox SET delivered_at = %(now)s WHERE sequence IN (
    SELECT o.sequence FROM outbox AS o LEFT JOIN passed USING (tenant_id, project_id)
    WHERE o.delivered_at IS NULL AND (cardinality(%(sinks)s::text[]) = 0 OR o.sequence <= passed.delivered)
    LIMIT %(limit)s
) AND delivered_at IS NULL
RETURNING 1
"""

# What is removed is noted in the same statement, so that a reader who has not seen it is told. A stream's row is of no
# use once its project has no events: without a row, a stream begins with the first that comes.
_PRUNE = """
WITH old AS (
    DELETE FROM outbox WHERE sequence IN (
        SELECT sequence FROM outbox WHERE delivered_at < %(before)s ORDER BY delivered_at LIMIT %(limit)s
    ) RETURNING tenant_id, project_id, sequence, created_at
), noted AS (
    INSERT INTO removed_events AS r (tenant_id, project_id, sequence, created_at)
    SELECT DISTINCT ON (tenant_id, project_id) tenant_id, project_id, sequence, created_at FROM old
    ORDER BY tenant_id, project_id, sequence DESC
    ON CONFLICT (project_id, tenant_id) DO UPDATE SET sequence = excluded.sequence, created_at = excluded.created_at
    WHERE r.sequence < excluded.sequence
), idle AS (
    DELETE FROM event_streams AS s WHERE lease IS NULL AND NOT EXISTS (
        SELECT FROM outbox AS o WHERE o.tenant_id = s.tenant_id AND o.project_id = s.project_id
    )
)
SELECT FROM old
"""

_STREAMS = """
SELECT k.sink, o.tenant_id, o.project_id, min(o.sequence), count(*), min(o.created_at), coalesce(s.refusals, 0),
       s.retry_at, s.parked_at, s.last_error
FROM unnest(%s::text[]) AS k (sink) CROSS JOIN outbox AS o LEFT JOIN event_streams AS s
    ON s.sink = k.sink AND s.tenant_id = o.tenant_id AND s.project_id = o.project_id
WHERE o.delivered_at IS NULL AND o.sequence > coalesce(s.delivered, 0)
GROUP BY k.sink, o.tenant_id, o.project_id, s.refusals, s.retry_at, s.parked_at, s.last_error
ORDER BY s.parked_at IS NULL, min(o.sequence), k.sink LIMIT %s
"""

_REDRIVE = """
UPDATE event_streams AS s SET
    parked_at = NULL, retry_at = NULL, refusals = 0, failures = 0,
    delivered = CASE WHEN %(skip)s THEN coalesce((
        SELECT min(o.sequence) FROM outbox AS o
        WHERE o.tenant_id = s.tenant_id AND o.project_id = s.project_id AND o.sequence > s.delivered
          AND o.delivered_at IS NULL
    ), s.delivered) ELSE s.delivered END
WHERE (parked_at IS NOT NULL OR (retry_at IS NOT NULL AND NOT %(skip)s))
  AND (%(sink)s::text IS NULL OR sink = %(sink)s)
  AND (%(tenant)s::text IS NULL OR (tenant_id = %(tenant)s AND project_id = %(project)s))
RETURNING 1
"""


class Outbox:
    _db: Database
    _clock: Clock

    def list_events(self, *, after: int = 0, project: TenantProject | None = None, limit: int = 100) -> list[OutboxRow]:
        tenant, project_id = project or (None, None)
        params = {"after": after, "tenant": tenant, "project": project_id, "limit": limit}
        return [rows.outbox(row) for row in self._db.read(_LIST, params)]

    def recent_events(self, *, project: TenantProject | None = None, limit: int = 100) -> list[OutboxRow]:
        tenant, project_id = project or (None, None)
        params = {"tenant": tenant, "project": project_id, "limit": limit}
        return [rows.outbox(row) for row in self._db.read(_RECENT, params)][::-1]

    def claim_events(
        self, sink: str, lease: str, *, seconds: float, streams: int = 100, events: int = 100
    ) -> list[EventClaim]:
        now = self._clock.now()
        until = now + timedelta(seconds=seconds)
        params = {"sink": sink, "lease": lease, "now": now, "until": until, "streams": streams, "events": events}
        found = self._db.write(_CLAIM, params)
        claims = []
        for (tenant, project, *counts), group in groupby(found, key=lambda row: row[:5]):
            events_of = [rows.outbox(row[5:]) for row in group if row[5] is not None]
            claims.append(EventClaim(tenant, project, events_of, *counts))
        return claims

    def report_events(
        self, sink: str, lease: str, reports: Sequence[EventReport], how: SinkReport | None = None
    ) -> int:
        now = self._clock.now()
        params = {
            "sink": sink,
            "lease": lease,
            "now": now,
            **judgement(how, now),
            "tenants": [report.tenant for report in reports],
            "projects": [report.project for report in reports],
            "delivered": [report.delivered for report in reports],
            "errors": [report.error for report in reports],
            "refused": [report.refused for report in reports],
            "retries": [report.retry_at for report in reports],
            "parks": [report.park for report in reports],
        }
        return len(self._db.write(_REPORT, params))

    def settle_events(self, sinks: Sequence[str]) -> int:
        params = {"sinks": list(sinks), "now": self._clock.now(), "limit": _BATCH}
        return len(self._db.write(_SETTLE, params))

    def prune_events(self, before: datetime) -> int:
        return len(self._db.write(_PRUNE, {"before": before, "limit": _BATCH}))

    def event_streams(self, sinks: Sequence[str], *, limit: int = 1000) -> list[EventStream]:
        return [rows.event_stream(row) for row in self._db.read(_STREAMS, (list(sinks), limit))]

    def redrive_events(
        self, *, sink: str | None = None, project: TenantProject | None = None, skip: bool = False
    ) -> int:
        tenant, project_id = project or (None, None)
        params = {"sink": sink, "tenant": tenant, "project": project_id, "skip": skip}
        return len(self._db.write(_REDRIVE, params))
