"""Builders of valid rows, so that each test says only what it is about; and looks at all that a catalog shows."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from manifold_common.domain.keys import Encryption, KeyRecord, WrappedKey
from manifold_common.ids import (
    PLAIN,
    CommitId,
    DekId,
    Generation,
    ProjectId,
    SessionId,
    TenantId,
    UserId,
    WorkingSetId,
    encode_id,
)
from manifold_common.ports.catalog import (
    Catalog,
    CommitRow,
    DraftRef,
    Head,
    OutboxEvent,
    OutboxRow,
    ProjectRow,
    Publication,
    SessionRow,
    SessionView,
)

TENANT, OTHER_TENANT = TenantId("acme"), TenantId("umbrella")
USER, OTHER_USER = UserId("ann"), UserId("bob")
SESSION = SessionId("s1")
ELSEWHERE, HERE = WorkingSetId("a" * 26), WorkingSetId("b" * 26)
NO_PROJECT = ProjectId("p" * 26)
NOW = datetime(2025, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
TTL = timedelta(hours=1)
EMPTY_HEAD = Head(Generation(0), None, b"", Generation(0))
EVENT = OutboxEvent("manifold.test", {"paths": ["a", "b"], "n": 1})

_ids = itertools.count(1)


def new_id() -> str:
    return encode_id(next(_ids).to_bytes(16, "big"))


@dataclass
class SettableClock:
    """Wall-clock time that stands still until it is set."""

    time: datetime = NOW
    ticks: float = 0.0

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        self.ticks += 0.001
        return self.ticks

    def sleep(self, seconds: float) -> None:
        self.ticks += seconds


def key(project: ProjectId, tenant: TenantId = TENANT, **changes: Any) -> KeyRecord:
    wrapped = WrappedKey("file", "master", 1, b"\x00wrapped\xff")
    return replace(KeyRecord(tenant, project, DekId(new_id()), wrapped, NOW), **changes)


@dataclass
class Made:
    """A project in a catalog, and the commits that were published through this object."""

    catalog: Catalog
    row: ProjectRow
    keys: list[KeyRecord]
    head: Head = EMPTY_HEAD
    commits: list[CommitRow] = field(default_factory=list)

    @property
    def id(self) -> ProjectId:
        return self.row.project

    @property
    def tenant(self) -> TenantId:
        return self.row.tenant

    def next_commit(self, base: Head | None = None, **changes: Any) -> CommitRow:
        base = base or self.head
        row = CommitRow(
            generation=Generation(base.generation + 1),
            commit=CommitId(new_id()),
            parent=base.commit,
            record_hash=bytes([base.generation % 256]) * 32,
            dek=self.keys[-1].dek,
            object_bytes=1234,
            author=USER,
            session=None,
            note=b"\x00note\xff",
            created_at=NOW,
        )
        return replace(row, **changes)

    def publication(self, commit: CommitRow | None = None, *, base: Head | None = None, **changes: Any) -> Publication:
        base = base or self.head
        publication = Publication(
            tenant=self.tenant,
            project=self.id,
            base=base,
            commit=commit or self.next_commit(base),
            touches_skills=False,
            tree_bytes=10,
            tree_files=2,
            event=EVENT,
        )
        return replace(publication, **changes)

    def publish(self, count: int = 1, **changes: Any) -> Head:
        for _ in range(count):
            publication = self.publication(**changes)
            head = self.catalog.publish_commit(publication)
            assert head is not None
            self.head = head
            self.commits.append(publication.commit)
        return self.head


def make_project(
    catalog: Catalog,
    name: str = "paper",
    *,
    tenant: TenantId = TENANT,
    owner: UserId = USER,
    fork_of: tuple[ProjectId, Generation] | None = None,
    project: ProjectId | None = None,
    keys: list[KeyRecord] | None = None,
) -> Made:
    project = project or ProjectId(new_id())
    keys = keys or [key(project, tenant)]
    row = ProjectRow(tenant, project, owner, name, EMPTY_HEAD, 0, 0, NOW, NOW, Encryption.of(keys))
    catalog.create_project(row, keys, EVENT, fork_of=fork_of)
    return Made(catalog, row, keys)


def make_plain(catalog: Catalog, name: str = "plain", **others: Any) -> Made:
    """A project that is not encrypted."""
    project = ProjectId(new_id())
    keys = [key(project, dek=PLAIN, wrapped=WrappedKey("none", "", 0, b"id key"))]
    return make_project(catalog, name, project=project, keys=keys, **others)


def session(made: Made, name: SessionId = SESSION, **changes: Any) -> SessionRow:
    row = SessionRow(
        tenant=made.tenant,
        user=USER,
        session=name,
        project=made.id,
        base_generation=made.head.generation,
        base_commit=made.head.commit,
        draft=None,
        scope=b"",
        created_at=NOW,
        expires_at=LATER,
    )
    return replace(row, **changes)


def draft(made: Made, **changes: Any) -> DraftRef:
    row = DraftRef(
        generation=Generation(made.head.generation + 1),
        commit=CommitId(new_id()),
        parent=made.head.commit,
        dek=made.keys[-1].dek,
        object_bytes=77,
        saved_at=NOW,
    )
    return replace(row, **changes)


def everything(catalog: Catalog, made: Made) -> list[object]:
    """Return all that can be seen of a project, to show that something changed nothing."""
    return [
        catalog.get_project(made.tenant, made.id),
        catalog.project_keys(made.tenant, made.id),
        catalog.list_commits(made.tenant, made.id, limit=10_000),
        catalog.list_checkpoints(made.tenant, made.id),
        catalog.list_sessions(made.tenant, USER),
        catalog.list_events(limit=10_000),
    ]


def all_events(catalog: Catalog) -> list[OutboxRow]:
    rows: list[OutboxRow] = []
    while page := catalog.list_events(after=rows[-1].sequence if rows else 0, limit=7):
        rows += page
    return rows


def view(catalog: Catalog) -> SessionView:
    found = catalog.view_session(TENANT, USER, SESSION)
    assert found is not None
    return found
