"""Commit objects and checkpoints: a sealed object whose first two frames describe a tree or a change to one.

    frame 0   record   [version, meta, tree columns]   what happened; the hash chain covers these very bytes
    frame 1   places   [place columns]                 where the chunks are
    frame 2.. blocks   a small commit carries its own  (commit objects only)

A commit's record names its parent's id and record hash: the log is a chain, in which nothing can be left out, put in
or exchanged unnoticed.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, TypeVar

import msgspec
from blake3 import blake3

from manifold_common.domain.tree import Changes
from manifold_common.errors import CorruptObject, InvalidInput, QuotaExceeded
from manifold_common.format.buffers import Buffer
from manifold_common.format.compression import STORED
from manifold_common.format.footprint import PLACES_FACTOR, RECORD_FACTOR, TakeMemory, no_bound
from manifold_common.format.layout import checkpoint_name
from manifold_common.format.places import FIRST_BLOCK_FRAME, Container, Place, Places
from manifold_common.format.sealed import HEADER_BYTES, MAX_RAW_BYTES, Opener, Payload, Sealer
from manifold_common.format.tree_columns import (
    PlaceColumns,
    TreeColumns,
    decode_places,
    decode_tree,
    encode_places,
    encode_tree,
    used_chunks,
)

RECORD_VERSION = 1
HASH_BYTES = 32
FIRST_INLINE_FRAME = FIRST_BLOCK_FRAME

MAX_MESSAGE_BYTES = 64 << 10
MAX_PROVENANCE_BYTES = 256 << 10
"""Encoded. Together with the message it must fit in the note that the catalog keeps."""
MAX_META_BYTES = MAX_MESSAGE_BYTES + MAX_PROVENANCE_BYTES + (4 << 10)
"""Encoded: what a commit or a checkpoint says of itself, before its tree."""
_MAX_NESTING = 32

_ANY_RAW_BYTES = 4 << 20
_MAX_RATIO = 64
"""A description frame holds at most 4 MiB + 64 times its own length, so that a small object cannot take much memory.
Real trees stay below 20; one that would not is stored uncompressed."""
_HASH_CONTEXT = "manifold/v1 record hash"


class CommitMeta(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """Who, when and why. Field order is the wire order. Ids are in text form."""

    tenant: str
    project: str
    generation: int
    commit: str
    parent: str
    """``""`` for the first."""
    parent_hash: bytes
    """Record hash of the parent; ``b""`` for the first."""
    author: str
    session: str
    """``""`` when the commit was made outside a session."""
    time_ns: int
    """Since the Unix epoch, UTC."""
    message: str
    provenance: dict[str, Any]
    """What made the change: agent run, model, tool calls, cost. Free form, JSON-compatible."""


class CheckpointMeta(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """Which generation's tree this is. Field order is the wire order."""

    tenant: str
    project: str
    generation: int
    commit: str
    record_hash: bytes
    """Of that generation's commit record."""
    time_ns: int


