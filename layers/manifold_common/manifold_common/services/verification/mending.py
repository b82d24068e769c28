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
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from itertools import chain
from typing import NamedTuple

from manifold_common.domain.patience import check_wanted
from manifold_common.engine.data_keys import ProjectKeys
from manifold_common.engine.tree_log import Snapshot, empty_snapshot
from manifold_common.errors import CorruptObject
from manifold_common.format.places import Block, Place, Places
from manifold_common.ids import ChunkId, ProjectId
from manifold_common.ports.catalog import CheckpointRow, CommitRow, DraftRef, Standing
from manifold_common.services.context import Context
from manifold_common.services.verification.proven_reader import ProvenReader
from manifold_common.services.verification.quarantine import put_aside
from manifold_common.services.verification.sound_trees import SoundTrees
from manifold_common.services.verification.verification import Verification
from manifold_common.services.verification.working_copies import WorkingCopies

_log = logging.getLogger(__name__)

_MOST_BYTES = 4 << 30
"""Of content that is stored anew in one round; the next goes on."""
_MOST_CHECKPOINTS = 500
"""Written in one round, those of the newest generations: each is a whole tree."""


class Mended(NamedTuple):
    checkpoints: frozenset[str]
    """Names of damaged checkpoints that others have taken the place of."""
    moved: Mapping[ChunkId, int]
    """Chunks of which readers are told another place, and how long each is."""
    kept: frozenset[str]
    """Where damaged bytes are kept that were replaced."""


class Mending:
    """Used once, for what a verification has found damaged."""

    def __init__(
        self,
        context: Context,
        seen: Verification,
        damaged: Collection[str],
        left: Collection[str],
        trees: SoundTrees,
        working: WorkingCopies,
    ) -> None:
        """
        Args:
            damaged: names of all damaged objects.
            left: of those, the ones that are to be mended.
        """
        self._context = context
        self._working = working
        self._seen = seen
        self._tenant, self._project = seen.tenant, seen.project
        self._keys = context.keys.of(seen.tenant, seen.project)
        self._references = seen.references
        blocks = seen.references.blocks
        self._unsound = {one for one in blocks if one.seal().key in damaged}
        self._dead = {one for one in self._unsound if one in seen.references.seen and one.seal().key in left}
        self._trees = trees
        self._lost = {generation: key for generation, key in trees.lost.items() if key in left}

    def mend(self) -> Mended:
        """Raises ContentCollected: objects were condemned since the verification began. StoreUnavailable."""
        generations = {one for container in self._dead for one in self._references.seen[container]} | self._lost.keys()
        if not generations:
            return Mended(frozenset(), {}, frozenset())
        places = self._rescued() if self._dead else {}
        moved: dict[ChunkId, int] = {}
        checkpoints, kept = set(), set()
        for generation in sorted(sorted(generations)[-_MOST_CHECKPOINTS:]):
            check_wanted()
            try:
                snapshot = self._trees.load(generation)
                changed = self._changed(snapshot, places)
                lost = self._lost.get(generation)
                if changed or lost:
                    aside = None if lost is None else put_aside(self._context.store, lost)
                    self._write(replace(snapshot, places={**snapshot.places, **changed}))
            except CorruptObject as error:
                _log.error("generation %d of project %s is not mended: %s", generation, self._project, error)
                continue
            moved.update((chunk, place.length) for chunk, place in changed.items())
            checkpoints.update([] if lost is None else [lost])
            kept.update([] if lost is None or aside is None else [aside])
        if checkpoints or moved:
            self._context.catalog.suspect(self._tenant, [self._project], [])
            self._context.log.forget(self._tenant, self._project)
        return Mended(frozenset(checkpoints), moved, frozenset(kept))

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
        self._trees.sound[row.generation] = row

    # --- content ----------------------------------------------------------------------------------------------------

    def finds_content(self) -> bool:
        """Tell whether anything of what damaged objects held is found anywhere."""
        by_block = self._wanted()
        wanted = {chunk for chunks in by_block.values() for chunk, _ in chunks}
        found: Iterator[object] = chain(self._standing(wanted), self._contents(by_block, wanted))
        return next(found, None) is not None

    def _wanted(self) -> dict[Block, list[tuple[ChunkId, Place]]]:
        return self._references.chunks_by_block(self._dead)

    def _rescued(self) -> Places:
        """Return where content of damaged objects can be read from now on, as far as it is found anywhere."""
        by_block = self._wanted()
        wanted = {chunk for chunks in by_block.values() for chunk, _ in chunks}
        standing = dict(self._standing(wanted))
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

    def _standing(self, wanted: set[ChunkId]) -> Iterator[tuple[ChunkId, Place]]:
        """Yield where wanted chunks, which are wanted no more then, stand in other objects of the project, held against
        what is there."""
        by_block: dict[Block, list[tuple[ChunkId, Place]]] = {}
        for chunk, place in self._references.chunks():
            if chunk in wanted and place.block.container not in self._unsound:
                by_block.setdefault(place.block, []).append((chunk, place))
        reader = ProvenReader(self._context, self._keys)
        for block, chunks in by_block.items():
            for chunk, place, _ in reader.read(block, chunks):
                wanted.discard(chunk)
                yield chunk, place
        if not self._seen.has_all_references:
            for chunk, place, _ in self._held_by(self._project, wanted):
                yield chunk, place

    def _contents(
        self, by_block: dict[Block, list[tuple[ChunkId, Place]]], wanted: set[ChunkId]
    ) -> Iterator[tuple[ChunkId, bytes]]:
        """Yield the content of wanted chunks, which are wanted no more then: from blocks of damaged objects that are
        whole, or of which the cache has a copy; from other projects of the family; and from this machine's working
        sets."""
        reader = ProvenReader(self._context, self._keys)
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
                for chunk, _, data in self._held_by(member.project, wanted):
                    yield chunk, data
        yield from self._working.find(
            self._tenant,
            self._project,
            wanted,
            self._keys.chunker,
            lambda generation: self._trees.load(generation).tree,
        )

    def _held_by(self, project: ProjectId, wanted: set[ChunkId]) -> Iterator[tuple[ChunkId, Place, bytes]]:
        """Yield wanted chunks, which are wanted no more then, as any commit, checkpoint or draft of a project has
        them."""
        context, tenant = self._context, self._tenant
        holdings = context.catalog.holdings(tenant, project)
        if not holdings.keys:
            return
        keys = context.keys.of_records(holdings.keys)
        reader = ProvenReader(context, keys)
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
                for found in reader.read(block, chunks):
                    wanted.discard(found[0])
                    yield found

    def _places_of(self, project: ProjectId, row: CheckpointRow | CommitRow | DraftRef, keys: ProjectKeys) -> Places:
        """Return where a project says that content is; nothing, if that cannot be read."""
        log = self._context.log
        try:
            if isinstance(row, CheckpointRow):
                return log.read_checkpoint(self._tenant, project, row, keys).places
            return log.read_commit(self._tenant, project, row, keys).places
        except CorruptObject:
            return {}
