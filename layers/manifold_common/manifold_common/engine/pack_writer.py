"""New content on its way into packs: chunk, drop what is known, group, compress, seal, upload.

The caller's thread cuts and names chunks; compression runs on the compute threads, sealing and uploads on the request
threads, all at once. Memory is bounded by what may be under way: a fast reader waits for a slow store. Blocks go into
packs in the order they were added, so equal input gives an equal layout.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import NamedTuple

from manifold_common.engine.keyring import Keyring
from manifold_common.engine.objects import SealedObjects
from manifold_common.engine.workers import Workers
from manifold_common.errors import ManifoldError
from manifold_common.format.buffers import Buffer
from manifold_common.format.chunker import Chunker
from manifold_common.format.commit_object import FIRST_INLINE_FRAME
from manifold_common.format.pack import BLOCK_TARGET_BYTES, PACK_TARGET_BYTES, block_table, build_pack
from manifold_common.format.places import Block, Container, Place, Places
from manifold_common.format.sealed import ObjectKind, Payload
from manifold_common.ids import ChunkId, Generation, ObjectId, ProjectId, TenantId, encode_id
from manifold_common.ports.clock import Randomness

INLINE_BYTES = 2 << 20
"""Up to this many sealed bytes travel inside the commit object itself: one PUT for a small commit."""

_COMPRESSING_BYTES = 24 << 20
_UPLOADING_PACKS = 3


class NewContent(NamedTuple):
    """What a writer has made: packs are stored, inline blocks wait for their commit object."""

    chunks: dict[ChunkId, tuple[int, int, int]]
    """(block number, offset in the block, length) of each new chunk."""
    packed: dict[int, Block]
    """Where the blocks are that went into packs."""
    inline: list[Payload]
    """The blocks that did not, by number from 0 (either all or none are inline)."""

    def places(self, own: Container) -> Places:
        """Return the chunks' places, given the commit object that will hold the inline blocks."""
        return self._places(
            self.packed
            or {
                number: Block(own, FIRST_INLINE_FRAME + number, 0, payload.stored_bytes, payload.raw_bytes)
                for number, payload in enumerate(self.inline)
            }
        )

    @property
    def packed_places(self) -> Places:
        """The chunks' places, where none of the blocks are inline; else nothing."""
        return self._places(self.packed) if self.packed else {}

    def _places(self, blocks: Mapping[int, Block]) -> Places:
        return {chunk: Place(blocks[number], at, length) for chunk, (number, at, length) in self.chunks.items()}


