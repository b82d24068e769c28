"""The outbox and its streams. Leases are told by the clock that is passed in."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from manifold_common.adapters.memory.catalog.state import State
from manifold_common.adapters.memory.catalog.tables import Stream, Written
from manifold_common.ids import TenantProject
from manifold_common.ports.catalog import EventClaim, EventReport, EventStream, OutboxRow, SinkReport


class Outbox:
    state: State

    def list_events(self, *, after: int = 0, project: TenantProject | None = None, limit: int = 100) -> list[OutboxRow]:
        with self.state.lock:
            found = [w for w in self.state.written if w.sequence > after and project in (None, w.which)]
        return [written.row() for written in found[:limit]]

    def recent_events(self, *, project: TenantProject | None = None, limit: int = 100) -> list[OutboxRow]:
        with self.state.lock:
            found = [w for w in self.state.written if project in (None, w.which)]
        return [written.row() for written in found[max(len(found) - limit, 0) :]]

    def claim_events(
        self, sink: str, lease: str, *, seconds: float, streams: int = 100, events: int = 100
    ) -> list[EventClaim]:
        now = self.state.clock.now()
        until = now + timedelta(seconds=seconds)
        with self.state.lock:
            found = self.state.sink(sink)
            if found.is_closed(now):
                return []
            free = [which for which in self._waiting(sink) if self._stream(sink, which).is_free(now)]
            if found.is_failing and free:
                free = [min(free, key=lambda which: self._stream(sink, which).failures)]
                found.probe, found.probing_until, events = lease, until, 1
            claims = []
            for which in free[:streams]:
                stream = self.state.streams.setdefault((sink, which), Stream())
                stream.lease, stream.leased_until = lease, until
                rows = [written.row() for written in self._waiting(sink)[which][:events]]
                claims.append(EventClaim(*which, rows, stream.refusals, stream.failures, found.state.failures))
            return sorted(claims, key=lambda claim: (claim.failures, claim.tenant, claim.project))

    def report_events(
        self, sink: str, lease: str, reports: Sequence[EventReport], how: SinkReport | None = None
    ) -> int:
        now = self.state.clock.now()
        with self.state.lock:
            found = self.state.sink(sink)
            if how is not None and (how.answered or how.error is not None):
                self.state.sinks[sink] = found
                found.judge(how, lease, now)
            if found.probe == lease:
                found.probe = found.probing_until = None
            mine = [report for report in reports if self._stream(sink, (report.tenant, report.project)).lease == lease]
            for report in mine:
                stream = self.state.streams[sink, (report.tenant, report.project)]
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
        with self.state.lock:
            settled = [
                written
                for written in self.state.written
                if written.settled_at is None
                and all(self._stream(sink, written.which).delivered >= written.sequence for sink in sinks)
            ]
            for written in settled:
                written.settled_at = self.state.clock.now()
            return len(settled)

    def prune_events(self, before: datetime) -> int:
        with self.state.lock:
            old = [w for w in self.state.written if w.settled_at is not None and w.settled_at < before]
            kept = [w for w in self.state.written if w not in old]
            self.state.removed |= {written.which: written for written in old}
            self.state.written = kept
            alive = {written.which for written in kept}
            self.state.streams = {k: s for k, s in self.state.streams.items() if k[1] in alive or s.lease is not None}
            return len(old)

    def event_streams(self, sinks: Sequence[str], *, limit: int = 1000) -> list[EventStream]:
        with self.state.lock:
            found = [
                EventStream(
                    sink=sink,
                    tenant=which[0],
                    project=which[1],
                    next_sequence=waiting[0].sequence,
                    waiting=len(waiting),
                    oldest_at=waiting[0].created_at,
                    refusals=stream.refusals,
                    retry_at=stream.retry_at,
                    parked_at=stream.parked_at,
                    error=stream.error,
                )
                for sink in sinks
                for which, waiting in self._waiting(sink).items()
                for stream in [self._stream(sink, which)]
            ]
        return sorted(found, key=lambda s: (s.parked_at is None, s.next_sequence, s.sink))[:limit]

    def redrive_events(
        self, *, sink: str | None = None, project: TenantProject | None = None, skip: bool = False
    ) -> int:
        count = 0
        with self.state.lock:
            for (name, which), stream in self.state.streams.items():
                stuck = stream.parked_at is not None or (stream.retry_at is not None and not skip)
                if not stuck or sink not in (None, name) or project not in (None, which):
                    continue
                count += 1
                waiting = self._waiting(name).get(which)
                if skip and waiting:
                    stream.delivered = waiting[0].sequence
                stream.parked_at = stream.retry_at = None
                stream.refusals = stream.failures = 0
        return count

    def _stream(self, sink: str, which: TenantProject) -> Stream:
        return self.state.streams.get((sink, which), Stream())

    def _waiting(self, sink: str) -> dict[TenantProject, list[Written]]:
        """Return what the sink has still to get, by project, the one that waits longest first."""
        found: dict[TenantProject, list[Written]] = {}
        for written in self.state.written:
            if written.settled_at is None and written.sequence > self._stream(sink, written.which).delivered:
                found.setdefault(written.which, []).append(written)
        return found
