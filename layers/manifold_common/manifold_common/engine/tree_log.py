"""The log of a project, folded into trees.

A generation's tree is the newest checkpoint at or before it and the commits since. Every commit read is held against
its catalog row (id, generation, record hash, key) and against its parent's hash, so that an object store that was
rolled back, spliced or swapped is noticed. Snapshots are immutable and shared; the last one of each project stays in
memory, and going on from it costs only the commits missed. Reading goes on from its commit, never from its number
alone: the catalog is asked with both, and says in the same answer whether that commit is in its history.

Of a project that is encrypted, everything read has to be sealed, but for what its key vouches for: commits and drafts
from before that (``PlainPast``), each by the hash of its record. Where their content is kept is not covered by that
hash; readers of blocks prove it by the chunk ids, which are.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Generator, Iterator, Sequence, Set
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass, replace

from manifold_common.domain.history import Point, history_replaced
from manifold_common.domain.paths import ROOT
from manifold_common.domain.patience import check_wanted
from manifold_common.domain.tree import Changes, Tree, apply, chunk_ids, growth, misfit
from manifold_common.engine.data_keys import DataKeys, ProjectKeys, unencrypted
from manifold_common.engine.memory import Account, Memory
from manifold_common.engine.objects import MISSING, SealedObjects
from manifold_common.engine.workers import REQUEST_THREADS, Workers
from manifold_common.errors import CorruptObject
from manifold_common.format.buffers import Buffer
from manifold_common.format.commit_object import ReadCheckpoint, ReadCommit, read_checkpoint, read_commit
from manifold_common.format.footprint import BLOCK_BYTES, CHUNK_BYTES, ENTRY_BYTES, TakeMemory
from manifold_common.format.key_record import hash_history
from manifold_common.format.layout import checkpoint_key, checkpoint_name, commit_key
from manifold_common.format.places import Container, Places
from manifold_common.format.sealed import UNDER_ANOTHER_KEY, ObjectKind, unpack_header
from manifold_common.ids import PLAIN, ChunkId, CommitId, Generation, ProjectId, TenantId, TenantProject
from manifold_common.ports.catalog import Catalog, CheckpointRow, CommitRow, DraftRef, Head, ReadPlan

_CHECKPOINT_SLACK_BYTES = 1 << 20
"""Where its object id is no part of its name, two nodes may write a checkpoint of one generation: for a moment the row
may be about the other, shorter one."""
_PRUNE_FACTOR = 2
_PRUNE_SLACK = 4096
_PREFETCHED_AT_ONCE = 4
_READ_AHEAD = 2 * REQUEST_THREADS
_COUNTED_ANEW_BYTES = 64 << 20
"""What was counted of a tree in memory may be so much above twice what it takes, before it is counted anew."""
_ROWS_AT_ONCE = 1000
_LOOKS = 3
"""Of a reader that finds objects gone that were replaced."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A project's whole tree at one generation. Not to be changed by anyone."""

    tenant: TenantId
    project: ProjectId
    head: Head
    tree: Tree
    places: Places
    """Of every chunk of the tree, and perhaps of some that it no longer has."""
    tree_bytes: int
    memory_bytes: int = 0
    """About, of tree and places."""

    def with_changes(self, changes: Changes, places: Places | None = None, *, head: Head | None = None) -> Snapshot:
        """Return this tree with ``changes`` made.

        Args:
            places: of the chunks that the changes refer to, where their content is going to be read.
            head: of the commit that they became; by default the tree stands on the same head as before.
        """
        tree, known = dict(self.tree), self.places
        apply(tree, changes)
        if places:
            known = {**known, **places}
            if len(known) > _PRUNE_FACTOR * len(tree) + _PRUNE_SLACK:
                used = {chunk for entry in tree.values() for chunk in chunk_ids(entry)}
                if len(known) > _PRUNE_FACTOR * len(used):
                    known = {chunk: known[chunk] for chunk in used}
        more = len(changes.upserts) * ENTRY_BYTES + len(places or ()) * (CHUNK_BYTES + BLOCK_BYTES)
        memory = self.memory_bytes + more
        if _is_overcounted(memory, tree):
            memory = memory_of(tree, known)
        size = self.tree_bytes + growth(self.tree, changes)[0]
        return Snapshot(self.tenant, self.project, head or self.head, tree, known, size, memory)

    def with_stored_anew(self, changes: Changes, chunks: Set[ChunkId]) -> Changes:
        """Return the changes to this tree, and with them entries that stay as they are but whose content was stored
        once more, since it is in damaged objects: it takes a commit to say where it is now.

        Args:
            chunks: that were stored for these changes.
        """
        if not (self.head.is_damaged and chunks):
            return changes
        rest = {
            path: entry
            for path, entry in self.tree.items()
            if path not in changes.upserts
            and path not in changes.deletes
            and any(chunk in chunks for chunk in chunk_ids(entry))
        }
        return Changes({**changes.upserts, **rest}, changes.deletes)

    def totals_with(self, changes: Changes) -> tuple[int, int]:
        """Return (bytes of all files, entries without the root) of the tree with ``changes`` made."""
        more_bytes, more_files = growth(self.tree, changes)
        return self.tree_bytes + more_bytes, len(self.tree) - (ROOT in self.tree) + more_files


