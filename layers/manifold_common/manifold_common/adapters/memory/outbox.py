"""The outbox of the catalog in memory."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from manifold_common.adapters.memory.sinks import Sink
from manifold_common.ids import Generation, ProjectId, TenantId
from manifold_common.ports.catalog import OutboxEvent
from manifold_common.ports.clock import Clock
from manifold_common.ports.outbox import EventClaim, EventReport, EventStream, OutboxRow, SinkReport, SinkState

Owner = tuple[TenantId, ProjectId]


@dataclass(slots=True)
class _Written:
    sequence: int
    tenant: TenantId
    project: ProjectId
    type: str
    generation: Generation
    data: str
    """JSON, so that nobody shares state with the outbox."""
    created_at: datetime
    settled_at: datetime | None = None

    def row(self) -> OutboxRow:
        data = json.loads(self.data)
        return OutboxRow(self.sequence, self.tenant, self.project, self.type, self.generation, data, self.created_at)


@dataclass(slots=True)
class _Stream:
    delivered: int = 0
    refusals: int = 0
    failures: int = 0
    retry_at: datetime | None = None
    parked_at: datetime | None = None
    error: str | None = None
    lease: str | None = None
    leased_until: datetime | None = None

    def is_free(self, now: datetime) -> bool:
        resting = self.retry_at is not None and self.retry_at > now
        leased = self.leased_until is not None and self.leased_until > now
        return self.parked_at is None and not resting and not leased


class MemoryOutbox:
    """Implements the Outbox port over the lock of its catalog."""

    def __init__(self, lock: threading.RLock, clock: Clock) -> None:
        self._lock = lock
        self._clock = clock
        self._written: list[_Written] = []
        self._last = 0
        self._streams: dict[tuple[str, Owner], _Stream] = {}
        self._sinks: dict[str, Sink] = {}

    def _emit(
        self, tenant: TenantId, project: ProjectId, generation: Generation, event: OutboxEvent, now: datetime
    ) -> None:
        with self._lock:
            self._last += 1
            data = json.dumps(dict(event.data))
            self._written.append(_Written(self._last, tenant, project, event.type, generation, data, now))

    def list_events(self, *, after: int = 0, project: Owner | None = None, limit: int = 100) -> list[OutboxRow]:
        with self._lock:
            found = [w for w in self._written if w.sequence > after and project in (None, (w.tenant, w.project))]
        return [written.row() for written in found[:limit]]

    def recent_events(self, *, project: Owner | None = None, limit: int = 100) -> list[OutboxRow]:
        with self._lock:
            found = [w for w in self._written if project in (None, (w.tenant, w.project))]
        return [written.row() for written in found[max(len(found) - limit, 0) :]]

    def claim_events(
        self, sink: str, lease: str, *, seconds: float, streams: int = 100, events: int = 100
    ) -> list[EventClaim]:
        now = self._clock.now()
        until = now + timedelta(seconds=seconds)
        with self._lock:
            found = self._sink(sink)
            if found.is_closed(now):
                return []
            free = [owner for owner in self._waiting(sink) if self._stream(sink, owner).is_free(now)]
            if found.is_failing and free:
                free = [min(free, key=lambda owner: self._stream(sink, owner).failures)]
                found.probe, found.probing_until, events = lease, until, 1
            claims = []
            for owner in free[:streams]:
                stream = self._streams.setdefault((sink, owner), _Stream())
                stream.lease, stream.leased_until = lease, until
                rows = [written.row() for written in self._waiting(sink)[owner][:events]]
                claims.append(EventClaim(*owner, rows, stream.refusals, stream.failures, found.state.failures))
            return sorted(claims, key=lambda claim: (claim.failures, claim.tenant, claim.project))

    def report_events(
        self, sink: str, lease: str, reports: Sequence[EventReport], how: SinkReport | None = None
    ) -> int:
        now = self._clock.now()
        with self._lock:
            found = self._sink(sink)
            if how is not None and (how.answered or how.error is not None):
                self._sinks[sink] = found
                found.judge(how, lease, now)
            if found.probe == lease:
                found.probe = found.probing_until = None
            mine = [report for report in reports if self._stream(sink, (report.tenant, report.project)).lease == lease]
            for report in mine:
                stream = self._streams[sink, (report.tenant, report.project)]
                if report.delivered is not None and report.delivered > stream.delivered:
                    stream.delivered, stream.refusals, stream.failures = report.delivered, 0, 0
                if report.delivered is not None or report.error is not None:
                    stream.error = report.error
                stream.refusals += report.refused
                stream.failures += report.error is not None
                stream.retry_at = report.retry_at
                stream.parked_at = now if report.park else None
                stream.lease = stream.leased_until = None
            return len(mine)

    def settle_events(self, sinks: Sequence[str]) -> int:
        with self._lock:
            settled = [
                written
                for written in self._written
                if written.settled_at is None
                and all(
                    self._stream(sink, (written.tenant, written.project)).delivered >= written.sequence
                    for sink in sinks
                )
            ]
            for written in settled:
                written.settled_at = self._clock.now()
            return len(settled)

    def prune_events(self, before: datetime) -> int:
        with self._lock:
            kept = [w for w in self._written if w.settled_at is None or w.settled_at >= before]
            count = len(self._written) - len(kept)
            self._written = kept
            alive = {(written.tenant, written.project) for written in kept}
            self._streams = {k: s for k, s in self._streams.items() if k[1] in alive or s.lease is not None}
            return count

    def event_streams(self, sinks: Sequence[str], *, limit: int = 1000) -> list[EventStream]:
        with self._lock:
            found = [
                EventStream(
                    sink=sink,
                    tenant=owner[0],
                    project=owner[1],
                    next_sequence=waiting[0].sequence,
                    waiting=len(waiting),
                    oldest_at=waiting[0].created_at,
                    refusals=stream.refusals,
                    retry_at=stream.retry_at,
                    parked_at=stream.parked_at,
                    error=stream.error,
                )
                for sink in sinks
                for owner, waiting in self._waiting(sink).items()
                for stream in [self._stream(sink, owner)]
            ]
        return sorted(found, key=lambda s: (s.parked_at is None, s.next_sequence, s.sink))[:limit]

    def sink_states(self, sinks: Sequence[str]) -> list[SinkState]:
        with self._lock:
            return [self._sink(sink).state for sink in sinks]

    def redrive_sinks(self, sink: str | None = None) -> int:
        with self._lock:
            return sum(found.redrive() for name, found in self._sinks.items() if sink in (None, name))

    def redrive_events(self, *, sink: str | None = None, project: Owner | None = None, skip: bool = False) -> int:
        count = 0
        with self._lock:
            for (name, owner), stream in self._streams.items():
                stuck = stream.parked_at is not None or (stream.retry_at is not None and not skip)
                if not stuck or sink not in (None, name) or project not in (None, owner):
                    continue
                count += 1
                waiting = self._waiting(name).get(owner)
                if skip and waiting:
                    stream.delivered = waiting[0].sequence
                stream.parked_at = stream.retry_at = None
                stream.refusals = stream.failures = 0
        return count

    def _sink(self, name: str) -> Sink:
        return self._sinks.get(name, Sink(SinkState(name)))

    def _stream(self, sink: str, owner: Owner) -> _Stream:
        return self._streams.get((sink, owner), _Stream())

    def _waiting(self, sink: str) -> dict[Owner, list[_Written]]:
        """Return what the sink has still to get, by project, the one that waits longest first."""
        found: dict[Owner, list[_Written]] = {}
        for written in self._written:
            owner = (written.tenant, written.project)
            if written.settled_at is None and written.sequence > self._stream(sink, owner).delivered:
                found.setdefault(owner, []).append(written)
        return found
