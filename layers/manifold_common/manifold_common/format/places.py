"""Where chunks are: a chunk in a block, a block in a frame of a stored object."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from manifold_common.format.layout import checkpoint_key, commit_key, pack_key
from manifold_common.format.sealed import ObjectKind, Seal
from manifold_common.ids import ChunkId, CommitId, DekId, Generation, ObjectId, ProjectId, TenantId


class Container(NamedTuple):
    """A stored object that places refer to: a pack, a commit object with inline blocks, or the object being read.

    ``project`` is another one than the tree's own where a fork refers to the objects of its source.
    """

    tenant: TenantId
    project: ProjectId
    kind: ObjectKind
    generation: Generation
    """Of a commit object; 0 for a pack."""
    name: str
    """The commit id, the pack id, or the checkpoint's name."""
    object_id: ObjectId
    dek: DekId

    def seal(self) -> Seal:
        if self.kind == ObjectKind.PACK:
            key = pack_key(self.tenant, self.project, self.object_id)
        elif self.kind == ObjectKind.CHECKPOINT:
            key = checkpoint_key(self.tenant, self.project, self.generation, self.name)
        else:
            key = commit_key(self.tenant, self.project, self.generation, CommitId(self.name))
        return Seal(self.kind, key, self.object_id, self.dek)


class Block(NamedTuple):
    """One frame of a container."""

    container: Container
    frame: int
    offset: int
    """Of the frame's first byte in the object."""
    stored_bytes: int
    """Length of the whole frame, its header and tag included."""
    raw_bytes: int


class Place(NamedTuple):
    """Where a chunk's bytes stand in a block's raw bytes."""

    block: Block
    offset: int
    length: int


Places: TypeAlias = dict[ChunkId, Place]

FIRST_BLOCK_FRAME = 2
"""Of a commit object, whose first two frames are its description."""

MAX_OBJECT_BYTES = 1 << 40
"""No object is longer, so that no offset in one can be too large for a store to be asked for."""

MAX_BLOCK_RAW_BYTES = 4 << 20
"""A block is one large chunk, or small ones together; no block is larger than the largest chunk."""
