"""Whether the objects that a log refers to are there, and a sample of them read from beginning to end."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from heapq import nsmallest

from manifold_common.domain.patience import check_wanted
from manifold_common.domain.wording import plural
from manifold_common.engine.data_keys import ProjectKeys
from manifold_common.engine.objects import MISSING, SealedObjects
from manifold_common.errors import CorruptObject
from manifold_common.format.buffers import Buffer
from manifold_common.format.chunker import Chunker
from manifold_common.format.places import MAX_BLOCK_RAW_BYTES, Block, Container, Place
from manifold_common.format.sealed import MAX_RAW_BYTES, Opener
from manifold_common.ids import ChunkId
from manifold_common.services.context import Context
from manifold_common.services.verification.findings import Findings
from manifold_common.services.verification.look import Look, Progress
from manifold_common.services.verification.references import References

_EVERYTHING = 100.0


class ObjectCheck:
    def __init__(
        self,
        context: Context,
        objects: SealedObjects,
        keys: ProjectKeys,
        findings: Findings,
        references: References,
        tell: Progress,
    ) -> None:
        """Args: ``objects``: without a cache."""
        self._context = context
        self._objects = objects
        self._keys = keys
        self._findings = findings
        self._references = references
        self._tell = tell
        self._names = {container: container.seal().key for container in references.blocks}

    def run(self, look: Look, folder: str | None, suspects: Collection[str]) -> None:
        """
        Args:
            folder: where most of the objects are; what nothing refers to there is counted. ``None``: it has many more
                objects than there are to be looked at.
            suspects: names of objects that are read in any case.

        Raises Abandoned. StoreUnavailable.
        """
        self._findings.referenced.update(self._names.values())
        mine = [one for one, key in self._names.items() if zlib.crc32(key.encode()) % look.pieces == look.piece]
        sizes = self._sizes(mine, {} if folder is None else self._listed(folder))
        sound = [one for one in sizes if self._names[one] not in self._findings.damaged]
        chosen = {*self._chosen(sound, look.sample), *(one for one in sound if self._names[one] in suspects)}
        self._findings.reads_no_more_than(self._names.values(), [self._names[one] for one in chosen])
        self._read(chosen, sizes)

    def _problem(self, container: Container, error: CorruptObject) -> None:
        self._findings.problem(error, self._references.first_seen(container), self._references.sessions_of(container))

    def _listed(self, folder: str) -> Mapping[str, int]:
        """Return how large objects are: of many in one request."""
        wanted, sizes = set(self._names.values()), {}
        for info in self._context.store.list(folder):
            check_wanted()
            if info.key in wanted:
                sizes[info.key] = info.size
            elif info.key not in self._findings.referenced:
                self._findings.count(unreferenced_objects=1, unreferenced_bytes=info.size)
        return sizes

    def _sizes(self, containers: Sequence[Container], listed: Mapping[str, int]) -> Mapping[Container, int]:
        """Look whether every object is there and long enough. Returns the sizes of those that are."""
        sizes: dict[Container, int] = {}

        def size_of(container: Container) -> int | None:
            """Ask for what is in another folder, or has come or grown since it was listed."""
            check_wanted()
            found = listed.get(self._names[container], 0)
            if found >= self._references.end_of(container):
                return found
            info = self._context.store.head(self._names[container])
            return None if info is None else info.size

        for container, size in zip(containers, self._context.workers.requests.map(size_of, containers), strict=True):
            key, end = self._names[container], self._references.end_of(container)
            if size is None:
                self._problem(container, CorruptObject(key, MISSING))
            elif size < end:
                self._problem(container, CorruptObject(key, f"it has {plural(size, 'byte')}, and {end} are needed"))
            else:
                sizes[container] = size
            self._findings.count(stored_bytes=size or 0)
            self._findings.note_plain(key, container.dek, size or 0)
            self._tell(1, 0)
        return sizes

    def _chosen(self, containers: Sequence[Container], sample: float) -> Sequence[Container]:
        """Return so many percent of them, by chance: of few, one more or less, so that it is right on the average."""
        if sample >= _EVERYTHING:
            return containers
        count, rest = divmod(len(containers) * sample / _EVERYTHING, 1)
        token = self._context.randomness.token
        if int.from_bytes(token(8), "big") < rest * 2**64:
            count += 1
        seed = token(16)

        def lot(container: Container) -> bytes:
            return hashlib.blake2b(self._names[container].encode(), key=seed, digest_size=16).digest()

        return nsmallest(int(count), containers, key=lot)

    def _read(self, chosen: set[Container], sizes: Mapping[Container, int]) -> None:
        by_block = self._references.chunks_by_block(chosen)

        def check(container: Container) -> None:
            try:
                self._read_object(container, by_block)
            except CorruptObject as error:
                self._problem(container, error)
            self._findings.count(objects_read=1, stored_bytes_read=sizes[container])

        for _ in self._context.workers.compute.map(check, chosen):
            check_wanted()

    def _read_object(self, container: Container, by_block: Mapping[Block, Sequence[tuple[ChunkId, Place]]]) -> None:
        """Read a whole object, from its header to its end. Raises CorruptObject. Abandoned."""
        check_wanted()
        opener = self._keys.block_opener(container.seal())
        data = self._objects.read(opener.seal.key, lambda data: data, max_bytes=MAX_RAW_BYTES)

        def tell(size: int) -> None:
            self._findings.count(bytes_read=size)
            self._tell(0, size)

        hold_content(data, opener, self._keys.chunker, self._references.blocks[container], by_block, tell)


def hold_content(
    data: Buffer,
    opener: Opener,
    chunker: Chunker,
    blocks: Mapping[int, Block],
    chunks: Mapping[Block, Sequence[tuple[ChunkId, Place]]],
    tell: Callable[[int], object] = lambda _: None,
) -> None:
    """Hold a whole object against what is said to be in it.

    Args:
        blocks: by frame.
        tell: is told the raw bytes of each.

    Raises:
        CorruptObject: it does not hold this.
    """
    key = opener.seal.key
    frames = opener.split(data)
    for number, block in sorted(blocks.items()):
        if number >= len(frames) or (block.offset, block.stored_bytes) != (frames[number][0], len(frames[number][1])):
            raise CorruptObject(key, f"frame {number} is not where it should be")
        raw = memoryview(opener.open_frame(number, frames[number][1], max_raw_bytes=MAX_BLOCK_RAW_BYTES))
        for chunk, place in chunks.get(block, ()):
            if chunker.chunk_id(raw[place.offset : place.offset + place.length]) != chunk:
                raise CorruptObject(key, f"frame {number} does not hold the content it should")
        tell(len(raw))
