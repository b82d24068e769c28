"""Objects that are mostly dead, and small ones, are written anew: their living content moves into packs of its own.

Places in a commit object are never changed. So only what nothing but a project's own checkpoints refers to can move:
what is older than the history that is kept. Order of effects: the new packs, then checkpoints of the same generations,
in place of the others, that refer to them. The old objects are then garbage as any other. Cut off anywhere, some of the
new packs are.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from manifold_common.domain.tree import chunk_ids
from manifold_common.engine.contents import pieces_of
from manifold_common.errors import CorruptObject
from manifold_common.format.places import Block, Container, Places
from manifold_common.ids import PLAIN
from manifold_common.ports.catalog import CheckpointRow, Holdings, Standing
from manifold_common.services.collection.reach import Reach
from manifold_common.services.context import Context

_SMALL_BYTES = 4 << 20
"""Smaller objects are put together, where there are some."""
_SMALL_COUNT = 16
_LEAST_DEAD_BYTES = 1024
"""Less is not worth it: what is no content of an object is not alive either, and would be there again afterwards."""
_MOST_BYTES = 1 << 30
"""Of living content, in one run."""


class _Object(NamedTuple):
    """An object that may move."""

    stored_bytes: int
    living_bytes: int
    """Of those, about: what its living chunks take."""
    raw_bytes: int
    """Of its living chunks."""


class Compaction:
    def __init__(self, context: Context, below_percent: int) -> None:
        """
        Args:
            below_percent: an object of which less is alive is written anew; 0: none is.
        """
        self._context = context
        self._below = below_percent / 100

    def compact(self, holdings: Holdings, reach: Reach, sizes: Mapping[str, int]) -> int:
        """Move living content of a project. Returns how many objects it has left.

        Args:
            reach: of its whole family, as it is now.
            sizes: of its stored objects that are old enough to go, in bytes, by key.

        Raises:
            CorruptObject: something cannot be read. ContentCollected: objects were condemned meanwhile.
        """
        if not self._below or holdings.standing is not Standing.ALIVE:
            return 0
        context, tenant, project = self._context, holdings.tenant, holdings.project
        keys = context.keys.of(tenant, project)
        rows = [row for row in holdings.checkpoints if row.dek != PLAIN or not keys.distrusts_plain]
        places: Places = {}
        for row in rows:
            for chunk, place in context.log.read_checkpoint(tenant, project, row, keys).places.items():
                key = place.block.container.seal().key
                if key in sizes and key not in reach.pinned:
                    places[chunk] = place
        chosen = self._choose(_objects(places, sizes))
        living = {chunk: place for chunk, place in places.items() if place.block.container in chosen}
        if not living:
            return 0
        moved = self._move(holdings, rows, living)
        for row in rows:
            self._write_anew(holdings, row, living, moved)
        context.log.forget(tenant, project)
        return len(chosen)

    def _choose(self, found: Mapping[Container, _Object]) -> set[Container]:
        wanted = {
            one
            for one, counted in found.items()
            if counted.living_bytes < self._below * counted.stored_bytes
            and counted.stored_bytes - counted.living_bytes >= _LEAST_DEAD_BYTES
        }
        small = {one for one, counted in found.items() if counted.stored_bytes < _SMALL_BYTES}
        if len(small) >= _SMALL_COUNT:
            wanted |= small
        chosen: set[Container] = set()
        size = 0
        for one in sorted(wanted):
            size += found[one].raw_bytes
            if size > _MOST_BYTES and chosen:
                break
            chosen.add(one)
        return chosen

    def _move(self, holdings: Holdings, rows: list[CheckpointRow], living: Places) -> Places:
        """Store the chunks once more, in the order of the newest tree; return where they are now."""
        context = self._context
        newest = context.log.load(holdings.tenant, holdings.project, max(row.generation for row in rows))
        in_order = [chunk for path in sorted(newest.tree) for chunk in chunk_ids(newest.tree[path]) if chunk in living]
        wanted: Places = {chunk: living[chunk] for chunk in in_order} | living
        reader = context.block_reader(holdings.tenant, holdings.project)
        with context.pack_writer(newest, {}) as writer:
            for (chunk, place), data in zip(wanted.items(), pieces_of(wanted.values(), living, reader), strict=True):
                if writer.add(bytes(data)) != chunk:
                    name = place.block.container.seal().key
                    raise CorruptObject(name, "it holds other content than its chunks are named for")
            return writer.finish(0).packed_places

    def _write_anew(self, holdings: Holdings, row: CheckpointRow, living: Places, moved: Places) -> None:
        context, tenant, project = self._context, holdings.tenant, holdings.project
        snapshot = context.log.load(tenant, project, row.generation)
        changed = {chunk: moved[chunk] for chunk in snapshot.places if chunk in living}
        if not changed:
            return
        written = context.writer.write_checkpoint(replace(snapshot, places={**snapshot.places, **changed}))
        with context.keys.writing(tenant, project):
            context.catalog.add_checkpoint(tenant, project, written, gc_epoch=snapshot.head.gc_epoch)


def _objects(places: Places, sizes: Mapping[str, int]) -> dict[Container, _Object]:
    """Return what would move, by the object that it is in."""
    raw: dict[Block, int] = defaultdict(int)
    for block, _, length in places.values():
        raw[block] += length
    living: dict[Container, float] = defaultdict(float)
    total: dict[Container, int] = defaultdict(int)
    for block, length in raw.items():
        living[block.container] += block.stored_bytes * min(1.0, length / max(1, block.raw_bytes))
        total[block.container] += length
    return {one: _Object(sizes[one.seal().key], int(size), total[one]) for one, size in living.items()}