class _Record(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    version: int
    meta: msgspec.Raw
    """A ``CommitMeta`` or ``CheckpointMeta``, made of it once it is known not to be too long."""
    tree: TreeColumns


class _Versioned(msgspec.Struct, array_like=True, frozen=True):
    version: int


# Made when this module is imported, and not at the first use: two threads that have msgspec look at a class for the
# first time, both at once, can end the process (a segmentation fault in one of some thirty cold reads).
_VERSION = msgspec.msgpack.Decoder(_Versioned)
_RECORD = msgspec.msgpack.Decoder(_Record)
_COMMIT = msgspec.msgpack.Decoder(CommitMeta)
_CHECKPOINT = msgspec.msgpack.Decoder(CheckpointMeta)
_PLACES = msgspec.msgpack.Decoder(PlaceColumns)


class BuiltCommit(NamedTuple):
    data: bytearray
    record_hash: bytes
    places: Places
    """Of every chunk the commit mentions; inline ones now have their true offsets."""


class ReadCommit(NamedTuple):
    meta: CommitMeta
    record_hash: bytes
    changes: Changes
    places: Places


class ReadCheckpoint(NamedTuple):
    meta: CheckpointMeta
    changes: Changes
    """The whole tree, as upserts."""
    places: Places


def record_hash(id_key: Buffer, record: Buffer) -> bytes:
    """Return the keyed hash that the next commit names its parent by."""
    key = blake3(id_key, derive_key_context=_HASH_CONTEXT).digest()
    return blake3(record, key=key).digest()


def build_commit(
    meta: CommitMeta,
    changes: Changes,
    places: Places,
    inline: list[Payload],
    own: Container,
    sealer: Sealer,
    id_key: Buffer,
) -> BuiltCommit:
    """Return a commit object's bytes.

    Args:
        places: of every chunk that ``changes`` mentions. Those of inline blocks name ``own`` as their container, and
            frame ``FIRST_INLINE_FRAME + i`` for ``inline[i]``; their offsets are not read.

    Raises:
        InvalidInput: a message or provenance that is too long, not text, or not JSON-compatible.
        QuotaExceeded: more changes than one commit can describe.
    """
    _check_words(meta)
    chunks = used_chunks(changes.upserts)
    record = _encode(meta, encode_tree(changes, chunks, places))
    located = msgspec.msgpack.encode(encode_places(chunks, places, own))
    payloads = [_describe(record), _describe(located), *inline]
    offsets = [HEADER_BYTES]
    for payload in payloads:
        offsets.append(offsets[-1] + payload.stored_bytes)
    resolved = {chunk: _with_offset(places[chunk], own, offsets) for chunk in chunks}
    return BuiltCommit(sealer.seal_object(payloads), record_hash(id_key, record), resolved)


def _encode(meta: CommitMeta | CheckpointMeta, tree: TreeColumns) -> bytes:
    return msgspec.msgpack.encode(_Record(RECORD_VERSION, msgspec.Raw(msgspec.msgpack.encode(meta)), tree))


def _describe(raw: bytes) -> Payload:
    if len(raw) > MAX_RAW_BYTES:
        raise QuotaExceeded(
            f"a description of {len(raw)} bytes is over the limit of {MAX_RAW_BYTES}",
            hint="keep fewer files in one project, or set projects.quotas.maxFiles",
            limit=MAX_RAW_BYTES,
        )
    payload = Payload.of(raw)
    return payload if len(raw) <= _max_raw_bytes(payload.stored_bytes) else Payload(STORED, len(raw), raw)


def _max_raw_bytes(frame_bytes: int) -> int:
    return min(MAX_RAW_BYTES, _ANY_RAW_BYTES + _MAX_RATIO * frame_bytes)


def _check_words(meta: CommitMeta) -> None:
    try:
        message_bytes = len(meta.message.encode("utf-8"))
        provenance_bytes = len(msgspec.msgpack.encode(meta.provenance))
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise InvalidInput(f"the commit's message or provenance cannot be kept: {error}") from None
    if message_bytes > MAX_MESSAGE_BYTES or provenance_bytes > MAX_PROVENANCE_BYTES:
        raise InvalidInput(
            f"the commit's message has {message_bytes} bytes and its provenance {provenance_bytes}",
            hint=f"use at most {MAX_MESSAGE_BYTES} and {MAX_PROVENANCE_BYTES}",
        )
    if not _is_json(meta.provenance):
        raise InvalidInput("the commit's provenance is not JSON-compatible", hint="use text, numbers, lists and maps")


def _is_json(value: Any, depth: int = 0) -> bool:
    if depth > _MAX_NESTING:
        return False
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_json(item, depth + 1) for key, item in value.items())
    if isinstance(value, list | tuple):
        return all(_is_json(item, depth + 1) for item in value)
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or isinstance(value, bool | int | str)


def _with_offset(place: Place, own: Container, offsets: list[int]) -> Place:
    block = place.block
    if block.container != own:
        return place
    return place._replace(block=block._replace(offset=offsets[block.frame]))


def read_commit(
    data: Buffer, own: Container, opener: Opener, id_key: Buffer, take: TakeMemory = no_bound
) -> ReadCommit:
    """Decode a whole commit object.

    Args:
        take: is told of memory before it is taken; what it raises ends the decoding.

    Raises:
        CorruptObject: it does not open, is another commit than ``own``, or holds what no commit can.
    """
    record, places, offsets = _frames(data, opener, take)
    decoded = _decode(record, opener)
    meta = _meta(decoded.meta, _COMMIT, opener)
    _check_identity(meta, own, opener)
    is_first = meta.generation == 1
    if is_first != (not meta.parent) or len(meta.parent_hash) != (0 if is_first else HASH_BYTES):
        raise CorruptObject(opener.seal.key, "it does not name its parent as its generation needs")
    if not _is_json(meta.provenance):
        raise CorruptObject(opener.seal.key, "its provenance is not JSON-compatible")
    changes, located = _tree(decoded.tree, places, own, offsets, opener, take)
    return ReadCommit(meta, record_hash(id_key, record), changes, located)