def memory_of(tree: Tree, places: Places) -> int:
    """Return about how many bytes of memory they take."""
    text = sum(map(len, tree)) + sum([len(entry.content) for entry in tree.values()])
    blocks = {id(place.block) for place in places.values()}
    return text + len(tree) * ENTRY_BYTES + len(places) * CHUNK_BYTES + len(blocks) * BLOCK_BYTES


def _is_overcounted(counted: int, tree: Tree) -> bool:
    return counted > 2 * len(tree) * (ENTRY_BYTES + CHUNK_BYTES) + _COUNTED_ANEW_BYTES


EMPTY_HEAD = Head(Generation(0), None, b"", Generation(0))


def empty_snapshot(tenant: TenantId, project: ProjectId, gc_epoch: int = 0) -> Snapshot:
    return Snapshot(tenant, project, EMPTY_HEAD._replace(gc_epoch=gc_epoch), {}, {}, 0)


class _NoMemoryAhead(Exception):
    """What was to be read ahead is read in its turn."""


class TreeLog:
    """Reads trees. Safe for several threads.

    A snapshot counts for the ``gc_epoch`` that it was read at: afterwards, objects that its places name may be gone,
    and it is read anew.
    """

    def __init__(
        self,
        catalog: Catalog,
        keys: DataKeys,
        objects: SealedObjects,
        workers: Workers,
        *,
        remembered: int = 8,
        memory: Memory | None = None,
    ) -> None:
        """
        Args:
            remembered: how many projects' snapshots stay in memory.
            memory: that reading may take; the remembered snapshots together take half as much, or are one.
        """
        self.memory = memory or Memory()
        self._catalog = catalog
        self._keys = keys
        self._objects = objects
        self._workers = workers
        self._remembered = remembered
        self._snapshots: OrderedDict[TenantProject, Snapshot] = OrderedDict()
        self._histories: OrderedDict[TenantProject, tuple[bytes, list[bytes]]] = OrderedDict()
        self._lock = threading.Lock()

    def remember(self, snapshot: Snapshot) -> None:
        """Keep the newest snapshot of its project in memory."""
        owner = (snapshot.tenant, snapshot.project)
        with self._lock:
            known = self._snapshots.get(owner)
            if known is None or known.head.generation <= snapshot.head.generation:
                self._snapshots[owner] = snapshot
            self._snapshots.move_to_end(owner)
            size = sum([one.memory_bytes for one in self._snapshots.values()])
            while len(self._snapshots) > self._remembered or (
                size > self.memory.limit_bytes // 2 and len(self._snapshots) > 1
            ):
                size -= self._snapshots.popitem(last=False)[1].memory_bytes

    def forget(self, tenant: TenantId, project: ProjectId) -> None:
        with self._lock:
            self._snapshots.pop((tenant, project), None)

    def remembered(self) -> dict[TenantProject, Point]:
        """Return the projects in memory, and where each stands."""
        with self._lock:
            return {owner: snapshot.head.point for owner, snapshot in self._snapshots.items()}

    def load(
        self,
        tenant: TenantId,
        project: ProjectId,
        generation: Generation | None = None,
        *,
        commit: CommitId | None = None,
        start: Snapshot | None = None,
        remember: bool = True,
    ) -> Snapshot:
        """Return the tree of ``generation`` (``None``: the head).

        Args:
            commit: of ``generation``, where the caller has seen it.
            start: a snapshot the caller has; the fold goes on from it if that is shorter.
            remember: the head's. Not where many projects are looked at one after another, since it takes the place of
                others.

        Raises:
            NotFound: no such project or generation. CorruptObject: the log does not hold together.
            StaleStore: ``commit`` or ``start`` is not in the project's history; it was replaced by another one.
        """
        for _ in range(_LOOKS - 1):
            try:
                return self._load(tenant, project, generation, commit, start, remember=remember)
            except CorruptObject as error:
                if error.reason != MISSING or self._is_named(tenant, project, generation, error.object_name):
                    raise
                # Whoever stands still between two requests may find that what is replaced is removed by now.
        return self._load(tenant, project, generation, commit, start, remember=remember)

    def _load(
        self,
        tenant: TenantId,
        project: ProjectId,
        generation: Generation | None,
        commit: CommitId | None,
        start: Snapshot | None,
        *,
        remember: bool,
    ) -> Snapshot:
        remembered = self._remembered_of(tenant, project)
        mine = [found for found in (start, remembered) if found is not None and found.head.commit is not None]
        plan = self._catalog.read_plan(tenant, project, generation, known=[found.head.point for found in mine])
        lost = [found for found in mine if found.head.point not in plan.known]
        for found in lost:
            if found is start:
                raise history_replaced(found.head.point, plan.head.generation)
            self._drop(found)
        mine = [found for found in mine if found.head.point in plan.known]
        while any(found.head.gc_epoch != plan.head.gc_epoch for found in mine):
            mine = [found for found in mine if found.head.gc_epoch == plan.head.gc_epoch]
            plan = self._catalog.read_plan(tenant, project, generation, known=[found.head.point for found in mine])
        usable = [found for found in mine if found.head.generation <= plan.generation]
        empty = empty_snapshot(tenant, project, plan.head.gc_epoch)
        base = max(usable, key=lambda found: found.head.generation, default=empty)
        snapshot = base
        if base.head.generation < plan.generation:
            snapshot = self._fold(tenant, project, plan, base)
            if remember and plan.generation == plan.head.generation:
                self.remember(snapshot)
        if commit is not None and snapshot.head.commit != commit:
            raise history_replaced(Point(plan.generation, commit), plan.head.generation)
        if snapshot.head.is_damaged != plan.head.is_damaged:
            snapshot = replace(snapshot, head=snapshot.head._replace(is_damaged=plan.head.is_damaged))
        return snapshot

    def _is_named(self, tenant: TenantId, project: ProjectId, generation: Generation | None, name: str) -> bool:
        """Tell whether an object is still what reading a generation takes. Raises NotFound: that is gone."""
        plan = self._catalog.read_plan(tenant, project, generation)
        named = {commit_key(tenant, project, row.generation, row.commit) for row in plan.commits}
        if plan.checkpoint is not None:
            named.add(key_of_checkpoint(tenant, project, plan.checkpoint))
        return name in named

    def load_from(
        self, tenant: TenantId, project: ProjectId, generation: Generation, checkpoint: CheckpointRow | None
    ) -> Snapshot:
        """Return the tree of ``generation`` as it follows from this checkpoint (``None``: from the first commit),
        whichever others there are. Raises as ``load``."""
        plan = self._catalog.read_plan(tenant, project, generation)
        after = Generation(0) if checkpoint is None else checkpoint.generation
        plan = plan._replace(checkpoint=checkpoint, commits=self._rows(tenant, project, after, generation))
        return self._fold(tenant, project, plan, empty_snapshot(tenant, project, plan.head.gc_epoch))

    def prefetch(self, tenant: TenantId, project: ProjectId, known: Point, *, most_bytes: int) -> tuple[Point, int]:
        """Fetch into the cache what folding from ``known`` to the head will read, sealed as it is, the newest first.

        Returns:
            The head, and how many objects were fetched.

        Raises:
            NotFound: no such project.
        """
        plan = self._catalog.read_plan(tenant, project, known=[known] if known.commit else [])
        if known == plan.head.point:
            return known, 0
        if any(row.dek == PLAIN for row in plan.commits) and not self._keys.of(tenant, project).keeps(PLAIN):
            return plan.head.point, 0
        wanted: list[tuple[str, int]] = []
        for row in reversed(plan.commits):
            most_bytes -= row.object_bytes
            wanted.append((commit_key(tenant, project, row.generation, row.commit), row.object_bytes))
            if most_bytes < 0:
                break
        else:
            if plan.checkpoint is not None:
                wanted.append((key_of_checkpoint(tenant, project, plan.checkpoint), _most_bytes(plan.checkpoint)))
        fetched = 0
        for start in range(0, len(wanted), _PREFETCHED_AT_ONCE):  # others wait for these threads too
            some = wanted[start : start + _PREFETCHED_AT_ONCE]
            fetched += sum(
                self._workers.requests.map(lambda one: self._objects.prefetch(one[0], max_bytes=one[1]), some)
            )
        return plan.head.point, fetched

    def _remembered_of(self, tenant: TenantId, project: ProjectId) -> Snapshot | None:
        with self._lock:
            return self._snapshots.get((tenant, project))

    def _drop(self, snapshot: Snapshot) -> None:
        owner = (snapshot.tenant, snapshot.project)
        with self._lock:
            if self._snapshots.get(owner) is snapshot:
                del self._snapshots[owner]

    def _fold(self, tenant: TenantId, project: ProjectId, plan: ReadPlan, base: Snapshot) -> Snapshot:
        with self.memory.account(f"the tree of project {project} at generation {plan.generation}") as account:
            return self._folded(tenant, project, plan, base, account)

    def _folded(
        self, tenant: TenantId, project: ProjectId, plan: ReadPlan, base: Snapshot, account: Account
    ) -> Snapshot:
        keys = self._keys.of(tenant, project)
        account.take(base.memory_bytes)
        tree, places = dict(base.tree), dict(base.places)
        last = base.head.record_hash
        rows = list(plan.commits)
        if plan.checkpoint is not None:
            try:
                found = self.read_checkpoint(tenant, project, plan.checkpoint, keys, account.take)
            except CorruptObject as error:
                if plan.checkpoint.dek != PLAIN or error.reason != UNDER_ANOTHER_KEY:
                    raise
                # It was written anew when encryption began, and the catalog is of before that. The commits are there.
                rows = self._rows(tenant, project, base.head.generation, plan.generation)
            else:
                key = key_of_checkpoint(tenant, project, plan.checkpoint)
                tree, places = {}, dict(found.places)
                _change(tree, found.changes, key)
                last = found.meta.record_hash
        counted = account.taken
        for row, (commit, taken) in zip(rows, self._read_commits(rows, keys, account), strict=True):
            check_wanted()
            key = commit_key(tenant, project, row.generation, row.commit)
            if commit.meta.parent_hash != last:
                raise CorruptObject(key, "it does not follow the commit before it")
            _change(tree, commit.changes, key)
            places.update(commit.places)
            last = commit.record_hash
            counted += taken
            if _is_overcounted(counted, tree):
                account.give_back(counted - (left := memory_of(tree, places)))
                counted = left
        commit_id = rows[-1].commit if rows else plan.checkpoint.commit if plan.checkpoint else base.head.commit
        head = (
            plan.head
            if plan.generation == plan.head.generation
            else Head(plan.generation, commit_id, last, Generation(0), plan.committed_at, plan.head.gc_epoch)
        )
        if head.record_hash != last:
            raise CorruptObject(
                f"t/{tenant}/p/{project} at generation {plan.generation}", "the log does not end in the head's commit"
            )
        size = sum([entry[3] for entry in tree.values()])
        return Snapshot(tenant, project, head, tree, places, size, counted)

    def _read_commits(
        self, rows: list[CommitRow], keys: ProjectKeys, account: Account
    ) -> Iterator[tuple[ReadCommit, int]]:
        """Yield each commit and what it has taken of ``account``. Raises as ``read_commit``."""
        with closing(self._try_commits(rows, keys, account)) as commits:
            for found, taken in commits:
                if isinstance(found, CorruptObject):
                    raise found
                yield found, taken

    def _try_commits(
        self, rows: list[CommitRow], keys: ProjectKeys, account: Account
    ) -> Generator[tuple[ReadCommit | CorruptObject, int], None, None]:
        """Yield each commit, or what is wrong with it, and what it has taken of ``account``. Some are read ahead, as
        far as there is memory: only the caller's thread waits for more, since others need the threads of the pool."""
        ahead: deque[Future[tuple[ReadCommit, int]]] = deque()

        def read(row: CommitRow, take_more: TakeMemory) -> tuple[ReadCommit, int]:
            taken = 0

            def take(count: int) -> None:
                nonlocal taken
                take_more(count)
                taken += count

            try:
                return self.read_commit(keys.tenant, keys.project, row, keys, take), taken
            except BaseException:
                account.give_back(taken)
                raise

        def take_if_free(count: int) -> None:
            if not account.take_if_free(count):
                raise _NoMemoryAhead

        def stop() -> None:
            for future in ahead:
                future.cancel()
            for future in ahead:
                if not future.cancelled() and future.exception() is None:
                    account.give_back(future.result()[1])
            ahead.clear()

        begun = 0
        try:
            for number, row in enumerate(rows):
                while begun < min(len(rows), number + _READ_AHEAD):
                    ahead.append(self._workers.requests.submit(read, rows[begun], take_if_free))
                    begun += 1
                found: tuple[ReadCommit | CorruptObject, int]
                try:
                    try:
                        found = ahead.popleft().result()
                    except _NoMemoryAhead:
                        stop()  # perhaps it was only too much beside those that come after it
                        begun = number + 1
                        found = read(row, account.take)
                except CorruptObject as error:
                    found = error, 0
                yield found
        finally:
            stop()

    def read_commit(
        self,
        tenant: TenantId,
        project: ProjectId,
        row: CommitRow | DraftRef,
        keys: ProjectKeys | None = None,
        take: TakeMemory | None = None,
    ) -> ReadCommit:
        """Return one commit object, published or a draft, after holding it against its row.

        Args:
            take: of memory. ``None``: this one alone may take what there is.

        Raises:
            CorruptObject. QuotaExceeded: it takes too much memory.
        """
        keys = keys or self._keys.of(tenant, project)
        key = commit_key(tenant, project, row.generation, row.commit)
        if take is None:
            with self.memory.account(key) as account:
                return self.read_commit(tenant, project, row, keys, account.take)

        def use(data: Buffer) -> ReadCommit:
            own = _container(data, key, ObjectKind.COMMIT, tenant, project, row)
            commit = read_commit(data, own, keys.old_opener(own.seal()), keys.id_key, take)
            meta = commit.meta
            said = (meta.tenant, meta.project, meta.generation, meta.commit, meta.parent)
            if said != (tenant, project, row.generation, row.commit, row.parent or ""):
                raise CorruptObject(key, "it is another commit than the catalog names")
            if isinstance(row, CommitRow) and commit.record_hash != row.record_hash:
                raise CorruptObject(key, "its record is not the one that was published")
            if not keys.trusts(row.dek):
                self._prove_old(keys, row, commit, key)
            return commit

        keep = keys.keeps(row.dek)
        return self._objects.read(key, use, max_bytes=row.object_bytes, keep=keep)

    def read_commits(
        self, tenant: TenantId, project: ProjectId, rows: Sequence[CommitRow], keys: ProjectKeys | None = None
    ) -> Iterator[ReadCommit]:
        """Yield several commits, in their order, some read ahead. Raises as ``read_commit``."""
        keys = keys or self._keys.of(tenant, project)
        with self.memory.account(f"commits of project {project}") as account:
            for commit, taken in self._read_commits(list(rows), keys, account):
                yield commit
                account.give_back(taken)

    def try_commits(
        self, tenant: TenantId, project: ProjectId, rows: Sequence[CommitRow]
    ) -> Iterator[ReadCommit | CorruptObject]:
        """Yield several commits, in their order, some read ahead; in place of one that is damaged, how it is.

        Raises QuotaExceeded: one takes too much memory.
        """
        keys = self._keys.of(tenant, project)
        with self.memory.account(f"commits of project {project}") as account:
            for found, taken in self._try_commits(list(rows), keys, account):
                yield found
                account.give_back(taken)

    def record_hashes(self, tenant: TenantId, project: ProjectId, generation: Generation) -> list[bytes]:
        """Return the record hashes of all commits up to ``generation``, the first one's first, as the catalog says."""
        return self._catalog.record_hashes(tenant, project, generation)

    def _rows(self, tenant: TenantId, project: ProjectId, after: Generation, last: Generation) -> list[CommitRow]:
        rows: list[CommitRow] = []
        before = Generation(last + 1)
        while before > after + 1:
            limit = min(_ROWS_AT_ONCE, before - after - 1)
            page = self._catalog.list_commits(tenant, project, before=before, limit=limit)
            if not page:
                break
            rows += page
            before = page[-1].generation
        return rows[::-1]

    def _prove_old(self, keys: ProjectKeys, row: CommitRow | DraftRef, commit: ReadCommit, key: str) -> None:
        """Raises CorruptObject: the project had no such unsealed commit or draft when its encryption began."""
        past = keys.past
        assert past is not None
        if isinstance(row, DraftRef):
            if commit.record_hash not in past.drafts:
                raise unencrypted(key)
        elif row.generation > past.generations or commit.record_hash != self._history(keys)[row.generation - 1]:
            raise unencrypted(key)

    def _history(self, keys: ProjectKeys) -> list[bytes]:
        """Return the record hashes of the unsealed commits. Raises CorruptObject: the catalog has others than then."""
        past = keys.past
        assert past is not None
        owner = (keys.tenant, keys.project)
        with self._lock:
            known = self._histories.get(owner)
        if known is not None and known[0] == past.history:
            return known[1]
        hashes = self.record_hashes(*owner, Generation(past.generations))
        if len(hashes) != past.generations or hash_history(hashes) != past.history:
            name = f"t/{keys.tenant}/p/{keys.project} up to generation {past.generations}"
            raise CorruptObject(name, "its unencrypted history is not the one that there was when encryption began")
        with self._lock:
            self._histories[owner] = (past.history, hashes)
            while len(self._histories) > self._remembered:
                self._histories.popitem(last=False)
        return hashes

    def read_checkpoint(
        self,
        tenant: TenantId,
        project: ProjectId,
        row: CheckpointRow,
        keys: ProjectKeys,
        take: TakeMemory | None = None,
    ) -> ReadCheckpoint:
        """Return one checkpoint, after holding it against its row. Takes memory, and raises, as ``read_commit``."""
        key = key_of_checkpoint(tenant, project, row)
        if take is None:
            with self.memory.account(key) as account:
                return self.read_checkpoint(tenant, project, row, keys, account.take)

        def use(data: Buffer) -> ReadCheckpoint:
            own = _container(data, key, ObjectKind.CHECKPOINT, tenant, project, row)
            if row.object_id not in (None, own.object_id):
                raise CorruptObject(key, "it is another object than the catalog names")
            found = read_checkpoint(data, own, keys.opener(own.seal()), take)
            meta = found.meta
            said = (meta.tenant, meta.project, meta.generation, meta.commit)
            if said != (tenant, project, row.generation, row.commit):
                raise CorruptObject(key, "it is another checkpoint than the catalog names")
            return found

        keep = keys.keeps(row.dek)
        return self._objects.read(key, use, max_bytes=_most_bytes(row), keep=keep)


def key_of_checkpoint(tenant: TenantId, project: ProjectId, row: CheckpointRow) -> str:
    """Return the key of a checkpoint that the catalog names."""
    return checkpoint_key(tenant, project, row.generation, checkpoint_name(row.commit, row.object_id))


def _most_bytes(row: CheckpointRow) -> int:
    if row.object_id is not None:
        return row.object_bytes
    return 2 * row.object_bytes + _CHECKPOINT_SLACK_BYTES


def _change(tree: Tree, changes: Changes, key: str) -> None:
    """Make the changes. Raises CorruptObject when they do not fit."""
    if misfit(tree, changes) is not None:
        raise CorruptObject(key, "it puts a path where there is no folder, or leaves one there")
    apply(tree, changes)


def _container(
    data: Buffer,
    key: str,
    kind: ObjectKind,
    tenant: TenantId,
    project: ProjectId,
    row: CommitRow | DraftRef | CheckpointRow,
) -> Container:
    seal = unpack_header(data, key, kind, row.dek)
    name = checkpoint_name(row.commit, row.object_id) if isinstance(row, CheckpointRow) else row.commit
    return Container(tenant, project, kind, row.generation, name, seal.object_id, row.dek)
