"""What the projects of a fork family refer to, read from the store itself.

Everything that could be read again counts: each kept generation, each draft, each upload that is open. What cannot be
read now ends the collection, since what it refers to cannot be known.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import chain

from manifold_common.domain.tree import chunk_ids
from manifold_common.engine.data_keys import ProjectKeys
from manifold_common.engine.tree_log import Snapshot, key_of_checkpoint
from manifold_common.format.layout import (
    commit_key,
    pack_key,
    wrapped_key_key,
)
from manifold_common.format.places import Container, Places
from manifold_common.ids import Generation, ObjectId, ProjectId
from manifold_common.ports.catalog import CheckpointRow, CommitRow, DraftRef, Holdings, Standing
from manifold_common.services.context import Context
from manifold_common.services.resumable.records import Records


class Reach:
    """Keys of objects, of every project of a family. What was read once is not read again."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._read: set[str] = set()
        self._named: dict[ProjectId, set[str]] = {}
        self._checkpoints: dict[ProjectId, dict[str, set[str]]] = {}
        self.pinned: set[str] = set()
        """What commits, drafts and uploads refer to for content, and projects to what is another's. It stays where it
        is: places in a commit object are never changed."""

    @property
    def objects(self) -> set[str]:
        """What something refers to."""
        by_checkpoints = (found for of_project in self._checkpoints.values() for found in of_project.values())
        return self.pinned.union(*self._named.values(), *by_checkpoints)

    def take(self, holdings: Holdings, gone: Collection[Generation] = (), starts: Iterable[Snapshot] = ()) -> None:
        """Add what a project refers to, in place of what it was said to before.

        Args:
            gone: generations that count as removed.
            starts: trees that count as written down in checkpoints.

        Raises:
            CorruptObject: it cannot be read. KeyUnavailable, StoreUnavailable: not now.
        """
        project = holdings.project
        if holdings.standing is Standing.PURGED:
            self._named[project], self._checkpoints[project] = set(), {}
            return
        self._named[project] = named(holdings, gone)
        keys = self._context.keys.of_records(holdings.keys)
        self._take_commits(holdings, gone, keys)
        self._take_checkpoints(holdings, gone, keys)
        for snapshot in starts:
            found = self._containers(holdings, _containers_of(snapshot))
            self._checkpoints[project][f"generation {snapshot.head.generation}"] = found
        for upload, parts in holdings.resumable:
            if not keys.trusts(upload.dek):
                continue  # it cannot go on
            records = Records(self._context, holdings.tenant, project, upload.upload, keys)
            self._pin({one.place.block.container for one in records.chunks(parts)})

    def needed_by_head(self, holdings: Holdings) -> set[str]:
        """Return the keys of what it takes to read a project's newest generation: its commit, its tree, and the content
        of its files. Nothing, where the project is deleted.

        Raises:
            NotFound: it was deleted meanwhile. Else as ``take``.
        """
        if holdings.standing is not Standing.ALIVE:
            return set()
        tenant, project = holdings.tenant, holdings.project
        needed = {wrapped_key_key(tenant, project, record.dek) for record in holdings.keys}
        if not holdings.commits:
            return needed
        keys = self._context.keys.of(tenant, project)
        counting = [row for row in holdings.checkpoints if keys.trusts(row.dek)]
        start = max(counting, key=lambda row: row.generation, default=None)
        if start is not None:
            needed.add(checkpoint_key_of(holdings, start))
        since = min(Generation(0) if start is None else start.generation, holdings.head.generation - 1)
        needed.update(_commit_key(holdings, row) for row in holdings.commits if row.generation > since)
        snapshot = self._context.log.load(tenant, project, remember=False)
        return needed.union(container.seal().key for container in _containers_of(snapshot))

    def _take_commits(self, holdings: Holdings, gone: Collection[Generation], keys: ProjectKeys) -> None:
        log = self._context.log
        commits = [row for row in holdings.commits if row.generation not in gone]
        fresh = [row for row in commits if _commit_key(holdings, row) not in self._read]
        read = log.read_commits(holdings.tenant, holdings.project, fresh, keys)
        for row, commit in zip(fresh, read, strict=True):
            self._add(commit.places, _commit_key(holdings, row))
        for draft in holdings.drafts:
            key = _commit_key(holdings, draft)
            if key not in self._read:
                self._add(log.read_commit(holdings.tenant, holdings.project, draft, keys).places, key)

    def _take_checkpoints(self, holdings: Holdings, gone: Collection[Generation], keys: ProjectKeys) -> None:
        known, now = self._checkpoints.get(holdings.project, {}), {}
        for row in holdings.checkpoints:
            if row.generation in gone or not keys.trusts(row.dek):
                continue
            key = checkpoint_key_of(holdings, row)
            found = known.get(key)
            if found is None:
                places = self._context.log.read_checkpoint(holdings.tenant, holdings.project, row, keys).places
                found = self._containers(holdings, {place.block.container for place in places.values()})
            now[key] = found
        self._checkpoints[holdings.project] = now

    def _add(self, places: Places, key: str) -> None:
        self._pin({place.block.container for place in places.values()})
        self._read.add(key)

    def _pin(self, containers: Iterable[Container]) -> None:
        self.pinned.update(container.seal().key for container in containers)

    def _containers(self, holdings: Holdings, containers: Collection[Container]) -> set[str]:
        """Return the keys of what a checkpoint refers to; pin what is another project's."""
        self._pin(one for one in containers if one.project != holdings.project)
        return {one.seal().key for one in containers}


def named(holdings: Holdings, gone: Collection[Generation] = ()) -> set[str]:
    """Return what the catalog itself names. Args: ``gone``: generations that count as removed."""
    tenant, project = holdings.tenant, holdings.project
    found = {_commit_key(holdings, draft) for draft in holdings.drafts}
    found.update(_commit_key(holdings, row) for row in holdings.commits if row.generation not in gone)
    found.update(checkpoint_key_of(holdings, row) for row in holdings.checkpoints if row.generation not in gone)
    found.update(wrapped_key_key(tenant, project, record.dek) for record in holdings.keys)
    for upload in holdings.uploads:
        if upload.kind == "draft":
            found.add(commit_key(tenant, project, upload.generation, upload.draft))
        else:
            found.add(pack_key(tenant, project, upload.object_id))
    for resumable, parts in holdings.resumable:
        packs: Iterable[ObjectId] = chain(resumable.spare, *(part.objects for part in parts))
        found.update(pack_key(tenant, project, pack) for pack in packs)
    found.update(commit_key(tenant, project, *one) for one in holdings.superseded)
    return found


def _containers_of(snapshot: Snapshot) -> set[Container]:
    """Return what holds the content of a tree's files."""
    used = {chunk for entry in snapshot.tree.values() for chunk in chunk_ids(entry)}
    return {snapshot.places[chunk].block.container for chunk in used}


def _commit_key(holdings: Holdings, row: CommitRow | DraftRef) -> str:
    return commit_key(holdings.tenant, holdings.project, row.generation, row.commit)


def checkpoint_key_of(holdings: Holdings, row: CheckpointRow) -> str:
    return key_of_checkpoint(holdings.tenant, holdings.project, row)
