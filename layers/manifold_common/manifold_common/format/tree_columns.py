"""Entries as columns, shared by commit objects and checkpoints (docs/format-v1.md, "Tree columns").

The logical part (paths, kinds, modes, times, chunk ids) and the physical part (which container, frame and offset holds
a chunk) are two frames: where bytes lie may change (compaction, re-encryption) without touching history, whose hash
chain covers the logical part alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import msgspec

from manifold_common.domain.paths import MAX_NAME_BYTES, MAX_PATH_BYTES, ROOT
from manifold_common.domain.tree import DIRECTORY, FILE, MODE_MASK, SYMLINK, Changes, Entry, chunk_ids
from manifold_common.errors import ManifoldError
from manifold_common.format.chunker import MAX_CHUNK_BYTES
from manifold_common.format.columns import I64, U8, U16, U32, U64, pack_ints, pack_strings, unpack_ints, unpack_strings
from manifold_common.format.footprint import BLOCK_BYTES, CHUNK_BYTES, DELETE_BYTES, ENTRY_BYTES, REFERENCE_BYTES
from manifold_common.format.places import (
    FIRST_BLOCK_FRAME,
    MAX_BLOCK_RAW_BYTES,
    MAX_OBJECT_BYTES,
    Block,
    Container,
    Place,
    Places,
)
from manifold_common.format.sealed import FRAME_OVERHEAD_BYTES, HEADER_BYTES, ObjectKind
from manifold_common.ids import (
    CHUNK_ID_BYTES,
    MAX_GENERATION,
    ChunkId,
    DekId,
    Generation,
    ObjectId,
    TenantId,
    decode_id,
    encode_id,
    parse_project_id,
)

SELF = 0xFFFF_FFFF
"""Container index of a block that is inline in the very object that holds these columns."""

# A path that is absolute, ends in a slash, or has an empty, "." or ".." segment shows one of these in a column that is
# joined and framed by NUL. (One regular expression for all of them is a hundred times slower than these searches.)
_SEGMENT_ENDS = (b"\0", b"/")
_BAD_IN_PATHS = (
    b"\0/",
    b"/\0",
    b"//",
    *(before + dots + after for dots in (b".", b"..") for before in _SEGMENT_ENDS for after in _SEGMENT_ENDS),
)
_LONG_NAME = re.compile(rb"[^\0/]{%d}" % (MAX_NAME_BYTES + 1))
MAX_TARGET_BYTES = 4095


class TreeColumns(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """The logical part. Field order is the wire order."""

    upsert_count: int
    delete_count: int
    chunk_count: int
    paths: bytes
    kinds: bytes
    modes: bytes
    mtimes_ns: bytes
    sizes: bytes
    file_chunk_counts: bytes
    file_chunks: bytes
    targets: bytes
    chunk_ids: bytes
    chunk_lengths: bytes
    deletes: bytes

    @property
    def rows_bytes(self) -> int:
        """About how much memory the rows take, as the columns tell; what the record says of counts is not proven."""
        text = len(self.paths) + len(self.deletes) + len(self.targets)
        return (
            text * 2
            + len(self.kinds) * ENTRY_BYTES
            + (self.deletes.count(b"\0") + 1) * DELETE_BYTES
            + len(self.chunk_lengths) // 4 * CHUNK_BYTES
            + max(0, len(self.file_chunks) - len(self.file_chunk_counts)) // 4 * REFERENCE_BYTES
        )


class PlaceColumns(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """The physical part, aligned with ``TreeColumns.chunk_ids``. Field order is the wire order."""

    containers: list[tuple[str, int, int, bytes, bytes, bytes]]
    """(project, kind, generation, commit or pack id, object id, DEK id)."""
    block_count: int
    block_containers: bytes
    block_frames: bytes
    block_offsets: bytes
    block_stored: bytes
    block_raw: bytes
    chunk_blocks: bytes
    chunk_offsets: bytes

    @property
    def rows_bytes(self) -> int:
        """About how much memory the rows take, as the columns tell."""
        return len(self.block_raw) // 4 * BLOCK_BYTES


def used_chunks(upserts: Mapping[bytes, Entry]) -> list[ChunkId]:
    """Return the distinct chunk ids of the files, in the order of their first use by path."""
    seen: dict[ChunkId, None] = {}
    for path in sorted(upserts):
        entry = upserts[path]
        if len(entry.content) == CHUNK_ID_BYTES and entry.kind == FILE:
            seen[ChunkId(entry.content)] = None
        else:
            seen.update(dict.fromkeys(chunk_ids(entry)))
    return list(seen)


def encode_tree(changes: Changes, chunks: list[ChunkId], places: Mapping[ChunkId, Place]) -> TreeColumns:
    """``chunks`` is ``used_chunks(changes.upserts)``; each has a place."""
    paths = sorted(changes.upserts)
    entries = [changes.upserts[path] for path in paths]
    index = {chunk: number for number, chunk in enumerate(chunks)}
    per_file = [[index[chunk] for chunk in chunk_ids(entry)] for entry in entries if entry.kind == FILE]
    return TreeColumns(
        upsert_count=len(paths),
        delete_count=len(changes.deletes),
        chunk_count=len(chunks),
        paths=pack_strings(paths),
        kinds=pack_ints(U8, [entry.kind for entry in entries]),
        modes=pack_ints(U16, [entry.mode for entry in entries]),
        mtimes_ns=pack_ints(I64, [entry.mtime_ns for entry in entries]),
        sizes=pack_ints(U64, [entry.size for entry in entries]),
        file_chunk_counts=pack_ints(U32, [len(numbers) for numbers in per_file]),
        file_chunks=pack_ints(U32, [number for numbers in per_file for number in numbers]),
        targets=pack_strings([entry.content for entry in entries if entry.kind == SYMLINK]),
        chunk_ids=b"".join(chunks),
        chunk_lengths=pack_ints(U32, [places[chunk].length for chunk in chunks]),
        deletes=pack_strings(sorted(changes.deletes)),
    )


def encode_places(chunks: list[ChunkId], places: Mapping[ChunkId, Place], own: Container | None) -> PlaceColumns:
    """``own`` is the container of inline blocks: those are written without offsets, which only reading can tell."""
    containers: dict[Container, int] = {}
    blocks: dict[Block, int] = {}
    for chunk in chunks:
        block = places[chunk].block
        if block not in blocks:
            blocks[block] = len(blocks)
            if block.container != own:
                containers.setdefault(block.container, len(containers))
    return PlaceColumns(
        containers=[
            (c.project, int(c.kind), c.generation, decode_id(c.name), decode_id(c.object_id), decode_id(c.dek))
            for c in containers
        ],
        block_count=len(blocks),
        block_containers=pack_ints(U32, [SELF if b.container == own else containers[b.container] for b in blocks]),
        block_frames=pack_ints(U32, [b.frame for b in blocks]),
        block_offsets=pack_ints(U64, [0 if b.container == own else b.offset for b in blocks]),
        block_stored=pack_ints(U32, [b.stored_bytes for b in blocks]),
        block_raw=pack_ints(U32, [b.raw_bytes for b in blocks]),
        chunk_blocks=pack_ints(U32, [blocks[places[chunk].block] for chunk in chunks]),
        chunk_offsets=pack_ints(U32, [places[chunk].offset for chunk in chunks]),
    )


def decode_tree(columns: TreeColumns) -> tuple[Changes, list[ChunkId], list[int]]:
    """Return (changes, chunk ids, chunk lengths).

    Raises:
        ValueError: the columns contradict each other, or hold what no project can.
    """
    count = columns.upsert_count
    paths = _paths(columns.paths, count, "paths")
    deletes = _paths(columns.deletes, columns.delete_count, "deletes")
    kinds = unpack_ints(U8, columns.kinds, count, "kinds")
    modes = unpack_ints(U16, columns.modes, count, "modes")
    mtimes = unpack_ints(I64, columns.mtimes_ns, count, "mtimes_ns")
    sizes = unpack_ints(U64, columns.sizes, count, "sizes")
    if count and (max(kinds) > SYMLINK or max(modes) > MODE_MASK):
        raise ValueError("an entry has an unknown kind or mode")
    if deletes[:1] == [ROOT] or (paths[:1] == [ROOT] and kinds[0] != DIRECTORY):
        raise ValueError("the root is not a folder")
    chunks, lengths = _chunks(columns)
    contents = _contents(columns, kinds, sizes, chunks, lengths)
    upserts = dict(zip(paths, map(Entry._make, zip(kinds, modes, mtimes, sizes, contents, strict=True)), strict=True))
    gone = set(deletes)
    if not gone.isdisjoint(upserts):
        raise ValueError("a path is both written and deleted")
    return Changes(upserts, gone), chunks, lengths


def _paths(data: bytes, count: int, what: str) -> list[bytes]:
    paths = unpack_strings(data, count, what)
    framed = b"\0" + data + b"\0"
    if any(bad in framed for bad in _BAD_IN_PATHS):
        raise ValueError(f"column {what} has a path that leaves the project")
    if any(map(bytes.__ge__, paths, paths[1:])):
        raise ValueError(f"column {what} is not in order")
    longest = max(map(len, paths), default=0)
    if longest > MAX_PATH_BYTES or (longest > MAX_NAME_BYTES and _LONG_NAME.search(data)):
        raise ValueError(f"column {what} has an over-long path or name")
    return paths


def _chunks(columns: TreeColumns) -> tuple[list[ChunkId], list[int]]:
    data = columns.chunk_ids
    if len(data) != columns.chunk_count * CHUNK_ID_BYTES:
        raise ValueError(f"column chunk_ids has {len(data)} bytes for a count of {columns.chunk_count}")
    chunks = [ChunkId(data[at : at + CHUNK_ID_BYTES]) for at in range(0, len(data), CHUNK_ID_BYTES)]
    lengths = list(unpack_ints(U32, columns.chunk_lengths, columns.chunk_count, "chunk_lengths"))
    if lengths and not 0 < min(lengths) <= max(lengths) <= MAX_CHUNK_BYTES:
        raise ValueError("a chunk has an impossible length")
    return chunks, lengths


def _contents(
    columns: TreeColumns, kinds: Sequence[int], sizes: Sequence[int], chunks: list[ChunkId], lengths: list[int]
) -> list[bytes]:
    counts = unpack_ints(U32, columns.file_chunk_counts, columns.kinds.count(FILE), "file_chunk_counts")
    numbers = unpack_ints(U32, columns.file_chunks, sum(counts), "file_chunks")
    if numbers and max(numbers) >= len(chunks):
        raise ValueError("a file refers to a chunk that is not listed")
    targets = unpack_strings(columns.targets, columns.kinds.count(SYMLINK), "targets")
    if not all(targets) or max(map(len, targets), default=0) > MAX_TARGET_BYTES:
        raise ValueError("a link has no target, or an over-long one")
    contents: list[bytes] = []
    next_count, next_target = iter(counts).__next__, iter(targets).__next__
    at = 0
    for kind, size in zip(kinds, sizes, strict=True):
        found = 0
        if kind == FILE:
            count = next_count()
            if count == 1:
                found = lengths[numbers[at]]
                contents.append(chunks[numbers[at]])
            else:
                own = numbers[at : at + count]
                found = sum([lengths[number] for number in own])
                contents.append(b"".join([chunks[number] for number in own]))
            at += count
        else:
            contents.append(next_target() if kind == SYMLINK else b"")
        if found != size:
            raise ValueError("an entry's size is not the length of its chunks")
    return contents


def decode_places(
    columns: PlaceColumns, chunks: list[ChunkId], lengths: list[int], own: Container, own_offsets: Sequence[int]
) -> Places:
    """Return where each chunk is.

    Args:
        own: the container of blocks that are inline in the object these columns stand in.
        own_offsets: where each of that object's frames begins, the last, empty one included.

    Raises:
        ValueError: the columns contradict each other, or name an impossible place.
    """
    count = columns.block_count
    containers = [_container(own.tenant, fields) for fields in columns.containers]
    numbers = unpack_ints(U32, columns.block_containers, count, "block_containers")
    frames = unpack_ints(U32, columns.block_frames, count, "block_frames")
    offsets = unpack_ints(U64, columns.block_offsets, count, "block_offsets")
    stored = unpack_ints(U32, columns.block_stored, count, "block_stored")
    raw = unpack_ints(U32, columns.block_raw, count, "block_raw")
    if count and (
        min(stored) <= FRAME_OVERHEAD_BYTES
        or max(stored) > MAX_BLOCK_RAW_BYTES + FRAME_OVERHEAD_BYTES
        or max(raw) > MAX_BLOCK_RAW_BYTES
    ):
        raise ValueError("a block has an impossible length")
    blocks: list[Block] = []
    for fields in zip(numbers, frames, offsets, stored, raw, strict=True):
        number, frame, offset, stored_bytes, raw_bytes = fields
        if number == SELF:
            if not FIRST_BLOCK_FRAME <= frame < len(own_offsets) - 1:
                raise ValueError("a block is said to be in a frame that does not exist")
            if offset or own_offsets[frame] + stored_bytes != own_offsets[frame + 1]:
                raise ValueError("an inline block is said to be where it is not")
            blocks.append(Block(own, frame, own_offsets[frame], stored_bytes, raw_bytes))
        elif number < len(containers) and HEADER_BYTES <= offset <= MAX_OBJECT_BYTES:
            container = containers[number]
            if container.kind == ObjectKind.COMMIT and frame < FIRST_BLOCK_FRAME:
                raise ValueError("a block is said to be in a frame that holds none")
            blocks.append(Block(container, frame, offset, stored_bytes, raw_bytes))
        else:
            raise ValueError("a block is said to be in an object that is not listed")

    chunk_blocks = unpack_ints(U32, columns.chunk_blocks, len(chunks), "chunk_blocks")
    chunk_offsets = unpack_ints(U32, columns.chunk_offsets, len(chunks), "chunk_offsets")
    if chunk_blocks and max(chunk_blocks) >= count:
        raise ValueError("a chunk is said to be in a block that is not listed")
    places = dict(
        zip(
            chunks,
            map(Place._make, zip([blocks[number] for number in chunk_blocks], chunk_offsets, lengths, strict=True)),
            strict=True,
        )
    )
    if len(places) != len(chunks):
        raise ValueError("a chunk is listed twice")
    if any(offset + length > block[4] for block, offset, length in places.values()):
        raise ValueError("a chunk is said to go beyond its block")
    return places


def _container(tenant: TenantId, fields: tuple[str, int, int, bytes, bytes, bytes]) -> Container:
    project, kind, generation, name, object_id, dek = fields
    is_pack = kind == ObjectKind.PACK and generation == 0 and name == object_id
    if not is_pack and not (kind == ObjectKind.COMMIT and 0 < generation <= MAX_GENERATION):
        raise ValueError("blocks are said to be in an object that cannot be")
    try:
        return Container(
            tenant,
            parse_project_id(project),
            ObjectKind(kind),
            Generation(generation),
            encode_id(name),
            ObjectId(encode_id(object_id)),
            DekId(encode_id(dek)),
        )
    except ManifoldError as error:
        raise ValueError(error.message) from None
