"""How each sink itself does (``event_sinks``). The outbox's statements judge it along with a report."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from manifold_common.adapters.postgres.catalog import rows
from manifold_common.adapters.postgres.database import Database
from manifold_common.ports.catalog import SinkReport, SinkState

_FRESH: Final = timedelta(seconds=1)
"""A sink that works is not written down more often than that."""

_RECOVERED: Final = """(
    %(answered)s AND NOT %(failed)s AND (k.probe = %(lease)s OR k.failed_at IS NULL OR k.failed_at < %(claimed_at)s)
)"""
"""What was sent before a failure was noted does not say that it is over."""

JUDGE: Final = f"""
INSERT INTO event_sinks AS k (sink, failures, since, ok_at, failed_at, retry_at, parked_at, last_error)
SELECT %(sink)s, %(failed)s::int, %(now)s, CASE WHEN %(answered)s THEN %(now)s::timestamptz END,
       CASE WHEN %(failed)s THEN %(now)s::timestamptz END, %(rest_until)s::timestamptz,
       CASE WHEN %(park_sink)s THEN %(now)s::timestamptz END, %(reason)s::text
WHERE %(answered)s OR %(failed)s OR EXISTS (SELECT FROM event_sinks WHERE sink = %(sink)s AND probe = %(lease)s)
ON CONFLICT (sink) DO UPDATE SET
    failures = CASE WHEN {_RECOVERED} THEN 0
                    WHEN NOT %(failed)s THEN k.failures
                    WHEN k.failed_at >= %(claimed_at)s THEN greatest(k.failures, 1)
                    WHEN %(answered)s THEN 1
                    ELSE k.failures + 1 END,
    since = CASE WHEN {_RECOVERED} AND k.failures > 0 OR %(failed)s AND k.failures = 0
                 THEN %(now)s ELSE k.since END,
    ok_at = CASE WHEN %(answered)s THEN %(now)s ELSE k.ok_at END,
    failed_at = CASE WHEN %(failed)s THEN %(now)s ELSE k.failed_at END,
    retry_at = CASE WHEN {_RECOVERED} THEN NULL
                    WHEN %(failed)s THEN greatest(k.retry_at, excluded.retry_at)
                    ELSE k.retry_at END,
    parked_at = coalesce(k.parked_at, excluded.parked_at),
    last_error = CASE WHEN {_RECOVERED} THEN NULL WHEN %(failed)s THEN excluded.last_error ELSE k.last_error END,
    probe = CASE WHEN k.probe <> %(lease)s THEN k.probe END,
    probing_until = CASE WHEN k.probe <> %(lease)s THEN k.probing_until END
WHERE %(failed)s OR k.failures > 0 OR k.probe = %(lease)s OR k.ok_at IS NULL OR k.ok_at < %(fresh)s
"""

_STATES: Final = """
SELECT sink, failures, since, ok_at, failed_at, retry_at, parked_at, last_error FROM event_sinks WHERE sink = ANY(%s)
"""

# The number of failures stays: the first thing that is sent then is a try.
_REDRIVE: Final = """
UPDATE event_sinks SET parked_at = NULL, retry_at = NULL, probe = NULL, probing_until = NULL
WHERE (parked_at IS NOT NULL OR failures > 0) AND (%(sink)s::text IS NULL OR sink = %(sink)s)
RETURNING 1
"""


class Sinks:
    _db: Database

    def sink_states(self, sinks: Sequence[str]) -> list[SinkState]:
        found = {row[0]: rows.sink_state(row) for row in self._db.read(_STATES, (list(sinks),))}
        return [found.get(sink, SinkState(sink)) for sink in sinks]

    def redrive_sinks(self, sink: str | None = None) -> int:
        return len(self._db.write(_REDRIVE, {"sink": sink}))


def judgement(how: SinkReport | None, now: datetime) -> dict[str, Any]:
    """Return the parameters of ``JUDGE`` besides those of the report."""
    return {
        "answered": how is not None and how.answered,
        "failed": how is not None and how.error is not None,
        "claimed_at": how.claimed_at if how else now,
        "reason": how.error if how else None,
        "rest_until": how.retry_at if how else None,
        "park_sink": how is not None and how.park,
        "fresh": now - _FRESH,
    }