class PackWriter:
    """Takes the content of one commit. Not for several threads; use as a context manager, which cleans up on errors.

    Args:
        known: chunks that are stored already, and where.
        new_pack: names a pack; where it is not given, by chance.
    """

    def __init__(
        self,
        tenant: TenantId,
        project: ProjectId,
        keys: Keyring,
        objects: SealedObjects,
        workers: Workers,
        randomness: Randomness,
        known: Mapping[ChunkId, Place],
        new_pack: Callable[[], ObjectId] | None = None,
    ) -> None:
        self._tenant = tenant
        self._project = project
        self._keys = keys
        self._objects = objects
        self._workers = workers
        self._known = known
        self._new_pack = new_pack or (lambda: ObjectId(encode_id(randomness.token(16))))
        self._chunks: dict[ChunkId, tuple[int, int, int]] = {}
        self._block_count = 0
        self._gathered: list[Buffer] = []
        self._gathered_bytes = 0
        self._compressing: deque[tuple[int, int, Future[Payload]]] = deque()
        self._compressing_bytes = 0
        self._open: list[tuple[int, Payload]] = []
        self._open_bytes = 0
        self._packed: dict[int, Block] = {}
        self._uploads: deque[tuple[str, Future[None]]] = deque()
        self._stored_keys: list[str] = []
        self.new_bytes = 0
        """Raw bytes of chunks that were not known."""

    @property
    def chunker(self) -> Chunker:
        """What cuts content into the chunks to be added."""
        return self._keys.chunker

    def __enter__(self) -> PackWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is not None:
            self._abandon()

    def add(self, data: Buffer) -> ChunkId:
        """Take one chunk, of at most MAX_CHUNK_BYTES. ``data`` must not change until ``finish``."""
        chunk = self._keys.chunker.chunk_id(data)
        if chunk in self._known or chunk in self._chunks:
            return chunk
        size = len(data)
        self.new_bytes += size
        if size >= BLOCK_TARGET_BYTES:
            self._close_block()
            self._chunks[chunk] = (self._block_count, 0, size)
            self._submit(data)
            return chunk
        if self._gathered_bytes + size > BLOCK_TARGET_BYTES:
            self._close_block()
        self._chunks[chunk] = (self._block_count, self._gathered_bytes, size)
        self._gathered.append(data)
        self._gathered_bytes += size
        return chunk

    def finish(self, inline_bytes: int = INLINE_BYTES) -> NewContent:
        """Store what is left and return where everything is. Nothing may be added afterwards.

        Args:
            inline_bytes: up to so many are left to travel in a commit object, where no pack was needed; 0: none.
        """
        self._close_block()
        self._drain(0)
        if self._packed or self._open_bytes > inline_bytes:
            self._close_pack()
        self._await_uploads(0)
        return NewContent(self._chunks, self._packed, [payload for _, payload in self._open])

    def _close_block(self) -> None:
        if self._gathered:
            raw = self._gathered[0] if len(self._gathered) == 1 else b"".join(self._gathered)
            self._gathered, self._gathered_bytes = [], 0
            self._submit(raw)

    def _submit(self, raw: Buffer) -> None:
        self._compressing.append((self._block_count, len(raw), self._workers.compute.submit(_payload, raw)))
        self._block_count += 1
        self._compressing_bytes += len(raw)
        while self._compressing and self._compressing[0][2].done():
            self._take_compressed()
        self._drain(_COMPRESSING_BYTES)

    def _drain(self, limit_bytes: int) -> None:
        while self._compressing and (self._compressing_bytes > limit_bytes or not limit_bytes):
            self._take_compressed()

    def _take_compressed(self) -> None:
        number, raw_bytes, future = self._compressing.popleft()
        self._compressing_bytes -= raw_bytes
        payload = future.result()
        if self._open and self._open_bytes + payload.stored_bytes > PACK_TARGET_BYTES:
            self._close_pack()
        self._open.append((number, payload))
        self._open_bytes += payload.stored_bytes

    def _close_pack(self) -> None:
        if not self._open:
            return
        pack = self._new_pack()
        dek = self._keys.write_dek
        container = Container(self._tenant, self._project, ObjectKind.PACK, Generation(0), pack, pack, dek)
        payloads = [payload for _, payload in self._open]
        for (number, _), block in zip(self._open, block_table(payloads, container), strict=True):
            self._packed[number] = block
        self._open, self._open_bytes = [], 0
        self._await_uploads(_UPLOADING_PACKS - 1)
        key = container.seal().key
        self._stored_keys.append(key)
        self._uploads.append((key, self._workers.requests.submit(self._store_pack, container, payloads)))

    def _store_pack(self, container: Container, payloads: list[Payload]) -> None:
        seal = container.seal()
        pack = build_pack(payloads, self._keys.sealer(seal))
        payloads.clear()  # what a slow store is sent is held once
        self._objects.write(seal.key, pack)

    def _await_uploads(self, limit: int) -> None:
        while len(self._uploads) > limit:
            self._uploads.popleft()[1].result()

    def _abandon(self) -> None:
        """Wait for what is under way and remove the packs, which nothing refers to."""
        for *_, compressing in self._compressing:
            compressing.cancel()
        for _, upload in self._uploads:
            upload.cancel()
        for _, upload in self._uploads:
            if not upload.cancelled():
                upload.exception()
        if self._stored_keys:
            try:
                self._objects.discard(self._stored_keys)
            except ManifoldError:
                return  # unreferenced packs are harmless; garbage collection finds them


def _payload(raw: Buffer) -> Payload:
    """Compress a block. One that is stored as it is gets bytes of its own: it may have to wait for a slow store, and as
    a view it would keep the whole window alive that it was cut from (measured: a process of 327 MiB instead of 200)."""
    payload = Payload.of(raw)
    return payload._replace(data=bytes(raw)) if payload.data is raw and isinstance(raw, memoryview) else payload
