"""A catalog in this process's memory: the same promises as PostgreSQL, except that it is gone with the process.

For tests and for trying things out. One lock guards everything, so each method is a transaction. Values are immutable
or copied on the way in and out, so a caller never shares state with the catalog.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from manifold_common.adapters.memory.outbox import MemoryOutbox
from manifold_common.adapters.memory.superseded import MemorySuperseded, SessionRows
from manifold_common.adapters.memory.uploads import MemoryUploads
from manifold_common.domain.history import Point, history_replaced
from manifold_common.domain.keys import NO_PROVIDER, Encryption, Kek, KeyRecord, WrappedKey
from manifold_common.errors import AlreadyExists, InternalError, NotFound, SessionMoved
from manifold_common.ids import (
    ID_BYTES,
    PLAIN,
    CatalogId,
    CommitId,
    DekId,
    Generation,
    IncarnationId,
    ProjectId,
    RequestId,
    SessionId,
    TenantId,
    UserId,
    WorkingSetId,
    encode_id,
)
from manifold_common.ports.catalog import (
    CatalogHealth,
    CheckpointRow,
    CommitRow,
    DraftRef,
    Head,
    OutboxEvent,
    PlainObjects,
    ProjectRow,
    Publication,
    ReadPlan,
    SessionRow,
    SessionView,
    superseded,
)
from manifold_common.ports.clock import Clock
from manifold_common.ports.installation import DatabaseIdentity, InstallationRow
from manifold_common.ports.superseded import SupersededObject
from manifold_common.ports.uploads import Held, Upload


@dataclass(slots=True)
class _Project:
    row: ProjectRow
    keys: list[KeyRecord]
    fork_of: tuple[ProjectId, Generation] | None
    alive: bool = True
    commits: list[CommitRow] = field(default_factory=list)
    """Generation g is at index g - 1."""
    by_id: dict[CommitId, CommitRow] = field(default_factory=dict)
    checkpoints: dict[Generation, CheckpointRow] = field(default_factory=dict)
    lease: threading.Lock = field(default_factory=threading.Lock)

    def has(self, point: Point) -> bool:
        row = self.by_id.get(point.commit) if point.commit else None
        return row is not None and row.generation == point.generation

    def holds_key(self, dek: DekId) -> bool:
        return any(key.dek == dek for key in self.keys)

    @property
    def epoch(self) -> int:
        return max((key.epoch for key in self.keys), default=0)


class MemoryCatalog(MemoryOutbox):
    """Implements the Catalog port. Safe for threads."""

    def __init__(self, *, clock: Clock) -> None:
        super().__init__(threading.RLock(), clock)
        self._projects: dict[tuple[TenantId, ProjectId], _Project] = {}
        self._superseded = MemorySuperseded(clock)
        self._sessions = SessionRows(self._superseded)
        self._ended: list[tuple[SessionRow, datetime]] = []
        self._uploads = MemoryUploads(self._lock)
        here = DatabaseIdentity("memory", 0)
        catalog, incarnation = CatalogId(_random_id()), IncarnationId(_random_id())
        self._installation = InstallationRow(catalog, incarnation, here, here, "")

    # --- itself ---------------------------------------------------------------------------------------------------

    def installation(self) -> InstallationRow:
        with self._lock:
            return self._installation

    def settle_installation(self, seen: IncarnationId, *, incarnation: IncarnationId, store: str) -> bool:
        with self._lock:
            row = self._installation
            if row.incarnation != seen:
                return False
            self._installation = replace(row, incarnation=incarnation, settled_on=row.database, store=store)
            return True

    # --- projects -------------------------------------------------------------------------------------------------

    def create_project(
        self,
        row: ProjectRow,
        keys: Sequence[KeyRecord],
        event: OutboxEvent,
        *,
        fork_of: tuple[ProjectId, Generation] | None = None,
        first: Publication | None = None,
    ) -> None:
        with self._lock:
            if fork_of is not None:
                source = self._projects.get((row.tenant, fork_of[0]))
                if source is None or source.row.head.generation < fork_of[1]:
                    raise NotFound(f"there is no generation {fork_of[1]} of project {fork_of[0]} to fork")
            if (row.tenant, row.project) in self._projects:
                raise AlreadyExists(f"project {row.project} exists already")
            self._refuse_taken_name(row.tenant, row.owner, row.name)
            made = _Project(replace(row, encryption=Encryption.of(keys)), list(keys), fork_of)
            if first is not None:
                self._require_key(made, first.commit.dek)
            self._projects[row.tenant, row.project] = made
            self._emit(row.tenant, row.project, row.head.generation, event, row.created_at)
            if first is not None:
                self.publish_commit(first)

    def get_project(self, tenant: TenantId, project: ProjectId) -> ProjectRow:
        with self._lock:
            return self._living(tenant, project).row

    def find_project(self, tenant: TenantId, owner: UserId, name: str) -> ProjectRow | None:
        with self._lock:
            rows = (p.row for p in self._projects.values() if p.alive)
            return next((r for r in rows if (r.tenant, r.owner, r.name) == (tenant, owner, name)), None)

    def list_projects(
        self, tenant: TenantId, owner: UserId, *, after_name: str = "", limit: int = 100
    ) -> list[ProjectRow]:
        with self._lock:
            rows = [p.row for p in self._projects.values() if p.alive]
        mine = [r for r in rows if r.tenant == tenant and r.owner == owner and r.name > after_name]
        return sorted(mine, key=lambda r: r.name)[:limit]

    def rename_project(self, tenant: TenantId, project: ProjectId, name: str, event: OutboxEvent) -> ProjectRow:
        with self._lock:
            found = self._living(tenant, project)
            if found.row.name != name:
                self._refuse_taken_name(tenant, found.row.owner, name)
            now = self._clock.now()
            revision = found.row.revision + 1
            found.row = replace(found.row, name=name, updated_at=max(now, found.row.updated_at), revision=revision)
            self._emit(tenant, project, found.row.head.generation, event, now)
            return found.row

    def delete_project(
        self, tenant: TenantId, project: ProjectId, event: OutboxEvent, *, only_unused: bool = False
    ) -> None:
        with self._lock:
            found = self._living(tenant, project)
            open_sessions = [k for k, s in self._sessions.items() if (s.tenant, s.project) == (tenant, project)]
            if only_unused and (found.row.head.generation or open_sessions):
                raise NotFound(f"project {project} is used")
            found.alive = False
            for key in open_sessions:
                self._end(self._sessions[key])
            self._emit(tenant, project, found.row.head.generation, event, self._clock.now())

    # --- keys -----------------------------------------------------------------------------------------------------

    def project_keys(self, tenant: TenantId, project: ProjectId) -> list[KeyRecord]:
        with self._lock:
            return sorted(self._living(tenant, project).keys, key=lambda key: key.epoch)[::-1]

    def begin_epoch(self, key: KeyRecord, head: Head, *, drafts: Sequence[CommitId] | None = None) -> bool:
        with self._lock:
            found = self._living(key.tenant, key.project)
            if key.epoch < 1 or key.dek == PLAIN:
                raise InternalError(f"key {key.dek} cannot begin epoch {key.epoch}")
            if found.holds_key(key.dek):
                raise AlreadyExists(f"project {key.project} has a key {key.dek} already")
            if found.row.head[:2] != head[:2] or found.epoch >= key.epoch:
                return False
            plain = {draft.commit for draft in self.project_drafts(key.tenant, key.project) if draft.dek == PLAIN}
            if drafts is not None and not plain <= set(drafts):
                return False
            found.keys.append(key)
            revision = found.row.revision + 1
            found.row = replace(found.row, encryption=Encryption.of(found.keys), revision=revision)
            return True

    def project_drafts(self, tenant: TenantId, project: ProjectId) -> list[DraftRef]:
        with self._lock:
            self._living(tenant, project)
            rows = [s for s in self._sessions.values() if (s.tenant, s.project) == (tenant, project)]
            drafts = [row.draft for row in rows if row.draft is not None]
        return sorted(drafts, key=lambda draft: draft.saved_at, reverse=True)

    def plain_objects(self, tenant: TenantId, projects: Sequence[ProjectId]) -> dict[ProjectId, PlainObjects]:
        found = {}
        with self._lock:
            for project in projects:
                one = self._projects.get((tenant, project))
                if one is None or not one.alive:
                    continue
                sizes = [commit.object_bytes for commit in one.commits if commit.dek == PLAIN]
                sizes += [row.object_bytes for row in one.checkpoints.values() if row.dek == PLAIN]
                if sizes:
                    found[project] = PlainObjects(len(sizes), sum(sizes))
        return found

    def count_plain_projects(self) -> int:
        with self._lock:
            return sum(one.alive and one.holds_key(PLAIN) for one in self._projects.values())

    def keys_not_under(
        self, kek: Kek, *, after: tuple[TenantId, ProjectId, DekId] | None = None, limit: int = 100
    ) -> list[KeyRecord]:
        with self._lock:
            found = [
                key
                for project in self._projects.values()
                for key in project.keys
                if key.wrapped.provider != NO_PROVIDER and key.wrapped.kek != kek
            ]
        found.sort(key=lambda key: key.context)
        return [key for key in found if after is None or tuple(key.context)[:3] > after][:limit]

    def replace_wrapped_key(self, before: KeyRecord, wrapped: WrappedKey) -> WrappedKey | None:
        with self._lock:
            project = self._projects.get((before.tenant, before.project))
            for index, key in enumerate(project.keys if project else []):
                if project is not None and key.dek == before.dek:
                    if key.wrapped == before.wrapped:
                        project.keys[index] = replace(key, wrapped=wrapped)
                    return project.keys[index].wrapped
            return None

    # --- the commit point -----------------------------------------------------------------------------------------

    def publish_commit(self, publication: Publication) -> Head | None:
        tenant, project, commit = publication.tenant, publication.project, publication.commit
        with self._lock:
            found = self._living(tenant, project)
            moved: SessionRow | None = None
            if publication.session_user is not None and commit.session is not None:
                moved = self._session(tenant, publication.session_user, commit.session)
                if moved.project != project:
                    raise _no_session(commit.session)
                _require_at(moved, publication.working_set)
            head = found.row.head
            if (head.generation, head.commit) != (publication.base.generation, publication.base.commit):
                return None
            if commit.commit in found.by_id:
                raise AlreadyExists(f"commit {commit.commit} is published already")
            if commit.request is not None and self.find_request(tenant, project, commit.request) is not None:
                raise AlreadyExists(f"request {commit.request} has made a commit already")
            self._require_key(found, commit.dek)
            new_head = Head(
                commit.generation,
                commit.commit,
                commit.record_hash,
                commit.generation if publication.touches_skills else head.skills_generation,
                commit.created_at,
            )
            commit = replace(commit, recorded_at=self._clock.now())
            found.commits.append(commit)
            found.by_id[commit.commit] = commit
            found.row = replace(
                found.row,
                head=new_head,
                tree_bytes=publication.tree_bytes,
                tree_files=publication.tree_files,
                updated_at=max(commit.created_at, found.row.updated_at),
            )
            if moved is not None:
                self._sessions[tenant, moved.user, moved.session] = replace(
                    moved,
                    base_generation=commit.generation,
                    base_commit=commit.commit,
                    draft=None,
                    expires_at=max(moved.expires_at, self._clock.now() + publication.session_ttl),
                    durable_at=self._clock.now(),
                )
            self._emit(tenant, project, new_head.generation, publication.event, commit.created_at)
            return new_head

    @contextmanager
    def commit_lease(self, tenant: TenantId, project: ProjectId, *, timeout_seconds: float) -> Iterator[bool]:
        with self._lock:
            found = self._projects.get((tenant, project))
        had = found is not None and found.lease.acquire(timeout=max(0.0, timeout_seconds))
        try:
            yield had
        finally:
            if found is not None and had:
                found.lease.release()

    # --- history --------------------------------------------------------------------------------------------------

    def head(self, tenant: TenantId, project: ProjectId) -> Head:
        with self._lock:
            return self._living(tenant, project).row.head

    def read_plan(
        self,
        tenant: TenantId,
        project: ProjectId,
        generation: Generation | None = None,
        *,
        known: Sequence[Point] = (),
    ) -> ReadPlan:
        with self._lock:
            found = self._living(tenant, project)
            head = found.row.head
            target = head.generation if generation is None else generation
            if not 0 <= target <= head.generation:
                raise NotFound(f"project {project} has no generation {target}")
            held = [point for point in known if found.has(point)]
            floor = max((point.generation for point in held if point.generation <= target), default=0)
            usable = [
                g
                for g, row in found.checkpoints.items()
                if floor < g <= target and not (row.dek == PLAIN and found.epoch)
            ]
            checkpoint = found.checkpoints[max(usable)] if usable else None
            start = checkpoint.generation if checkpoint else floor
            committed_at = found.commits[target - 1].created_at if target else None
            return ReadPlan(head, target, checkpoint, found.commits[start:target], committed_at, held)

    def forks_of(self, tenant: TenantId, source: ProjectId) -> list[tuple[ProjectId, Generation]]:
        with self._lock:
            every = [p for (t, _), p in self._projects.items() if t == tenant and p.fork_of is not None]
            reached: dict[ProjectId, Generation] = {}
            frontier: dict[ProjectId, Generation | None] = {source: None}
            while frontier:
                found = {
                    p.row.project: via if (via := frontier[p.fork_of[0]]) is not None else p.fork_of[1]
                    for p in every
                    if p.fork_of is not None and p.fork_of[0] in frontier
                }
                reached |= found
                frontier = dict(found)
            alive = {p.row.project for p in every if p.alive}
            return sorted((project, generation) for project, generation in reached.items() if project in alive)

    def find_commit(self, tenant: TenantId, project: ProjectId, commit: CommitId) -> CommitRow | None:
        with self._lock:
            found = self._projects.get((tenant, project))
            return found.by_id.get(commit) if found is not None and found.alive else None

    def find_request(self, tenant: TenantId, project: ProjectId, request: RequestId) -> CommitRow | None:
        with self._lock:
            found = self._projects.get((tenant, project))
            commits = found.commits if found is not None and found.alive else []
            return next((row for row in commits if row.request == request), None)

    def commit_at(self, tenant: TenantId, project: ProjectId, generation: Generation) -> CommitRow:
        with self._lock:
            commits = self._living(tenant, project).commits
            if not 1 <= generation <= len(commits):
                raise NotFound(f"project {project} has no commit of generation {generation}")
            return commits[generation - 1]

    def list_commits(
        self, tenant: TenantId, project: ProjectId, *, before: Generation | None = None, limit: int = 100
    ) -> list[CommitRow]:
        with self._lock:
            commits = self._living(tenant, project).commits
            end = len(commits) if before is None else min(max(before - 1, 0), len(commits))
            return commits[max(end - limit, 0) : end][::-1]

    def add_checkpoint(self, tenant: TenantId, project: ProjectId, row: CheckpointRow) -> None:
        with self._lock:
            found = self._living(tenant, project)
            if found.by_id.get(row.commit) is None or found.by_id[row.commit].generation != row.generation:
                raise NotFound(f"project {project} has no commit {row.commit} of generation {row.generation}")
            self._require_key(found, row.dek)
            found.checkpoints[row.generation] = row

    def list_checkpoints(self, tenant: TenantId, project: ProjectId) -> list[CheckpointRow]:
        with self._lock:
            checkpoints = self._living(tenant, project).checkpoints
            return [checkpoints[generation] for generation in sorted(checkpoints, reverse=True)]

    # --- sessions -------------------------------------------------------------------------------------------------

    def open_session(self, row: SessionRow, *, ttl: timedelta) -> SessionRow:
        with self._lock:
            found = self._living(row.tenant, row.project)
            if (row.tenant, row.user, row.session) in self._sessions:
                raise AlreadyExists(f"session {row.session} is open already")
            if row.draft is not None:
                self._require_key(found, row.draft.dek)
            now = self._clock.now()
            opened = replace(row, created_at=now, expires_at=now + ttl, durable_at=now)
            self._sessions[row.tenant, row.user, row.session] = opened
            return opened

    def view_session(self, tenant: TenantId, user: UserId, session: SessionId) -> SessionView | None:
        with self._lock:
            row = self._sessions.get((tenant, user, session))
            return None if row is None else self._view(row)

    def list_sessions(self, tenant: TenantId, user: UserId, project: ProjectId | None = None) -> list[SessionRow]:
        with self._lock:
            rows = [s for s in self._sessions.values() if (s.tenant, s.user) == (tenant, user)]
        return sorted((s for s in rows if project in (None, s.project)), key=lambda s: s.session)

    def drafted_sessions(self, tenant: TenantId, project: ProjectId) -> list[SessionRow]:
        with self._lock:
            rows = [s for s in self._sessions.values() if (s.tenant, s.project) == (tenant, project)]
        return sorted((s for s in rows if s.draft is not None), key=lambda s: (s.user, s.session))

    def move_session(
        self,
        tenant: TenantId,
        user: UserId,
        session: SessionId,
        *,
        base_generation: Generation,
        base_commit: CommitId | None,
    ) -> None:
        with self._lock:
            row = self._session(tenant, user, session)
            self._sessions[tenant, user, session] = replace(
                row, base_generation=base_generation, base_commit=base_commit
            )

    def prolong_session(self, tenant: TenantId, user: UserId, session: SessionId, ttl: timedelta) -> datetime:
        with self._lock:
            row = self._session(tenant, user, session)
            expires_at = self._clock.now() + ttl
            self._sessions[tenant, user, session] = replace(row, expires_at=expires_at)
            return expires_at

    def drop_draft(
        self, tenant: TenantId, user: UserId, session: SessionId, commit: CommitId, *, given_up: bool = False
    ) -> bool:
        with self._lock:
            row = self._session(tenant, user, session)
            if row.draft is None or row.draft.commit != commit:
                return False
            self._sessions[tenant, user, session] = replace(
                row, draft=None, durable_at=self._clock.now(), gave_up_draft=row.gave_up_draft or given_up
            )
            return True

    def save_draft(
        self,
        tenant: TenantId,
        user: UserId,
        session: SessionId,
        draft: DraftRef,
        *,
        ttl: timedelta,
        working_set: WorkingSetId | None = None,
    ) -> None:
        with self._lock:
            row = self._session(tenant, user, session)
            _require_at(row, working_set)
            found = self._living(tenant, row.project)
            if draft.parent is not None and not found.has(draft.base):
                raise history_replaced(draft.base, found.row.head.generation)
            self._require_key(found, draft.dek)
            now = self._clock.now()
            self._sessions[tenant, user, session] = replace(
                row, draft=replace(draft, saved_at=now), expires_at=now + ttl, durable_at=now
            )

    def take_session(self, seen: SessionRow, working_set: WorkingSetId, node: str | None) -> bool:
        with self._lock:
            row = self._sessions.get((seen.tenant, seen.user, seen.session))
            if row is None or _place(row) != _place(seen):
                return False
            self._sessions[seen.tenant, seen.user, seen.session] = replace(
                row, working_set=working_set, node=node, durable_at=self._clock.now()
            )
            return True

    def close_session(self, tenant: TenantId, user: UserId, session: SessionId) -> None:
        with self._lock:
            row = self._sessions.get((tenant, user, session))
            if row is not None:
                self._end(row)

    def end_session(self, seen: SessionRow) -> bool:
        name = (seen.tenant, seen.user, seen.session)
        with self._lock:
            row = self._sessions.get(name)
            if row is None or (_place(row), row.expires_at) != (_place(seen), seen.expires_at):
                return False
            self._end(row)
            return True

    def was_ended(self, tenant: TenantId, user: UserId, session: SessionId, opened_at: datetime | None) -> bool:
        with self._lock:
            return any(
                (row.tenant, row.user, row.session) == (tenant, user, session) and opened_at in (None, row.created_at)
                for row, _ in self._ended
            )

    def forget_ended(self, ended_for: timedelta) -> None:
        with self._lock:
            before = self._clock.now() - ended_for
            self._ended = [(row, at) for row, at in self._ended if at > before]

    def expired_sessions(self, over_for: timedelta, *, limit: int = 100) -> list[SessionView]:
        with self._lock:
            before = self._clock.now() - over_for
            over = [self._view(s) for s in self._sessions.values() if s.expires_at <= before]
        return sorted(over, key=lambda view: view.session.expires_at)[:limit]

    # --- uploads --------------------------------------------------------------------------------------------------

    def add_uploads(self, uploads: Sequence[Upload]) -> None:
        with self._lock:
            for one in uploads:
                if self._session(one.tenant, one.user, one.session).project != one.project:
                    raise _no_session(one.session)
                self._require_key(self._living(one.tenant, one.project), one.dek)
            self._uploads.add(uploads)

    def find_uploads(
        self, tenant: TenantId, user: UserId, session: SessionId, names: Sequence[str], now: datetime
    ) -> list[Upload]:
        with self._lock:
            living = {project for (owner, project), found in self._projects.items() if owner == tenant and found.alive}
            return self._uploads.find(tenant, user, session, living, names, now)

    def held_uploads(self, tenant: TenantId, user: UserId, session: SessionId) -> Held:
        return self._uploads.held(tenant, user, session)

    def link_uploads(self, uploads: Sequence[Upload]) -> int:
        return self._uploads.link(uploads)

    def prove_uploads(
        self, tenant: TenantId, project: ProjectId, proofs: Mapping[str, bytes], expires_at: datetime
    ) -> int:
        return self._uploads.prove(tenant, project, proofs, expires_at)

    def refer_uploads(
        self, tenant: TenantId, project: ProjectId, names: Sequence[str], commit: CommitId, expires_at: datetime
    ) -> int:
        return self._uploads.refer(tenant, project, names, commit, expires_at)

    def forget_uploads(
        self, tenant: TenantId, project: ProjectId, names: Sequence[str], *, slots_of: CommitId | None = None
    ) -> None:
        self._uploads.forget(tenant, project, names, slots_of)

    def remove_upload(self, seen: Upload) -> bool:
        return self._uploads.remove(seen)

    def ended_uploads(self, before: datetime, *, limit: int = 100) -> list[Upload]:
        return self._uploads.ended(before, limit)

    # --- superseded objects -----------------------------------------------------------------------------------------

    def superseded_objects(self, older_than_seconds: float, *, limit: int = 100) -> list[SupersededObject]:
        with self._lock:
            named = {row.draft.commit for row in self._sessions.values() if row.draft is not None}
            named |= {commit for project in self._projects.values() for commit in project.by_id}
            return self._superseded.found(older_than_seconds, named, limit)

    def forget_superseded(self, objects: Sequence[SupersededObject]) -> None:
        with self._lock:
            self._superseded.forget(objects)

    # --- housekeeping -----------------------------------------------------------------------------------------------

    def all_projects(self, *, after: tuple[TenantId, ProjectId] | None = None, limit: int = 100) -> list[ProjectRow]:
        with self._lock:
            keys = sorted(key for key, p in self._projects.items() if p.alive and (after is None or key > after))
            return [self._projects[key].row for key in keys[:limit]]

    def health(self) -> CatalogHealth:
        return CatalogHealth(True, "in memory", 0.0)

    def rest(self) -> None:
        """Nothing is held."""

    def close(self) -> None:
        """Nothing is held."""

    # --- within the lock --------------------------------------------------------------------------------------------

    def _living(self, tenant: TenantId, project: ProjectId) -> _Project:
        found = self._projects.get((tenant, project))
        if found is None or not found.alive:
            raise NotFound(f"there is no project {project}")
        return found

    def _view(self, row: SessionRow) -> SessionView:
        return SessionView(row, self._projects[row.tenant, row.project].row.head, self._clock.now())

    def _end(self, row: SessionRow) -> None:
        del self._sessions[row.tenant, row.user, row.session]
        self._ended.append((row, self._clock.now()))

    def _session(self, tenant: TenantId, user: UserId, session: SessionId) -> SessionRow:
        found = self._sessions.get((tenant, user, session))
        if found is None:
            raise _no_session(session)
        return found

    def _refuse_taken_name(self, tenant: TenantId, owner: UserId, name: str) -> None:
        if self.find_project(tenant, owner, name) is not None:
            raise AlreadyExists(f"there is a project named {name!r} already", hint="choose another name")

    def _require_key(self, project: _Project, dek: DekId) -> None:
        if not project.holds_key(dek):
            raise InternalError(f"key {dek} is not one of project {project.row.project}'s")
        if dek == PLAIN and project.epoch:
            raise superseded(project.row.project)


def _no_session(session: SessionId) -> NotFound:
    return NotFound(f"there is no session {session}")


def _require_at(row: SessionRow, working_set: WorkingSetId | None) -> None:
    if working_set is not None and not row.is_at(working_set):
        raise SessionMoved(row.session)


def _place(row: SessionRow) -> tuple[object, ...]:
    draft = row.draft.commit if row.draft else None
    return row.created_at, row.working_set, row.base_generation, draft


def _random_id() -> str:
    return encode_id(secrets.token_bytes(ID_BYTES))
