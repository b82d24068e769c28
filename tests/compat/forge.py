"""Objects as someone with the key could make them: well sealed, and saying whatever a test wants."""

from __future__ import annotations

import copy
from typing import Any

import msgspec
from manifold_common.errors import CorruptObject as CorruptObject
from manifold_common.format.commit_object import ReadCheckpoint, ReadCommit, read_checkpoint, read_commit
from manifold_common.format.compression import STORED
from manifold_common.format.sealed import ObjectKind, Payload
from manifold_common.ids import PLAIN, DekId

from tests.compat import golden

VERSION, META, TREE = range(3)
GENERATION, PARENT, PARENT_HASH, MESSAGE, PROVENANCE = 2, 4, 5, 9, 10
(UPSERTS, DELETES, CHUNKS, PATHS, KINDS, MODES, MTIMES, SIZES, COUNTS, NUMBERS, TARGETS, IDS, LENGTHS, GONE) = range(14)
CONTAINERS, BLOCKS, B_CONTAINERS, B_FRAMES, B_OFFSETS, B_STORED, B_RAW, C_BLOCKS, C_OFFSETS = range(9)

_COMMIT = golden.commit_object()
_CHECKPOINT = golden.checkpoint_object()


def parts(kind: ObjectKind = ObjectKind.COMMIT) -> tuple[list[Any], list[Any]]:
    """Return the record and the place columns of a good object, to be changed."""
    data = _COMMIT if kind == ObjectKind.COMMIT else _CHECKPOINT
    record, places = golden.description(kind, data)[:2]
    return copy.deepcopy(msgspec.msgpack.decode(record)), copy.deepcopy(msgspec.msgpack.decode(places))


def seal(
    record: Any,
    places: Any,
    kind: ObjectKind = ObjectKind.COMMIT,
    dek: DekId = PLAIN,
    blocks: list[Payload] | None = None,
) -> bytes:
    """Return the object; ``record`` and ``places`` are values to be encoded, or bytes to be taken as they are."""
    frames = [part if isinstance(part, bytes) else msgspec.msgpack.encode(part) for part in (record, places)]
    if blocks is None:
        blocks = golden.sample_changes()[2] if kind == ObjectKind.COMMIT else []
    payloads = [Payload(STORED, len(raw), raw) for raw in frames] + blocks
    return bytes(golden.sealer(golden.seal_of(kind, dek)).seal_object(payloads))


def read(data: bytes, kind: ObjectKind = ObjectKind.COMMIT, dek: DekId = PLAIN) -> ReadCommit | ReadCheckpoint:
    """Raises CorruptObject."""
    own = golden.own(kind, dek)
    opener = golden.opener(own.seal())
    if kind == ObjectKind.COMMIT:
        return read_commit(data, own, opener, golden.ID_KEY)
    return read_checkpoint(data, own, opener)
