"""What somebody can make who owns a project's bucket and catalog, and perhaps knows its chunk-id key, but none of its
data keys: well-formed objects that are not sealed."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec
from manifold_common.adapters.memory.catalog import MemoryCatalog
from manifold_common.bootstrap import Manifold
from manifold_common.domain.keys import NO_PROVIDER, KeyRecord, WrappedKey
from manifold_common.domain.tree import FILE, Changes, Entry
from manifold_common.engine.commit_writer import Note
from manifold_common.engine.tree_log import Snapshot
from manifold_common.format.chunker import Chunker
from manifold_common.format.commit_object import (
    FIRST_INLINE_FRAME,
    CheckpointMeta,
    CommitMeta,
    build_checkpoint,
    build_commit,
)
from manifold_common.format.layout import checkpoint_name, note_key
from manifold_common.format.places import Block, Container, Place
from manifold_common.format.sealed import ObjectKind, Opener, Payload, Seal, Sealer, unpack_header
from manifold_common.ids import (
    DEFAULT_TENANT,
    PLAIN,
    CommitId,
    DekId,
    Generation,
    ObjectId,
    ProjectId,
    SessionId,
    encode_id,
)
from manifold_common.ports.catalog import CheckpointRow, CommitRow

TENANT = DEFAULT_TENANT
_NOW = datetime(2026, 1, 1, tzinfo=UTC)
HOSTILE = b"hostile bytes"


class Forged(NamedTuple):
    key: str
    data: bytes
    record_hash: bytes
    commit: CommitId
    generation: Generation


def plain_commit(
    base: Snapshot, id_key: bytes, path: bytes = b"a", content: bytes = HOSTILE, commit: str = encode_id(b"f" * 16)
) -> Forged:
    """Return an unsealed commit object that would follow ``base`` and changes one file."""
    generation = Generation(base.head.generation + 1)
    object_id = ObjectId(encode_id(b"o" * 16))
    own = Container(TENANT, base.project, ObjectKind.COMMIT, generation, commit, object_id, PLAIN)
    chunk = Chunker(id_key).chunk_id(content)
    payload = Payload.of(content)
    places = {chunk: Place(Block(own, FIRST_INLINE_FRAME, 0, payload.stored_bytes, len(content)), 0, len(content))}
    changes = Changes({path: Entry(FILE, 0o644, 1, len(content), chunk)}, set())
    meta = CommitMeta(
        TENANT, base.project, generation, commit, base.head.commit or "", base.head.record_hash, "local", "", 1, "", {}
    )
    seal = own.seal()
    built = build_commit(meta, changes, places, [payload], own, Sealer(seal), id_key)
    return Forged(seal.key, bytes(built.data), built.record_hash, CommitId(commit), generation)


def plain_checkpoint(tree: Snapshot, in_place_of: str | None = None) -> Forged:
    """Return an unsealed checkpoint of ``tree``. Args: ``in_place_of``: the key of one whose name it takes."""
    head = tree.head
    assert head.commit is not None
    object_id = ObjectId(encode_id(b"c" * 16))
    name: str = head.commit
    if in_place_of is not None:
        object_id = ObjectId(in_place_of.rpartition("-")[2])
        name = checkpoint_name(head.commit, object_id)
    own = Container(TENANT, tree.project, ObjectKind.CHECKPOINT, head.generation, name, object_id, PLAIN)
    meta = CheckpointMeta(TENANT, tree.project, head.generation, head.commit, head.record_hash, 1)
    seal = own.seal()
    data = build_checkpoint(meta, Changes(tree.tree, set()), tree.places, Sealer(seal))
    return Forged(seal.key, bytes(data), head.record_hash, head.commit, head.generation)


def with_other_content(data: bytes, key: str, kind: ObjectKind) -> bytes:
    """Return an unsealed object whose blocks hold other bytes of the same length, with checksums that are right."""
    seal = unpack_header(data, key, kind)
    opener = Opener(seal)
    first = FIRST_INLINE_FRAME if kind is ObjectKind.COMMIT else 0
    payloads = []
    for number, (_, frame) in enumerate(opener.split(data)):
        raw = bytes(opener.open_frame(number, frame))
        payload = Payload.of(raw)
        if number >= first:
            stored = len(frame) - Payload(0, 0, b"").stored_bytes
            assert stored == len(raw), "the test's content is to be incompressible"
            payload = Payload(0, len(raw), bytes(byte ^ 1 for byte in raw))
        payloads.append(payload)
    return bytes(Sealer(seal).seal_object(payloads))


def plain_note(project: ProjectId, subject: str, data: bytes) -> bytes:
    """Return a field of the catalog that is not sealed."""
    seal = Seal(ObjectKind.NOTE, note_key(TENANT, project, subject), ObjectId(encode_id(b"n" * 16)), PLAIN)
    return bytes(Sealer(seal).seal_object([Payload.of(data)]))


def plain_commit_note(project: ProjectId, commit: CommitId) -> bytes:
    return plain_note(project, commit, msgspec.msgpack.encode(Note("forged", {}, 0, 0, 0, 0)))


def clear_record(project: ProjectId, dek: DekId, epoch: int = 0, extra: int = 0) -> KeyRecord:
    """Return a record whose material everybody knows."""
    known = b"k" * (32 if dek == PLAIN else 64 + extra)
    return KeyRecord(TENANT, project, dek, WrappedKey(NO_PROVIDER, "", 0, known), _NOW, epoch)


class Rows:
    """The rows of one project, as who can write to the database sees them."""

    def __init__(self, manifold: Manifold, project: ProjectId) -> None:
        catalog = manifold.context.catalog
        assert isinstance(catalog, MemoryCatalog)
        self.catalog = catalog
        self.project = project
        self._found = catalog.state.projects[TENANT, project]

    @property
    def keys(self) -> list[KeyRecord]:
        return self._found.keys

    def key(self, *, epoch: int | None = None, dek: DekId | None = None) -> KeyRecord:
        return next(key for key in self.keys if epoch in (None, key.epoch) and dek in (None, key.dek))

    def replace_key(self, before: KeyRecord, after: KeyRecord) -> None:
        self.keys[self.keys.index(before)] = after

    def replace_commit(self, generation: int, row: CommitRow) -> None:
        self._found.commits[Generation(generation)] = row
        self._found.by_id[row.commit] = row
        if generation == len(self._found.commits):
            head = self._found.row.head._replace(
                generation=row.generation, commit=row.commit, record_hash=row.record_hash
            )
            self._found.row = replace(self._found.row, head=head)

    def append_commit(self, forged: Forged, note: bytes) -> None:
        last = self.commits_after(0)[-1]
        self._found.commits[forged.generation] = last
        self.replace_commit(
            forged.generation,
            replace(
                last,
                generation=forged.generation,
                commit=forged.commit,
                parent=last.commit,
                record_hash=forged.record_hash,
                dek=PLAIN,
                object_bytes=len(forged.data),
                note=note,
            ),
        )

    def checkpoint_of(self, forged: Forged) -> CheckpointRow:
        """Make a forged checkpoint the only one, and return its row."""
        row = CheckpointRow(forged.generation, forged.commit, PLAIN, len(forged.data))
        self._found.checkpoints.clear()
        self._found.checkpoints[forged.generation] = row
        return row

    def commit(self, generation: int) -> CommitRow:
        return self._found.commits[Generation(generation)]

    def commits_after(self, generation: int) -> list[CommitRow]:
        return [row for number, row in self._found.commits.items() if number > generation]

    def allow_plain(self) -> None:
        """Add a key that stands for none, if there is none."""
        if not any(key.dek == PLAIN for key in self.keys):
            self.keys.append(clear_record(self.project, PLAIN))

    def change_session(self, session: SessionId, **changes: Any) -> None:
        for key, row in self.catalog.state.sessions.items():
            if row.session == session:
                self.catalog.state.sessions[key] = replace(row, **changes)
