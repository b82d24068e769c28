"""Jobs and their items. Leases are told by the clock that is passed in."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from manifold_common.adapters.memory.catalog.state import State
from manifold_common.adapters.memory.catalog.tables import Item, Job
from manifold_common.domain.event import JOB_EVENTS, job_event, stream_of_job
from manifold_common.domain.job import (
    COMES_FROM,
    RETRIED_IN,
    SUSPECT_AFTER,
    ItemState,
    JobFilter,
    JobPlace,
    JobState,
    SeenJob,
    speed,
)
from manifold_common.ids import Generation, JobId, TenantId
from manifold_common.ports.catalog import (
    ClaimedItem,
    ItemReport,
    JobItem,
    JobRow,
    NewJob,
    OutboxEvent,
)
from manifold_common.ports.catalog.jobs import same_work


class Jobs:
    state: State

    def add_job(self, new: NewJob) -> tuple[JobRow, bool]:
        with self.state.lock:
            equal = self.state.jobs.get((new.tenant, new.job)) or self._equal(new.tenant, new.kind, new.params)
            if equal is not None:
                return equal.row, False
            now = self.state.clock.now()
            row = JobRow(
                tenant=new.tenant,
                job=new.job,
                kind=new.kind,
                params=new.params,
                user=new.user,
                project=new.project,
                rate=new.rate,
                state=JobState.RUNNING,
                is_planned=False,
                cursor=None,
                pending=0,
                done=0,
                skipped=0,
                failed=0,
                speed=None,
                rests_until=None,
                trouble_code=None,
                trouble_text=None,
                created_at=now,
                running_since=now,
                ended_at=None,
                revision=1,
            )
            self.state.jobs[new.tenant, new.job] = Job(row, measured_at=now)
            self._emit(row)
            return row, True

    def find_job(self, tenant: TenantId, job: JobId) -> JobRow | None:
        with self.state.lock:
            found = self.state.jobs.get((tenant, job))
            return None if found is None else found.row

    def list_jobs(
        self, tenant: TenantId, only: JobFilter, *, after: JobPlace | None = None, limit: int = 100
    ) -> list[JobRow]:
        with self.state.lock:
            rows = [found.row for found in self.state.jobs.values() if found.row.tenant == tenant]
        kept = [
            row
            for row in rows
            if (only.states is None or row.state in only.states)
            and only.kind in (None, row.kind)
            and only.project in (None, row.project)
            and (after is None or (row.created_at, row.job) < after)
        ]
        return sorted(kept, key=lambda row: (row.created_at, row.job), reverse=True)[:limit]

    def changed_jobs(self, seen: Sequence[SeenJob]) -> list[int]:
        with self.state.lock:
            now = [self.state.jobs.get((one.tenant, one.job)) for one in seen]
            return [
                index
                for index, (one, found) in enumerate(zip(seen, now, strict=True))
                if found is None or found.row.revision != one.revision
            ]

    def jobs_at_work(self, kinds: Collection[str], *, within_seconds: float = 0, limit: int = 100) -> list[JobRow]:
        with self.state.lock:
            soon = self.state.clock.now() + timedelta(seconds=within_seconds)
            found = [
                job.row
                for job in self.state.jobs.values()
                if job.is_at_work(soon)
                and job.row.kind in kinds
                and (not job.row.is_planned or any(item.is_free(soon) for item in job.items))
            ]
        return sorted(found, key=lambda row: row.created_at)[:limit]

    def plan_items(
        self, tenant: TenantId, job: JobId, seen: str | None, items: Sequence[str], cursor: str | None
    ) -> JobRow | None:
        with self.state.lock:
            found = self.state.jobs.get((tenant, job))
            if found is None or found.row.ended_at is not None or found.row.is_planned or found.row.cursor != seen:
                return None if found is None else found.row
            now, count = self.state.clock.now(), len(found.items)
            found.items += [Item(count + number, item, changed_at=now) for number, item in enumerate(items, 1)]
            row = replace(
                found.row,
                cursor=cursor,
                is_planned=cursor is None,
                pending=found.row.pending + len(items),
                rests_until=None,
                trouble_code=None,
                trouble_text=None,
                revision=found.row.revision + 1,
            )
            return self._settle(found, row, now)

    def claim_items(self, tenant: TenantId, job: JobId, lease: str, *, seconds: float, limit: int) -> list[ClaimedItem]:
        with self.state.lock:
            now, found = self.state.clock.now(), self.state.jobs.get((tenant, job))
            if found is None or not found.is_at_work(now):
                return []
            rate = found.row.rate
            most = limit if rate is None else min(limit, math.ceil(rate))
            free = [item for item in found.items if item.is_free(now)]
            fresh = [item for item in free if item.lost_by_now < SUSPECT_AFTER]
            fresh.sort(key=lambda item: (item.rests_until is not None, item.rests_until or now, item.number))
            taken = sorted(fresh[:most] or free[:1], key=lambda item: item.number)
            for item in taken:
                item.begun, item.lost, item.changed_at = item.begun + 1, item.lost_by_now, now
                item.lease, item.leased_until = lease, now + timedelta(seconds=seconds)
            if taken and rate is not None:
                found.paced_until = now + timedelta(seconds=len(taken) / rate)
            return [ClaimedItem(item.number, item.item, item.lost) for item in taken]

    def extend_items(self, tenant: TenantId, job: JobId, lease: str, *, seconds: float) -> int:
        with self.state.lock:
            found = self.state.jobs.get((tenant, job))
            mine = [item for item in found.items if item.lease == lease] if found is not None else []
            for item in mine:
                item.leased_until = self.state.clock.now() + timedelta(seconds=seconds)
            return len(mine)

    def report_items(self, tenant: TenantId, job: JobId, lease: str, reports: Sequence[ItemReport]) -> JobRow | None:
        with self.state.lock:
            now, found = self.state.clock.now(), self.state.jobs.get((tenant, job))
            if found is None:
                return None
            mine = {item.number: item for item in found.items if item.lease == lease}
            states = []
            for report in reports:
                item = mine.pop(report.number, None)
                if item is None:
                    continue
                item.state, item.code, item.text, item.lost = report.state, report.code, report.text, 0
                item.lease = item.leased_until = None
                rest = report.rest_seconds
                item.rests_until = None if rest is None else now + timedelta(seconds=rest)
                item.changed_at = now
                states.append(report.state)
            if not states:
                return found.row
            finished = sum(state is not ItemState.PENDING for state in states)
            row = replace(
                found.row,
                pending=found.row.pending - finished,
                done=found.row.done + states.count(ItemState.DONE),
                skipped=found.row.skipped + states.count(ItemState.SKIPPED),
                failed=found.row.failed + states.count(ItemState.FAILED),
                trouble_code=None if finished else found.row.trouble_code,
                trouble_text=None if finished else found.row.trouble_text,
                rests_until=None if finished else found.row.rests_until,
                revision=found.row.revision + 1,
            )
            seconds = (now - found.measured_at).total_seconds()
            measured = speed(row.finished, found.measured_from, seconds) if row.ended_at is None else None
            if measured is not None:
                row = replace(row, speed=measured)
                found.measured_at, found.measured_from = now, row.finished
            return self._settle(found, row, now)

    def rest_job(self, tenant: TenantId, job: JobId, *, seconds: float, code: str, text: str | None) -> None:
        with self.state.lock:
            found = self.state.jobs.get((tenant, job))
            if found is not None and found.row.ended_at is None:
                until = self.state.clock.now() + timedelta(seconds=seconds)
                revision = found.row.revision + 1
                found.row = replace(
                    found.row, rests_until=until, trouble_code=code, trouble_text=text, revision=revision
                )

    def is_under_way(self, tenant: TenantId, job: JobId) -> bool:
        with self.state.lock:
            now, found = self.state.clock.now(), self.state.jobs.get((tenant, job))
            return found is not None and any(
                item.leased_until is not None and item.leased_until > now for item in found.items
            )

    def move_job(self, tenant: TenantId, job: JobId, to: JobState) -> JobRow | None:
        with self.state.lock:
            now, found = self.state.clock.now(), self.state.jobs.get((tenant, job))
            if found is None or found.row.state not in COMES_FROM[to]:
                return None if found is None else found.row
            row = _afresh(found, replace(found.row, state=to, ended_at=now if to.is_over else None), now)
            if to is JobState.RUNNING:
                row = replace(row, running_since=now)
            moved = self._settle(found, row, now)
            if moved.state is to:
                self._emit(moved)
            return moved

    def retry_job(self, tenant: TenantId, job: JobId, *, rate: float | None = None) -> JobRow | None:
        with self.state.lock:
            now, found = self.state.clock.now(), self.state.jobs.get((tenant, job))
            if found is None or found.row.state not in RETRIED_IN:
                return None if found is None else found.row
            row, had_failed = found.row, found.row.state is JobState.FAILED
            if had_failed and self._equal(row.tenant, row.kind, row.params) is not None:
                raise same_work()
            for item in found.items:
                resting = item.state is ItemState.PENDING and item.lease is None and item.code is not None
                if item.state is ItemState.FAILED or resting:
                    item.state, item.code, item.text, item.lost = ItemState.PENDING, None, None, 0
                    item.rests_until, item.changed_at = None, now
            row = replace(row, failed=0, pending=row.pending + row.failed)
            if rate is not None:
                row, found.paced_until = replace(row, rate=rate), None
            if had_failed:
                row = replace(row, state=JobState.RUNNING, ended_at=None, running_since=now)
            found.row = _afresh(found, row, now)
            if had_failed:
                self._emit(found.row)
            return found.row

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
        with self.state.lock:
            found = self.state.jobs.get((tenant, job))
            return [
                item.told()
                for item in (found.items if found is not None else [])
                if item.number > after
                and (states is None or item.state in states)
                and not (only_troubled and item.code is None)
            ][:limit]

    def forget_jobs(self, ended_for_seconds: float, *, limit: int = 100) -> int:
        with self.state.lock:
            until = self.state.clock.now() - timedelta(seconds=ended_for_seconds)
            ended = [(job.row.ended_at, key) for key, job in self.state.jobs.items() if job.row.ended_at is not None]
            over = [key for at, key in sorted(ended) if at <= until][:limit]
            for key in over:
                del self.state.jobs[key]
            return len(over)

    def _equal(self, tenant: TenantId, kind: str, params: str) -> Job | None:
        wanted = (tenant, kind, params)
        for found in self.state.jobs.values():
            row = found.row
            if row.ended_at is None and (row.tenant, row.kind, row.params) == wanted:
                return found
        return None

    def _settle(self, found: Job, row: JobRow, now: datetime) -> JobRow:
        """Keep the row, and end the job if nothing is left of it."""
        found.row = row
        if row.state is JobState.RUNNING and row.is_planned and not row.pending:
            found.row = replace(row, state=JobState.FAILED if row.failed else JobState.DONE, ended_at=now)
            self._emit(found.row)
        return found.row

    def _emit(self, row: JobRow) -> None:
        now, state = self.state.clock.now(), row.state.value
        counts = {"pending": row.pending, "done": row.done, "skipped": row.skipped, "failed": row.failed}
        data = job_event(row.tenant, row.project, row.user, row.job, row.kind, state, now, **counts)
        event = OutboxEvent(JOB_EVENTS + state, data)
        self.state.emit(row.tenant, stream_of_job(row.job), Generation(0), event, now)


def _afresh(found: Job, row: JobRow, now: datetime) -> JobRow:
    """Return the row of a job that somebody has moved: nothing holds it up, and its speed is measured anew."""
    found.measured_at, found.measured_from = now, row.finished
    revision = row.revision + 1
    return replace(row, rests_until=None, trouble_code=None, trouble_text=None, speed=None, revision=revision)
