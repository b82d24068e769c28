"""What the tables of the catalog in memory hold. Used within the catalog's lock."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime

from manifold_common.domain.history import Point
from manifold_common.domain.job import ItemState, JobState
from manifold_common.domain.keys import KeyRecord
from manifold_common.errors import NotFound
from manifold_common.ids import (
    CommitId,
    DekId,
    Generation,
    ProjectId,
    RequestId,
    SessionId,
    TagName,
    TenantId,
    TenantProject,
    UserId,
)
from manifold_common.ports.catalog import (
    CheckpointRow,
    CommitRow,
    DamageRow,
    JobItem,
    JobRow,
    OutboxRow,
    ProjectRow,
    Retention,
    SessionRow,
    SinkReport,
    SinkState,
    TagRow,
    UsageRow,
    removed_generation,
)

SessionKey = tuple[TenantId, UserId, SessionId]


@dataclass(slots=True)
class Project:
    row: ProjectRow
    keys: list[KeyRecord]
    fork_of: tuple[ProjectId, Generation] | None
    deleted_at: datetime | None = None
    is_purged: bool = False
    commits: dict[Generation, CommitRow] = field(default_factory=dict)
    """Oldest first, and so are ``removed``."""
    removed: dict[Generation, CommitRow] = field(default_factory=dict)
    removals: int = 0
    collected: bytes | None = None
    retention: Retention = field(default_factory=Retention)
    usage: UsageRow | None = None
    by_id: dict[CommitId, CommitRow] = field(default_factory=dict)
    """Of those that are kept."""
    checkpoints: dict[Generation, CheckpointRow] = field(default_factory=dict)
    tags: dict[TagName, TagRow] = field(default_factory=dict)
    damaged: dict[str, DamageRow] = field(default_factory=dict)
    """By the object's name."""
    lease: threading.Lock = field(default_factory=threading.Lock)

    @property
    def alive(self) -> bool:
        return self.deleted_at is None

    def has(self, point: Point) -> bool:
        row = self.by_id.get(point.commit) if point.commit else None
        return row is not None and row.generation == point.generation

    def had(self, point: Point) -> bool:
        row = self.removed.get(point.generation)
        return self.has(point) or (row is not None and row.commit == point.commit)

    def at(self, generation: Generation) -> CommitRow:
        """Raises NotFound."""
        found = self.commits.get(generation)
        if found is not None:
            return found
        if generation in self.removed:
            raise removed_generation(self.row.project, generation)
        raise NotFound(f"project {self.row.project} has no commit of generation {generation}")

    def by_request(self, request: RequestId) -> CommitRow | None:
        return next((row for row in self.commits.values() if row.request == request), None)

    def holds_key(self, dek: DekId) -> bool:
        return any(key.dek == dek for key in self.keys)

    def move_epoch(self) -> None:
        head = self.row.head
        self.row = replace(self.row, head=head._replace(gc_epoch=head.gc_epoch + 1))

    @property
    def epoch(self) -> int:
        return max((key.epoch for key in self.keys), default=0)


class SessionTable(dict[SessionKey, SessionRow]):
    """Sessions, by their key. Whatever ends a draft here is noted."""

    def __init__(self, note: Callable[[SessionRow], None]) -> None:
        super().__init__()
        self._note = note

    def __setitem__(self, key: SessionKey, row: SessionRow) -> None:
        before = self.get(key)
        super().__setitem__(key, row)
        if before is not None and before.draft != row.draft:
            self._note(before)

    def __delitem__(self, key: SessionKey) -> None:
        self._note(self[key])
        super().__delitem__(key)


@dataclass(slots=True)
class Written:
    """An event in the outbox."""

    sequence: int
    tenant: TenantId
    project: ProjectId
    type: str
    generation: Generation
    data: str
    """JSON, so that nobody shares state with the outbox."""
    created_at: datetime
    settled_at: datetime | None = None

    @property
    def which(self) -> TenantProject:
        return self.tenant, self.project

    def row(self) -> OutboxRow:
        data = json.loads(self.data)
        return OutboxRow(self.sequence, self.tenant, self.project, self.type, self.generation, data, self.created_at)


@dataclass(slots=True)
class Stream:
    """How far a sink has got with a project's events."""

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


@dataclass(slots=True)
class Sink:
    """How a sink itself does, and who tries it after a failure."""

    state: SinkState
    probe: str | None = None
    probing_until: datetime | None = None

    @property
    def is_failing(self) -> bool:
        return self.state.failures > 0 or self.state.parked_at is not None

    def is_closed(self, now: datetime) -> bool:
        later = (self.state.retry_at, self.probing_until)
        return self.state.parked_at is not None or any(moment is not None and moment > now for moment in later)

    def judge(self, how: SinkReport, lease: str, now: datetime) -> None:
        was = state = self.state
        late = was.failed_at is not None and was.failed_at >= how.claimed_at
        if how.answered:
            state = replace(state, ok_at=now)
        if how.error is not None:
            again = 1 if how.answered else was.failures + 1
            state = replace(
                state,
                failures=max(was.failures, 1) if late else again,
                failed_at=now,
                retry_at=max((at for at in (was.retry_at, how.retry_at) if at is not None), default=None),
                parked_at=was.parked_at or (now if how.park else None),
                error=how.error,
            )
        elif how.answered and (self.probe == lease or not late):
            state = replace(state, failures=0, retry_at=None, error=None)
        if was.since is None or (was.failures > 0) != (state.failures > 0):
            state = replace(state, since=now)
        self.state = state

    def redrive(self) -> bool:
        """Return whether there was anything to let go on."""
        was = self.is_failing
        self.state = replace(self.state, parked_at=None, retry_at=None)
        self.probe = self.probing_until = None
        return was


@dataclass(slots=True)
class Item:
    """An item of a job."""

    number: int
    item: str
    changed_at: datetime
    state: ItemState = ItemState.PENDING
    begun: int = 0
    lost: int = 0
    lease: str | None = None
    leased_until: datetime | None = None
    rests_until: datetime | None = None
    code: str | None = None
    text: str | None = None

    @property
    def lost_by_now(self) -> int:
        """How many workers were lost at it, if whoever holds it is."""
        return self.lost + (self.lease is not None)

    def is_free(self, now: datetime) -> bool:
        later = (self.leased_until, self.rests_until)
        return self.state is ItemState.PENDING and all(moment is None or moment <= now for moment in later)

    def told(self) -> JobItem:
        told = (self.number, self.item, self.state, self.begun, self.code, self.text)
        return JobItem(*told, self.rests_until, self.changed_at)


@dataclass(slots=True)
class Job:
    row: JobRow
    measured_at: datetime
    measured_from: int = 0
    paced_until: datetime | None = None
    items: list[Item] = field(default_factory=list)
    """Item n is at index n - 1."""

    def is_at_work(self, now: datetime) -> bool:
        later = (self.row.rests_until, self.paced_until)
        return self.row.state is JobState.RUNNING and all(moment is None or moment <= now for moment in later)
