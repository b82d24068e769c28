"""Commit objects that are lost, made anew: from the trees before and after, and from what the catalog says of them.

A commit's record is who, when and why, which the catalog has too, and what it changed, which is the difference of two
trees. The tree before is read as any; the one after may still stand in a checkpoint of the generation, in the first
commit of a fork of it, or, of a fork's own first commit, in the source. None of that is trusted: the catalog has the
keyed hash of the record, and only a record with that very hash is taken. So it says what was published, word for word.

Content that lies within the lost object is moved into a pack, as far as it can be read; the rest is looked for like
any other (mending.py). The new object has an id of its own, so that no key is used twice with other bytes, and refers
to the old one for what is left.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress

from manifold_common.domain.patience import check_wanted
from manifold_common.domain.tree import between
from manifold_common.engine.commit_writer import decode_note
from manifold_common.engine.tree_log import Snapshot, empty_snapshot
from manifold_common.errors import CorruptObject, KeyUnavailable, NotFound
from manifold_common.format.buffers import Buffer
from manifold_common.format.places import Block, Place, Places
from manifold_common.format.tree_columns import used_chunks
from manifold_common.ids import ChunkId, Generation, ProjectId
from manifold_common.ports.catalog import CommitRow, Standing
from manifold_common.services.context import Context
from manifold_common.services.verification.proven_reader import ProvenReader
from manifold_common.services.verification.sound_trees import SoundTrees
from manifold_common.services.verification.verification import Verification

_FIRST = Generation(1)


class LostCommits:
    """Of what a verification has found damaged."""

    def __init__(self, context: Context, seen: Verification, trees: SoundTrees) -> None:
        self._context = context
        self._seen = seen
        self._tenant, self._project = seen.tenant, seen.project
        self._keys = context.keys.of(seen.tenant, seen.project)
        self._trees = trees

    def rebuilt(self, key: str) -> Buffer | None:
        """Return a commit object with the record that was published; ``None``: it is none, can be read, or cannot be
        made. Raises StoreUnavailable."""
        check_wanted()
        row = self._seen.rows.get(key)
        if not isinstance(row, CommitRow) or self._seen.can_read(row):
            return None
        try:
            before = self._trees.load(Generation(row.generation - 1))
        except (CorruptObject, NotFound):
            return None
        for after in self._candidates(row):
            try:
                data = self._written(key, row, before, after)
            except (CorruptObject, KeyUnavailable):
                continue
            if data is not None:
                return data
        return None

    def _written(self, key: str, row: CommitRow, before: Snapshot, after: Snapshot) -> Buffer | None:
        """Return the object, if that tree is the one after it. What can still be read of content that is in the lost
        one is stored elsewhere first: nobody can any more once another object has taken its place."""
        write, changes = self._context.writer.write_again, between(before.tree, after.tree)
        data = write(before, changes, after.places, row)
        rescued = {} if data is None else self._rescued(key, used_chunks(changes.upserts), after.places)
        return write(before, changes, {**after.places, **rescued}, row) if rescued else data

    def _rescued(self, key: str, chunks: Sequence[ChunkId], places: Places) -> Places:
        """Return where chunks that are in an object stand from now on, as far as they can be read."""
        by_block: dict[Block, list[tuple[ChunkId, Place]]] = {}
        for chunk in chunks:
            if places[chunk].block.container.seal().key == key:
                by_block.setdefault(places[chunk].block, []).append((chunk, places[chunk]))
        if not by_block:
            return {}
        reader = ProvenReader(self._context, self._keys)
        with self._context.pack_writer(empty_snapshot(self._tenant, self._project), {}) as writer:
            for block, inside in sorted(by_block.items(), key=lambda one: one[0].frame):
                for _, _, data in reader.read(block, inside):
                    writer.add(data)
            return writer.finish(0).packed_places

    def _candidates(self, row: CommitRow) -> Iterator[Snapshot]:
        """Yield trees that may be the one after it."""
        log, tenant = self._context.log, self._tenant
        checkpoint = self._trees.sound.get(row.generation)
        if checkpoint is not None:
            with suppress(CorruptObject):
                yield log.load_from(tenant, self._project, row.generation, checkpoint)
        forks = self._context.catalog.forks_of(tenant, self._project)
        of_it = [(fork, _FIRST) for fork, generation in forks if generation == row.generation]
        for project, generation in [*of_it, *self._source(row)]:
            check_wanted()
            with suppress(CorruptObject, NotFound):
                yield log.load(tenant, project, generation, remember=False)

    def _source(self, row: CommitRow) -> Iterator[tuple[ProjectId, Generation]]:
        """Yield what a fork's first commit says that it was made from, if that is of its family."""
        if row.generation != _FIRST:
            return
        match decode_note(self._keys, self._tenant, self._project, row).provenance.get("forked_from"):
            case {"project": str(source), "generation": int(generation)}:
                catalog = self._context.catalog
                family = catalog.fork_family(self._tenant, catalog.family_of(self._tenant, self._project))
                for member in family:
                    is_there = member.standing is not Standing.PURGED and generation <= member.head.generation
                    if member.project == source and is_there and generation > 0:
                        yield member.project, Generation(generation)
