"""What a damaged object held is brought back in another one, and readers are told where it is.

An object cannot be written again with other bytes, and places in a commit object are never changed
(services/collection/compaction.py says more). But whoever reads a generation that has a checkpoint reads where the
checkpoint says, and not where the commit does. So content of damaged objects that stands somewhere else moves into new
packs, and each generation whose commit or checkpoint refers to a damaged object gets a checkpoint that does not. A
checkpoint that is damaged itself is written anew from those before it and the commits since.

Order of effects: the new packs; then the checkpoints, each by itself; then the project's ``gc_epoch`` moves on, so that
every node reads anew where content is. Cut off anywhere, some generations are mended, or some of the new packs are
garbage; a repair goes on from there.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from manifold_common.domain.patience import check_wanted
from manifold_common.engine.block_reader import BlockReader
from manifold_common.engine.data_keys import ProjectKeys
from manifold_common.engine.tree_log import Snapshot, empty_snapshot, key_of_checkpoint
from manifold_common.errors import CorruptObject
from manifold_common.format.places import Block, Place, Places
from manifold_common.ids import PLAIN, ChunkId, Generation, ProjectId
from manifold_common.ports.catalog import CheckpointRow, CommitRow, DraftRef, Standing
from manifold_common.services.context import Context
from manifold_common.services.verification.quarantine import put_aside
from manifold_common.services.verification.verification import Verification

_log = logging.getLogger(__name__)

_MOST_BYTES = 4 << 30
"""Of content that is stored anew in one round; the next goes on."""
_MOST_CHECKPOINTS = 500
"""Written in one round, those of the newest generations: each is a whole tree."""
_STARTS = 3
"""Checkpoints that a tree is tried to be known from."""


class Mended(NamedTuple):
    checkpoints: frozenset[str]
    """Names of damaged checkpoints that others have taken the place of."""
    is_moved: bool
    """Readers are told of other places of content."""
    kept: frozenset[str]
    """Where damaged bytes are kept that were replaced."""


class Mending:
    """Used once, for what a verification has found damaged."""

    def __init__(self, context: Context, seen: Verification, damaged: Collection[str], left: Collection[str]) -> None:
        """
        Args:
            damaged: names of all damaged objects.
            left: of those, the ones that are to be mended.
        """
        self._context = context
        self._seen = seen
        self._tenant, self._project = seen.tenant, seen.project
        self._keys = context.keys.of(seen.tenant, seen.project)
        self._references = seen.references
        blocks = seen.references.blocks
        self._unsound = {one for one in blocks if one.seal().key in damaged}
        self._dead = {one for one in self._unsound if one in seen.references.seen and one.seal().key in left}
        rows = context.catalog.list_checkpoints(seen.tenant, seen.project)
        counting = [row for row in rows if row.dek != PLAIN or not self._keys.distrusts_plain]
        self._lost = {row.generation: key for row in counting if (key := self._key(row)) in left}
        self._sound = {row.generation: row for row in counting if self._key(row) not in damaged}

    def mend(self) -> Mended:
        """Raises ContentCollected: objects were condemned since the verification began. StoreUnavailable."""
        generations = {one for container in self._dead for one in self._references.seen[container]} | self._lost.keys()
        if not generations:
            return Mended(frozenset(), False, frozenset())
        places = self._rescued() if self._dead else {}
        checkpoints, kept, is_moved = set(), set(), False
        for generation in sorted(sorted(generations)[-_MOST_CHECKPOINTS:]):
            check_wanted()
            try:
                snapshot = self._load(generation)
                changed = self._changed(snapshot, places)
                lost = self._lost.get(generation)
                if changed or lost:
                    aside = None if lost is None else put_aside(self._context.store, lost)
                    self._write(replace(snapshot, places={**snapshot.places, **changed}))
            except CorruptObject as error:
                _log.error("generation %d of project %s is not mended: %s", generation, self._project, error)
                continue
            is_moved |= bool(changed)
            checkpoints.update([] if lost is None else [lost])
            kept.update([] if lost is None or aside is None else [aside])
        if checkpoints or is_moved:
            self._context.catalog.suspect(self._tenant, [self._project], [])
            self._context.log.forget(self._tenant, self._project)
        return Mended(frozenset(checkpoints), is_moved, frozenset(kept))

    def _key(self, row: CheckpointRow) -> str:
        return key_of_checkpoint(self._tenant, self._project, row)

    # --- trees ------------------------------------------------------------------------------------------------------

    def _load(self, generation: Generation) -> Snapshot:
        """Return a tree, read past the checkpoints that are damaged. Raises CorruptObject."""
        before = sorted((one for one in self._sound if one <= generation), reverse=True)
        starts = [self._sound[one] for one in before[:_STARTS]]
        error: CorruptObject | None = None
        for start in (*starts, None):
            try:
                return self._context.log.load_from(self._tenant, self._project, generation, start)
            except CorruptObject as found:
                error = error or found
        assert error is not None
        raise error

    def _changed(self, snapshot: Snapshot, places: Places) -> Places:
        """Return the new places of what the tree reads from objects that are damaged."""
        return {
            chunk: places[chunk]
            for chunk, place in snapshot.places.items()
            if chunk in places and place.block.container in self._dead
        }

    def _write(self, snapshot: Snapshot) -> None:
        context = self._context
        row = context.writer.write_checkpoint(snapshot)
        with context.keys.writing(self._tenant, self._project):
            context.catalog.add_checkpoint(self._tenant, self._project, row, gc_epoch=self._seen.gc_epoch)
        self._sound[row.generation] = row

    # --- content ----------------------------------------------------------------------------------------------------

    def _rescued(self) -> Places:
        """Return where content of damaged objects can be read from now on, as far as it is found anywhere."""
        by_block = self._references.chunks_by_block(self._dead)
        wanted = {chunk for chunks in by_block.values() for chunk, _ in chunks}
        standing = self._standing(wanted)
        wanted -= standing.keys()
        size = 0
        base = empty_snapshot(self._tenant, self._project)
        with self._context.pack_writer(base, {}) as writer:
            for chunk, data in self._contents(by_block, wanted):
                size += len(data)
                if size > _MOST_BYTES:
                    break
                if writer.add(data) != chunk:
                    raise AssertionError("the content was held against its id")
            return standing | writer.finish(0).packed_places

    def _standing(self, wanted: Collection[ChunkId]) -> Places:
        """Return where chunks stand in other objects of the project, held against what is there."""
        by_block: dict[Block, list[tuple[ChunkId, Place]]] = {}
        for chunk, place in self._references.chunks():
            if chunk in wanted and place.block.container not in self._unsound:
                by_block.setdefault(place.block, []).append((chunk, place))
        reader = _Reader(self._context, self._keys)
        return {chunk: place for block, chunks in by_block.items() for chunk, place, _ in reader.read(block, chunks)}

    def _contents(
        self, by_block: dict[Block, list[tuple[ChunkId, Place]]], wanted: set[ChunkId]
    ) -> Iterator[tuple[ChunkId, bytes]]:
        """Yield the content of wanted chunks, which are wanted no more then: from blocks of damaged objects that are
        whole, or of which the cache has a copy; and from other projects of the family."""
        reader = _Reader(self._context, self._keys)
        for block in sorted(by_block, key=lambda one: (one.container, one.frame)):
            chunks = [(chunk, place) for chunk, place in by_block[block] if chunk in wanted]
            for chunk, _, data in reader.read(block, chunks):
                wanted.discard(chunk)
                yield chunk, data
        if not wanted:
            return
        catalog = self._context.catalog
        for member in catalog.fork_family(self._tenant, catalog.family_of(self._tenant, self._project)):
            if member.project != self._project and member.standing is not Standing.PURGED and wanted:
                yield from self._contents_of(member.project, wanted)

    def _contents_of(self, project: ProjectId, wanted: set[ChunkId]) -> Iterator[tuple[ChunkId, bytes]]:
        context, tenant = self._context, self._tenant
        holdings = context.catalog.holdings(tenant, project)
        if not holdings.keys:
            return
        keys = context.keys.of_records(holdings.keys)
        reader = _Reader(context, keys)
        checkpoints = sorted(holdings.checkpoints, key=lambda one: one.generation, reverse=True)
        rows: list[CheckpointRow | CommitRow | DraftRef] = [*checkpoints, *reversed(holdings.commits), *holdings.drafts]
        for row in rows:
            check_wanted()
            if not wanted:
                return
            by_block: dict[Block, list[tuple[ChunkId, Place]]] = {}
            for chunk, place in self._places_of(project, row, keys).items():
                if chunk in wanted and place.block.container not in self._unsound:
                    by_block.setdefault(place.block, []).append((chunk, place))
            for block, chunks in by_block.items():
                for chunk, _, data in reader.read(block, chunks):
                    wanted.discard(chunk)
                    yield chunk, data

    def _places_of(self, project: ProjectId, row: CheckpointRow | CommitRow | DraftRef, keys: ProjectKeys) -> Places:
        """Return where another project says that content is; nothing, if that cannot be read."""
        log = self._context.log
        try:
            if isinstance(row, CheckpointRow):
                return log.read_checkpoint(self._tenant, project, row, keys).places
            return log.read_commit(self._tenant, project, row, keys).places
        except CorruptObject:
            return {}


class _Reader:
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
