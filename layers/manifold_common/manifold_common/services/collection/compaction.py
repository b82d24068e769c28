"""Objects that are mostly dead, and small ones, are written anew: their living content moves into packs of its own.

Places in a commit object are never changed. So only what nothing but a project's own checkpoints refers to can move:
what is older than the history that is kept. Order of effects: the new packs, then checkpoints of the same generations,
in place of the others, that refer to them. The old objects are then garbage as any other. Cut off anywhere, some of the
new packs are.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple

from manifold_common.domain.garbage import Anew, Leaving
from manifold_common.domain.tree import chunk_ids
from manifold_common.engine.contents import pieces_of
from manifold_common.engine.tree_log import Snapshot
from manifold_common.errors import CorruptObject
from manifold_common.format.places import Block, Container, Places
from manifold_common.ids import Generation
from manifold_common.ports.catalog import CheckpointRow, Holdings, Standing
from manifold_common.services.collection.reach import Reach, checkpoint_key_of
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

    def compact(self, holdings: Holdings, reach: Reach, sizes: Mapping[str, int]) -> set[str]:
        """Move living content of a project. Returns the keys of the objects that it has left, and of the checkpoints
        that have others in their place.

        Args:
            reach: of its whole family, as it is now.
            sizes: of its stored objects that are old enough to go, in bytes, by key.

        Raises:
            CorruptObject: something cannot be read. ContentCollected: objects were condemned meanwhile.
        """
        if not self._compacts(holdings):
            return set()
        rows = self._counting(holdings)
        chosen, living = self._choose(self._places(holdings, rows), reach, sizes)
        if not living:
            return set()
        newest = self._context.log.load(holdings.tenant, holdings.project, max(row.generation for row in rows))
        epoch, moved = newest.head.gc_epoch, self._move(newest, living)
        left = {one.seal().key for one in chosen}
        left.update(
            checkpoint_key_of(holdings, row) for row in rows if self._write_anew(holdings, row, living, moved, epoch)
        )
        self._context.log.forget(holdings.tenant, holdings.project)
        return left

    def plan(
        self,
        holdings: Holdings,
        reach: Reach,
        sizes: Mapping[str, int],
        gone: Collection[Generation] = (),
        starts: Places | None = None,
    ) -> list[Leaving]:
        """Return what ``compact`` would leave, and why. Changes nothing. Raises CorruptObject.

        Args:
            gone: generations that count as removed.
            starts: where the content is of trees that count as written down in checkpoints.
        """
        if not self._compacts(holdings):
            return []
        rows = [row for row in self._counting(holdings) if row.generation not in gone]
        chosen, living = self._choose(self._places(holdings, rows) | (starts or {}), reach, sizes)
        found = [Leaving(one.seal().key, sizes[one.seal().key], why) for one, why in chosen.items()]
        for row in rows if living else ():
            key = checkpoint_key_of(holdings, row)
            if key in sizes and not living.keys().isdisjoint(self._places(holdings, [row])):
                found.append(Leaving(key, sizes[key], Anew.CHECKPOINT))
        return found

    def _compacts(self, holdings: Holdings) -> bool:
        return bool(self._below) and holdings.standing is Standing.ALIVE

    def _counting(self, holdings: Holdings) -> list[CheckpointRow]:
        keys = self._context.keys.of(holdings.tenant, holdings.project)
        return [row for row in holdings.checkpoints if keys.trusts(row.dek)]

    def _places(self, holdings: Holdings, rows: Iterable[CheckpointRow]) -> Places:
        tenant, project = holdings.tenant, holdings.project
        keys, places = self._context.keys.of(tenant, project), Places()
        for row in rows:
            places.update(self._context.log.read_checkpoint(tenant, project, row, keys).places)
        return places

    def _choose(self, places: Places, reach: Reach, sizes: Mapping[str, int]) -> tuple[dict[Container, Anew], Places]:
        """Return which objects to write anew, and where what is alive of them is now."""
        movable: Places = {}
        for chunk, place in places.items():
            key = place.block.container.seal().key
            if key in sizes and key not in reach.pinned:
                movable[chunk] = place
        found = _objects(movable, sizes)
        small = [one for one, counted in found.items() if counted.stored_bytes < _SMALL_BYTES]
        wanted = dict.fromkeys(small if len(small) >= _SMALL_COUNT else (), Anew.SMALL)
        for one, counted in found.items():
            dead = counted.stored_bytes - counted.living_bytes
            if counted.living_bytes < self._below * counted.stored_bytes and dead >= _LEAST_DEAD_BYTES:
                wanted[one] = Anew.MOSTLY_DEAD
        chosen: dict[Container, Anew] = {}
        size = 0
        for one in sorted(wanted):
            size += found[one].raw_bytes
            if size > _MOST_BYTES and chosen:
                break
            chosen[one] = wanted[one]
        return chosen, {chunk: place for chunk, place in movable.items() if place.block.container in chosen}

    def _move(self, newest: Snapshot, living: Places) -> Places:
        """Store the chunks once more, in the order of the newest tree; return where they are now."""
        context = self._context
        in_order = [chunk for path in sorted(newest.tree) for chunk in chunk_ids(newest.tree[path]) if chunk in living]
        wanted: Places = {chunk: living[chunk] for chunk in in_order} | living
        reader = context.block_reader(newest.tenant, newest.project)
        with context.pack_writer(newest, {}) as writer:
            for (chunk, place), data in zip(wanted.items(), pieces_of(wanted.values(), living, reader), strict=True):
                if writer.add(bytes(data)) != chunk:
                    name = place.block.container.seal().key
                    raise CorruptObject(name, "it holds other content than its chunks are named for")
            return writer.finish(0).packed_places

    def _write_anew(self, holdings: Holdings, row: CheckpointRow, living: Places, moved: Places, gc_epoch: int) -> bool:
        """Put another checkpoint in the place of one. Returns whether anything of it has moved.

        Args:
            gc_epoch: before anything was moved. Since then the new packs are what nothing refers to.
        """
        context, tenant, project = self._context, holdings.tenant, holdings.project
        snapshot = context.log.load(tenant, project, row.generation)
        changed = {chunk: moved[chunk] for chunk in snapshot.places if chunk in living}
        if not changed:
            return False
        written = context.writer.write_checkpoint(replace(snapshot, places={**snapshot.places, **changed}))
        with context.keys.writing(tenant, project):
            context.catalog.add_checkpoint(tenant, project, written, gc_epoch=gc_epoch)
        return True


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
