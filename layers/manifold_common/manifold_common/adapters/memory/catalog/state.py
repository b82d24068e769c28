"""Everything that the catalog in memory holds, under one lock."""

from __future__ import annotations

import json
import secrets
import threading
from datetime import datetime

from manifold_common.adapters.memory.catalog.tables import Job, Project, SessionTable, Sink, Stream, Written
from manifold_common.domain.garbage import Garbage
from manifold_common.errors import ContentCollected, InternalError, NotFound, SessionMoved
from manifold_common.ids import (
    ID_BYTES,
    PLAIN,
    CatalogId,
    CommitId,
    DekId,
    Generation,
    IncarnationId,
    JobId,
    ProjectId,
    SessionId,
    TenantId,
    TenantProject,
    UploadId,
    UserId,
    WorkingSetId,
    encode_id,
)
from manifold_common.ports.catalog import (
    DatabaseIdentity,
    InstallationRow,
    OutboxEvent,
    ResumableUpload,
    SessionRow,
    SinkState,
    SupersededObject,
    Upload,
    UploadPart,
    encrypted_meanwhile,
    no_base,
)
from manifold_common.ports.clock import Clock

CommitKey = tuple[TenantId, ProjectId, CommitId]
UploadKey = tuple[TenantId, ProjectId, str]
ResumableKey = tuple[TenantId, ProjectId, UploadId]


class State:
    """Whoever looks at it or changes it holds ``lock`` from first to last, so that each method of the catalog is a
    transaction; so does whoever calls a method here. The lock may be taken again by its holder."""

    def __init__(self, clock: Clock) -> None:
        self.lock = threading.RLock()
        self.clock = clock
        self.projects: dict[TenantProject, Project] = {}
        self.sessions = SessionTable(self.supersede)
        self.deleted_sessions: list[SessionRow] = []
        """Those with a draft, of projects that may come back."""
        self.ended: list[tuple[SessionRow, datetime]] = []
        self.superseded: dict[CommitKey, tuple[datetime, SupersededObject]] = {}
        self.condemned: dict[tuple[TenantId, ProjectId, str], tuple[Garbage, datetime | None]] = {}
        """By key; ``None``: suspected only."""
        self.backups: dict[str, tuple[datetime, datetime]] = {}
        """By name: when it was declared, and until when it counts."""
        self.uploads: dict[UploadKey, Upload] = {}
        self.removing: set[UploadKey] = set()
        self.resumable: dict[ResumableKey, ResumableUpload] = {}
        self.resumable_parts: dict[ResumableKey, dict[int, UploadPart]] = {}
        self.written: list[Written] = []
        self.last_sequence = 0
        self.removed: dict[TenantProject, Written] = {}
        """The last event of each project that was removed."""
        self.streams: dict[tuple[str, TenantProject], Stream] = {}
        self.sinks: dict[str, Sink] = {}
        self.jobs: dict[tuple[TenantId, JobId], Job] = {}
        here = DatabaseIdentity("memory", 0)
        catalog, incarnation = CatalogId(_random_id()), IncarnationId(_random_id())
        self.installation = InstallationRow(catalog, incarnation, here, here, "")

    def living(self, tenant: TenantId, project: ProjectId) -> Project:
        found = self.projects.get((tenant, project))
        if found is None or not found.alive:
            raise NotFound(f"there is no project {project}")
        return found

    def living_or_none(self, tenant: TenantId, project: ProjectId) -> Project | None:
        found = self.projects.get((tenant, project))
        return found if found is not None and found.alive else None

    def require_key(self, project: Project, dek: DekId) -> None:
        if not project.holds_key(dek):
            raise InternalError(f"key {dek} is not one of project {project.row.project}'s")
        if dek == PLAIN and project.epoch:
            raise encrypted_meanwhile(project.row.project)

    def require_commit(self, project: Project, commit: CommitId | None) -> None:
        if commit is not None and commit not in project.by_id:
            raise no_base()

    def require_epoch(self, project: Project, gc_epoch: int) -> None:
        if project.row.head.gc_epoch != gc_epoch:
            raise ContentCollected(project.row.project)

    def session(self, tenant: TenantId, user: UserId, session: SessionId) -> SessionRow:
        found = self.sessions.get((tenant, user, session))
        if found is None:
            raise no_session(session)
        return found

    def sessions_of(self, tenant: TenantId, project: ProjectId) -> list[SessionRow]:
        return [row for row in self.sessions.values() if (row.tenant, row.project) == (tenant, project)]

    def deleted_sessions_of(self, tenant: TenantId, project: ProjectId) -> list[SessionRow]:
        return [row for row in self.deleted_sessions if (row.tenant, row.project) == (tenant, project)]

    def end(self, row: SessionRow) -> None:
        del self.sessions[row.tenant, row.user, row.session]
        self.ended.append((row, self.clock.now()))

    def emit(
        self, tenant: TenantId, project: ProjectId, generation: Generation, event: OutboxEvent, now: datetime
    ) -> None:
        self.last_sequence += 1
        data = json.dumps(dict(event.data))
        self.written.append(Written(self.last_sequence, tenant, project, event.type, generation, data, now))

    def is_held(self, given_up_at: datetime) -> bool:
        """Tell whether a backup may refer to what was given up then."""
        now = self.clock.now()
        return any(declared <= given_up_at and until > now for declared, until in self.backups.values())

    def sink(self, name: str) -> Sink:
        return self.sinks.get(name, Sink(SinkState(name)))

    def supersede(self, row: SessionRow) -> None:
        if row.draft is not None:
            one = SupersededObject(row.tenant, row.project, row.draft.generation, row.draft.commit)
            self.superseded.pop((row.tenant, row.project, one.commit), None)
            self.superseded[row.tenant, row.project, one.commit] = (self.clock.now(), one)


def no_session(session: SessionId) -> NotFound:
    return NotFound(f"there is no session {session}")


def require_at(row: SessionRow, working_set: WorkingSetId | None) -> None:
    if working_set is not None and not row.is_at(working_set):
        raise SessionMoved(row.session)


def _random_id() -> str:
    return encode_id(secrets.token_bytes(ID_BYTES))
