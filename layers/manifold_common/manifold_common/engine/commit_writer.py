"""Commit objects and checkpoints on their way into the store. Readers see none of it until the catalog names it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from manifold_common.domain.named_request import NamedRequest
from manifold_common.domain.tree import Changes
from manifold_common.engine.data_keys import DataKeys, ProjectKeys
from manifold_common.engine.objects import SealedObjects
from manifold_common.engine.pack_writer import NewContent
from manifold_common.engine.tree_log import Snapshot
from manifold_common.errors import CorruptObject
from manifold_common.format.buffers import Buffer
from manifold_common.format.commit_object import CheckpointMeta, CommitMeta, build_checkpoint, build_commit
from manifold_common.format.layout import checkpoint_name, commit_key, note_key
from manifold_common.format.places import Container, Places
from manifold_common.format.sealed import ObjectKind, Payload, Seal, unpack_header
from manifold_common.format.tree_columns import used_chunks
from manifold_common.ids import (
    CommitId,
    Generation,
    ObjectId,
    ProjectId,
    SessionId,
    TenantId,
    UserId,
    encode_id,
)
from manifold_common.ports.catalog import CheckpointRow, CommitRow, DraftRef, Head
from manifold_common.ports.clock import Clock, Randomness

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NOTE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Authorship:
    """Who made a commit, in which session, and what is said about it."""

    author: UserId
    session: SessionId | None = None
    message: str = ""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    request: NamedRequest | None = None
    """The request that this is done for: no two commits of a project are for the same one."""


class Note(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a history listing shows of a commit; kept sealed in the catalog."""

    message: str
    provenance: dict[str, Any]
    added: int
    modified: int
    deleted: int
    new_bytes: int
    """Raw bytes of content that was not stored before."""
    request: bytes = b""
    """The fingerprint of the request that made it, if that has a name and a fingerprint."""


_NOTE = msgspec.msgpack.Decoder(Note)


@dataclass(frozen=True, slots=True)
class StoredCommit:
    """A commit object that is stored, and not yet published."""

    project: ProjectId
    row: CommitRow
    places: Places
    gc_epoch: int
    """At which those were known that it refers to."""

    def draft(self, saved_at: datetime) -> DraftRef:
        row = self.row
        return DraftRef(row.generation, row.commit, row.parent, row.dek, row.object_bytes, saved_at)


UseStored = Callable[[StoredCommit], None]
"""What is called with a commit object that is stored."""