def _check_identity(meta: CommitMeta | CheckpointMeta, own: Container, opener: Opener) -> None:
    name = meta.commit
    if isinstance(meta, CheckpointMeta) and own.name != name:
        name = checkpoint_name(meta.commit, own.object_id)
    if (meta.tenant, meta.project, meta.generation, name) != (own.tenant, own.project, own.generation, own.name):
        raise CorruptObject(opener.seal.key, "its record is about another project or generation")


def build_checkpoint(meta: CheckpointMeta, tree: Changes, places: Places, sealer: Sealer) -> bytearray:
    """Return a checkpoint's bytes; ``tree`` holds the whole tree as upserts.

    Raises:
        QuotaExceeded: a larger tree than one checkpoint can describe.
    """
    chunks = used_chunks(tree.upserts)
    record = _encode(meta, encode_tree(tree, chunks, places))
    located = msgspec.msgpack.encode(encode_places(chunks, places, None))
    return sealer.seal_object([_describe(record), _describe(located)])


def read_checkpoint(data: Buffer, own: Container, opener: Opener, take: TakeMemory = no_bound) -> ReadCheckpoint:
    """Decode a whole checkpoint. Takes memory, and raises, as ``read_commit``."""
    record, places, offsets = _frames(data, opener, take)
    decoded = _decode(record, opener)
    meta = _meta(decoded.meta, _CHECKPOINT, opener)
    _check_identity(meta, own, opener)
    if len(offsets) != FIRST_BLOCK_FRAME + 1 or len(meta.record_hash) != HASH_BYTES:
        raise CorruptObject(opener.seal.key, "it has the wrong number of frames, or no hash of its commit")
    changes, located = _tree(decoded.tree, places, own, offsets, opener, take)
    if changes.deletes:
        raise CorruptObject(opener.seal.key, "it deletes something, which a whole tree cannot")
    return ReadCheckpoint(meta, changes, located)


def _frames(data: Buffer, opener: Opener, take: TakeMemory) -> tuple[Buffer, Buffer, list[int]]:
    frames = opener.split(data, take)
    if len(frames) < FIRST_BLOCK_FRAME:
        raise CorruptObject(opener.seal.key, f"it has {len(frames)} frames, fewer than its description needs")
    for number, factor in enumerate((RECORD_FACTOR, PLACES_FACTOR)):
        take(opener.declared_bytes(number, frames[number][1]) * factor)
    record, places = (
        opener.open_frame(number, frame, max_raw_bytes=_max_raw_bytes(len(frame)))
        for number, (_, frame) in enumerate(frames[:FIRST_BLOCK_FRAME])
    )
    end, last = frames[-1]
    return record, places, [*(offset for offset, _ in frames), end + len(last)]


_Meta = TypeVar("_Meta", CommitMeta, CheckpointMeta)


def _meta(raw: msgspec.Raw, wanted: msgspec.msgpack.Decoder[_Meta], opener: Opener) -> _Meta:
    size = len(memoryview(raw))
    if size > MAX_META_BYTES:
        raise CorruptObject(
            opener.seal.key, f"what it says of itself has {size} bytes, over the limit of {MAX_META_BYTES}"
        )
    try:
        return wanted.decode(raw)
    except (ValueError, RecursionError) as error:
        raise CorruptObject(opener.seal.key, f"its record cannot be read: {error}") from None


def _decode(record: Buffer, opener: Opener) -> _Record:
    try:
        # The version comes first, so that a newer record is told apart from a damaged one.
        version = _VERSION.decode(record).version
        if version != RECORD_VERSION:
            raise CorruptObject(
                opener.seal.key,
                f"its record has version {version}, and this program reads version {RECORD_VERSION}",
                hint="use a newer release of Manifold",
            )
        return _RECORD.decode(record)
    except (ValueError, RecursionError) as error:
        raise CorruptObject(opener.seal.key, f"its record cannot be read: {error}") from None


def _tree(
    tree: TreeColumns, places: Buffer, own: Container, offsets: list[int], opener: Opener, take: TakeMemory
) -> tuple[Changes, Places]:
    try:
        take(tree.rows_bytes)
        changes, chunks, lengths = decode_tree(tree)
        located = _PLACES.decode(places)
        take(located.rows_bytes)
        return changes, decode_places(located, chunks, lengths, own, offsets)
    except (ValueError, RecursionError) as error:
        raise CorruptObject(opener.seal.key, f"its description is contradictory: {error}") from None
