"""Damaged objects as they were stored, byte for byte, put together from what is left of them.

Frames may come from the stored bytes and from this machine's cache, which has objects whole or in parts. None of that
is trusted: a sealed frame proves itself, since there is one that opens in its place. What is not sealed is held against
hashes: a pack against the ids of its chunks, a commit object against the hash of its record and the ids of what it says
is where. Nothing of the kind vouches for a checkpoint that is not sealed, so none is taken.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from manifold_common.domain.patience import check_wanted
from manifold_common.engine.block_reader import BlockReader
from manifold_common.engine.tree_log import TreeLog
from manifold_common.errors import CorruptObject, ObjectNotFound
from manifold_common.format.places import MAX_BLOCK_RAW_BYTES, Block, Place, Places
from manifold_common.format.sealed import MAX_RAW_BYTES, ObjectKind, Opener, Seal, unpack_header
from manifold_common.ids import PLAIN, ChunkId
from manifold_common.ports.catalog import CheckpointRow, CommitRow, DraftRef
from manifold_common.ports.object_store import Buffer, ObjectAccess
from manifold_common.services.context import Context
from manifold_common.services.verification.object_check import hold_content
from manifold_common.services.verification.verification import Verification


class GoodCopies:
    """Of what a verification has found damaged."""

    def __init__(self, context: Context, seen: Verification, keys: Collection[str]) -> None:
        """Args: ``keys``: of the objects that are asked for."""
        self._context = context
        self._rows = seen.rows
        self._tenant, self._project = seen.tenant, seen.project
        self._keys = context.keys.of(seen.tenant, seen.project)
        self._blocks = seen.references.blocks
        self._containers = {key: one for one in self._blocks if (key := one.seal().key) in keys}
        self._chunks = seen.references.chunks_by_block(set(self._containers.values()))

    def of(self, key: str) -> Buffer | None:
        """Return an object as it was stored; ``None``: it cannot be put together, or stands there like that already.
        Raises StoreUnavailable."""
        check_wanted()
        if key not in self._containers and key not in self._rows:
            return None
        stored = _stored(self._context.store, key)
        cached = self._context.objects.cached(key, max_bytes=MAX_RAW_BYTES)
        if cached is None:
            return None
        copies = [copy for copy in (stored, cached) if copy is not None]
        for seal in self._seals(key, copies):
            try:
                opener = self._keys.block_opener(seal)
                most = MAX_BLOCK_RAW_BYTES if seal.kind == ObjectKind.PACK else MAX_RAW_BYTES
                data = opener.rebuild(copies, max_raw_bytes=most)
                if data is not None and data != stored:
                    self._prove(key, data, opener)
                    return data
            except CorruptObject:
                continue
        return None

    def _seals(self, key: str, copies: Sequence[Buffer]) -> Iterator[Seal]:
        """Yield what the object may be bound to: as others say that refer to it, or as copies of it do."""
        container, row = self._containers.get(key), self._rows.get(key)
        if container is not None:
            yield container.seal()
        elif row is not None:
            kind = ObjectKind.CHECKPOINT if isinstance(row, CheckpointRow) else ObjectKind.COMMIT
            for copy in copies:
                try:
                    yield unpack_header(copy, key, kind, row.dek)
                except CorruptObject:
                    continue

    def _prove(self, key: str, data: Buffer, opener: Opener) -> None:
        """Raises CorruptObject: it is not what was stored, as far as can be known."""
        container, row = self._containers.get(key), self._rows.get(key)
        is_plain = opener.seal.dek == PLAIN
        if row is not None:
            self._prove_described(key, data, row)
        if container is None:
            return
        blocks = self._blocks[container]
        hold_content(data, opener, self._keys.chunker, blocks, self._chunks)
        if is_plain and row is None:
            for number, _ in enumerate(opener.split(data)):
                if not _is_covered(blocks.get(number), self._chunks):
                    raise CorruptObject(key, f"no chunk that is known vouches for all of frame {number}")

    def _prove_described(self, key: str, data: Buffer, row: CommitRow | DraftRef | CheckpointRow) -> None:
        context, keys = self._context, self._keys
        objects = context.past_cache(_Beside(context.store, key, data))
        log = TreeLog(context.catalog, context.keys, objects, context.workers, memory=context.log.memory)
        if isinstance(row, CheckpointRow):
            log.read_checkpoint(self._tenant, self._project, row, keys)
            if row.dek == PLAIN:
                raise CorruptObject(key, "nothing vouches for a checkpoint that is not encrypted")
            return
        commit = log.read_commit(self._tenant, self._project, row, keys)
        if row.dek == PLAIN:
            if isinstance(row, DraftRef) and keys.trusts(PLAIN):
                raise CorruptObject(key, "nothing vouches for saved work that is not encrypted")
            self._prove_places(key, commit.places, BlockReader(keys, objects, context.workers))

    def _prove_places(self, key: str, places: Places, reader: BlockReader) -> None:
        """Raises CorruptObject: other content is where a chunk should be. What cannot be read there does no harm."""
        by_block: dict[Block, list[tuple[ChunkId, Place]]] = {}
        for chunk, place in places.items():
            by_block.setdefault(place.block, []).append((chunk, place))
        for block, chunks in by_block.items():
            check_wanted()
            try:
                raw = memoryview(reader.read_one(block, {}))
            except CorruptObject as error:
                if error.object_name == key:
                    raise
                continue
            for chunk, place in chunks:
                if self._keys.chunker.chunk_id(raw[place.offset : place.offset + place.length]) != chunk:
                    raise CorruptObject(key, "other content is where it says that a chunk is")


class _Beside:
    """A store in which one object is another one. For reading."""

    def __init__(self, store: ObjectAccess, key: str, data: Buffer) -> None:
        self._store, self._key, self._data = store, key, data
        self.put, self.delete = store.put, store.delete

    def get(self, key: str, *, max_bytes: int) -> Buffer:
        if key != self._key:
            return self._store.get(key, max_bytes=max_bytes)
        if len(self._data) > max_bytes:
            raise CorruptObject(key, f"it has {len(self._data)} bytes, over the {max_bytes} that it may have")
        return self._data

    def get_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[Buffer]:
        if key != self._key:
            return self._store.get_ranges(key, ranges)
        view = memoryview(self._data)
        found: list[Buffer] = [view[start : start + length] for start, length in ranges]
        if any(len(data) < length for data, (_, length) in zip(found, ranges, strict=True)):
            raise CorruptObject(key, "it ends before a range does")
        return found


def _stored(store: ObjectAccess, key: str) -> Buffer | None:
    """Return what there is under a key; ``None``: nothing, or more than an object can have."""
    try:
        return store.get(key, max_bytes=MAX_RAW_BYTES)
    except (ObjectNotFound, CorruptObject):
        return None


def _is_covered(block: Block | None, chunks: Mapping[Block, Sequence[tuple[ChunkId, Place]]]) -> bool:
    """Tell whether chunks are known to make up all of a block."""
    if block is None:
        return False
    end = 0
    for _, place in sorted(chunks.get(block, ()), key=lambda found: found[1].offset):
        if place.offset > end:
            return False
        end = max(end, place.offset + place.length)
    return end == block.raw_bytes
