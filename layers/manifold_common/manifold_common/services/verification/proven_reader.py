"""Content of objects that may be damaged, read block by block: what is whole of it counts, held against its ids."""

from __future__ import annotations

from collections.abc import Sequence

from manifold_common.engine.block_reader import BlockReader
from manifold_common.engine.data_keys import ProjectKeys
from manifold_common.errors import CorruptObject
from manifold_common.format.places import Block, Place
from manifold_common.ids import ChunkId
from manifold_common.services.context import Context


class ProvenReader:
    """Reads chunks of one project, and holds each against its id."""

    def __init__(self, context: Context, keys: ProjectKeys) -> None:
        self._chunker = keys.chunker
        each = (context.objects, context.past_cache())
        self._readers = [BlockReader(keys, objects, context.workers) for objects in each]

    def read(self, block: Block, chunks: Sequence[tuple[ChunkId, Place]]) -> list[tuple[ChunkId, Place, bytes]]:
        """Return those of the chunks that are in a block, with their content."""
        found: dict[ChunkId, tuple[ChunkId, Place, bytes]] = {}
        for reader in self._readers:
            missing = [one for one in chunks if one[0] not in found]
            if not missing:
                break
            try:
                raw = memoryview(reader.read_one(block, {}))
            except CorruptObject:
                continue
            for chunk, place in missing:
                data = bytes(raw[place.offset : place.offset + place.length])
                if self._chunker.chunk_id(data) == chunk:
                    found[chunk] = (chunk, place, data)
        return list(found.values())
