"""What a log refers to: objects with their blocks, and the chunks in them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator

from manifold_common.format.places import Block, Container, Place, Places
from manifold_common.ids import ChunkId, Generation, SessionId


class References:
    def __init__(self) -> None:
        self.blocks: dict[Container, dict[int, Block]] = defaultdict(dict)
        """By frame."""
        self.seen: dict[Container, list[Generation]] = defaultdict(list)
        """Generations whose commit or checkpoint refers to an object, ascending."""
        self._drafted: dict[Container, set[SessionId]] = defaultdict(set)
        """Which sessions' drafts refer to an object that no generation refers to."""
        self._chunks: dict[ChunkId, Place] = {}
        self._elsewhere: dict[tuple[ChunkId, Block], Place] = {}
        """Of chunks that lie in several objects, all places but the first."""

    def of_generation(self, places: Places, generation: Generation, before: Collection[Container]) -> None:
        """Args: ``before``: objects that are passed over."""
        for chunk, place in places.items():
            container = place.block.container
            if container not in before:
                seen = self.seen[container]
                if not seen or seen[-1] != generation:
                    seen.append(generation)
                self._add(chunk, place)

    def of_draft(self, places: Places, session: SessionId) -> None:
        for chunk, place in places.items():
            self._add(chunk, place)
            if place.block.container not in self.seen:
                self._drafted[place.block.container].add(session)

    def _add(self, chunk: ChunkId, place: Place) -> None:
        block = place.block
        self.blocks[block.container][block.frame] = block
        known = self._chunks.setdefault(chunk, place)
        if known.block is not block and known != place:
            self._elsewhere[chunk, block] = place

    @property
    def chunk_count(self) -> int:
        return len(self._chunks)

    def chunks(self) -> Iterator[tuple[ChunkId, Place]]:
        """Yield each chunk with each of its places."""
        yield from self._chunks.items()
        for (chunk, _), place in self._elsewhere.items():
            yield chunk, place

    def chunks_by_block(self, containers: Collection[Container]) -> dict[Block, list[tuple[ChunkId, Place]]]:
        """Return the chunks of some objects."""
        found: dict[Block, list[tuple[ChunkId, Place]]] = defaultdict(list)
        for chunk, place in self.chunks():
            if place.block.container in containers:
                found[place.block].append((chunk, place))
        return found

    def first_seen(self, container: Container) -> Generation | None:
        return self.seen[container][0] if container in self.seen else None

    def sessions_of(self, container: Container) -> tuple[SessionId, ...]:
        return tuple(sorted(self._drafted.get(container, ())))

    def end_of(self, container: Container) -> int:
        """Return how many bytes the object has at least."""
        return max(block.offset + block.stored_bytes for block in self.blocks[container].values())