class CommitWriter:
    def __init__(self, keys: DataKeys, objects: SealedObjects, clock: Clock, randomness: Randomness) -> None:
        self._keys = keys
        self._objects = objects
        self._clock = clock
        self._randomness = randomness

    def write(
        self, base: Snapshot, changes: Changes, content: NewContent, known: Places, by: Authorship, note: Note
    ) -> StoredCommit:
        """Store the commit object that would follow ``base``: one PUT.

        Args:
            content: the new chunks; those of its inline blocks travel inside the object.
            known: places of the chunks that were stored before, as they were known at the ``gc_epoch`` of ``base`` or
                later.
        """
        tenant, project = base.tenant, base.project
        keys = self._keys.of(tenant, project)
        commit = CommitId(self._new_id())
        generation = Generation(base.head.generation + 1)
        own = Container(
            tenant, project, ObjectKind.COMMIT, generation, commit, ObjectId(self._new_id()), keys.write_dek
        )
        now = self._time_after(base.head)
        meta = _meta(own, base.head, by, now)
        seal = own.seal()
        new = content.places(own)
        built = build_commit(
            meta, changes, {**known, **new} if new else known, content.inline, own, keys.sealer(seal), keys.id_key
        )
        self._objects.write(seal.key, built.data)
        row = CommitRow(
            generation=generation,
            commit=commit,
            parent=base.head.commit,
            record_hash=built.record_hash,
            dek=own.dek,
            object_bytes=len(built.data),
            author=by.author,
            session=by.session,
            note=self.seal_note(tenant, project, commit, msgspec.msgpack.encode(note)),
            created_at=now,
            request=by.request and by.request.name,
        )
        return StoredCommit(project, row, built.places, base.head.gc_epoch)

    def write_again(self, base: Snapshot, changes: Changes, places: Places, row: CommitRow) -> Buffer | None:
        """Return an object, which is not stored, for a commit whose own is lost: the same record under another object
        id. ``None``: the record is not the one that was published, or the object would be larger than readers take.

        Args:
            base: the tree that it was made on.
            places: of every chunk that the changes mention.

        Raises:
            CorruptObject: its note cannot be read; or a place is sealed under a key that the project never had.
            KeyUnavailable: it would not be sealed, and the project is encrypted.
        """
        tenant, project = base.tenant, base.project
        keys = self._keys.of(tenant, project)
        note = decode_note(keys, tenant, project, row)
        own = Container(
            tenant, project, ObjectKind.COMMIT, row.generation, row.commit, ObjectId(self._new_id()), row.dek
        )
        by = Authorship(row.author, row.session, note.message, note.provenance)
        meta = _meta(own, base.head, by, row.created_at)
        for container in {places[chunk].block.container for chunk in used_chunks(changes.upserts)}:
            keys.block_opener(container.seal())
        built = build_commit(meta, changes, places, [], own, keys.sealer(own.seal()), keys.id_key)
        is_it = built.record_hash == row.record_hash and len(built.data) <= row.object_bytes
        return built.data if is_it else None

    def _time_after(self, parent: Head) -> datetime:
        """Return the time to record of a commit on ``parent``: now, unless this clock is behind the one that made the
        parent. A microsecond is the smallest step that commit object and catalog can both say."""
        now = self._clock.now()
        return now if parent.committed_at is None else max(now, parent.committed_at + timedelta(microseconds=1))

    def write_checkpoint(self, snapshot: Snapshot, keys: ProjectKeys | None = None) -> CheckpointRow:
        """Store the whole tree of a snapshot: one PUT. Args: ``keys``: as for ``seal_checkpoint``."""
        return self.store_checkpoint(snapshot, *self.seal_checkpoint(snapshot, keys))

    def seal_checkpoint(self, snapshot: Snapshot, keys: ProjectKeys | None = None) -> tuple[Container, bytearray]:
        """Return the whole tree of a snapshot as an object that is not stored. Each call makes another object.

        Args:
            keys: to write with. ``None``: those that the project has.
        """
        tenant, project, head = snapshot.tenant, snapshot.project, snapshot.head
        assert head.commit is not None
        keys, object_id = keys or self._keys.of(tenant, project), ObjectId(self._new_id())
        name = checkpoint_name(head.commit, object_id)
        own = Container(tenant, project, ObjectKind.CHECKPOINT, head.generation, name, object_id, keys.write_dek)
        meta = CheckpointMeta(
            tenant=tenant,
            project=project,
            generation=head.generation,
            commit=head.commit,
            record_hash=head.record_hash,
            time_ns=_nanoseconds(self._clock.now()),
        )
        return own, build_checkpoint(meta, Changes(snapshot.tree, set()), snapshot.places, keys.sealer(own.seal()))

    def store_checkpoint(self, snapshot: Snapshot, own: Container, data: bytearray) -> CheckpointRow:
        """Store what ``seal_checkpoint`` made of ``snapshot``: one PUT."""
        assert snapshot.head.commit is not None
        self._objects.write(own.seal().key, data)
        return CheckpointRow(own.generation, snapshot.head.commit, own.dek, len(data), own.object_id)

    def discard(self, tenant: TenantId, project: ProjectId, commit: CommitRow) -> None:
        """Remove a commit object that the catalog has never named, as a commit or as a draft.

        What it has named must stay for a while, since a dump may name it still (services/upkeep/superseded.py).
        """
        self._objects.discard([commit_key(tenant, project, commit.generation, commit.commit)])

    def seal_note(self, tenant: TenantId, project: ProjectId, subject: str, data: bytes) -> bytes:
        """Return ``data`` sealed under the project's key and bound to ``subject``, for a field of the catalog."""
        keys = self._keys.of(tenant, project)
        seal = Seal(ObjectKind.NOTE, note_key(tenant, project, subject), ObjectId(self._new_id()), keys.write_dek)
        return bytes(keys.sealer(seal).seal_object([Payload.of(data)]))

    def _new_id(self) -> str:
        return encode_id(self._randomness.token(16))


def _meta(own: Container, base: Head, by: Authorship, now: datetime) -> CommitMeta:
    """Return what the commit object ``own``, which follows ``base``, says of itself."""
    return CommitMeta(
        tenant=own.tenant,
        project=own.project,
        generation=own.generation,
        commit=own.name,
        parent=base.commit or "",
        parent_hash=base.record_hash,
        author=by.author,
        session=by.session or "",
        time_ns=_nanoseconds(now),
        message=by.message,
        provenance=dict(by.provenance),
    )


def open_note(
    keys: ProjectKeys,
    tenant: TenantId,
    project: ProjectId,
    subject: str,
    sealed: bytes,
    *,
    old: bool = False,
    max_bytes: int = _NOTE_BYTES,
) -> bytes:
    """Return what ``seal_note`` was given. Raises CorruptObject.

    Args:
        old: it may have been written before the project was encrypted, and is taken unsealed then.
        max_bytes: it has no more.
    """
    name = note_key(tenant, project, subject)
    seal = unpack_header(sealed, name, ObjectKind.NOTE)
    opener = keys.old_opener(seal) if old else keys.opener(seal)
    frames = opener.split(sealed)
    if len(frames) != 1:
        raise CorruptObject(name, f"it has {len(frames)} frames instead of one")
    return bytes(opener.open_frame(0, frames[0][1], max_raw_bytes=max_bytes))


def decode_note(keys: ProjectKeys, tenant: TenantId, project: ProjectId, row: CommitRow) -> Note:
    """Return a commit's note. Raises CorruptObject."""
    past = keys.past
    old = past is not None and row.generation <= past.generations
    data = open_note(keys, tenant, project, row.commit, row.note, old=old)
    try:
        return _NOTE.decode(data)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise CorruptObject(note_key(tenant, project, row.commit), f"it is not a note: {error}") from None


def _nanoseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1000
