"""Is everything there, and is it what was written? Reads the store itself, past the cache, and changes nothing.

Every commit object is opened, held against its catalog row and against its parent's hash; every checkpoint against the
tree that the commits fold to; every key record against the catalog; every object that any generation refers to must
exist and be long enough. So is every session's saved work. With ``read_data`` each object is read from its header to
its end too, and every chunk's bytes are held against its id.
A damaged object does not stop the rest from being looked at.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

from msgspec import structs

from manifold_common.domain.access import Principal
from manifold_common.domain.paths import to_display
from manifold_common.domain.tree import Tree, apply, chunk_ids
from manifold_common.domain.wording import plural
from manifold_common.engine.data_keys import ProjectKeys
from manifold_common.engine.object_cache import ObjectCache
from manifold_common.engine.objects import SealedObjects
from manifold_common.engine.tree_log import TreeLog
from manifold_common.errors import CorruptObject, NotFound, ObjectNotFound
from manifold_common.format.key_record import MAX_KEY_RECORD_BYTES, decode_key_record
from manifold_common.format.layout import checkpoint_key, commit_key, project_prefix, wrapped_key_key
from manifold_common.format.places import MAX_BLOCK_RAW_BYTES, Block, Container, Place, Places
from manifold_common.format.sealed import MAX_RAW_BYTES
from manifold_common.ids import PLAIN, ChunkId, DekId, Generation, ProjectId, SessionId, TenantId
from manifold_common.ports.catalog import CheckpointRow, CommitRow
from manifold_common.services.context import Context
from manifold_common.services.projects.projects import Projects
from manifold_common.shapes.projects import Project
from manifold_common.shapes.verification import Damage, VerifyReport

_PAGE = 1000
_NAMED_PATHS = 10

Progress = Callable[[int, int], None]
"""Called with (objects looked at, bytes opened) since the last call."""


class Verify:
    def __init__(self, context: Context, projects: Projects) -> None:
        self._context = context
        self._projects = projects

    def run(
        self, principal: Principal, project: ProjectId, *, read_data: bool = False, progress: Progress | None = None
    ) -> VerifyReport:
        """Look at everything a project refers to. Damage is reported, not raised. Raises NotFound, Unavailable."""
        found = self._projects.get(principal, project)
        return _Verification(self._context, principal.tenant, found, progress).run(read_data=read_data)


class _Verification:
    def __init__(self, context: Context, tenant: TenantId, project: Project, progress: Progress | None) -> None:
        self._context = context
        self._tenant, self._project = tenant, project.id
        self._head = project.generation
        self._progress = progress
        # Straight from the store: a good copy in the cache must not hide a bad object.
        no_cache = ObjectCache(Path(), 0, clock=context.clock, randomness=context.randomness)
        self._store = context.store
        self._objects = SealedObjects(self._store, no_cache)
        self._log = TreeLog(context.catalog, context.keys, self._objects, context.workers)
        self._keys: ProjectKeys = context.keys.of(tenant, project.id)
        self._report = VerifyReport(project=project.id, generation=project.generation)
        self._seen: dict[Container, dict[int, Block]] = defaultdict(dict)
        self._first_seen: dict[Container, Generation] = {}
        self._chunks: dict[ChunkId, Place] = {}
        self._drafted: dict[Container, set[SessionId]] = defaultdict(set)
        """Which sessions' drafts refer to an object that no generation refers to."""
        self._commits: dict[Generation, CommitRow] = {}
        self._known_keys: set[str] = set()
        self._plain_keys: dict[str, int] = {}
        """Objects that are not sealed, and how large they are."""
        self._lock = threading.Lock()

    def run(self, *, read_data: bool) -> VerifyReport:
        self._check_keys()
        self._check_log()
        self._check_drafts()
        self._check_objects()
        if read_data:
            self._check_data()
        self._count_unreferenced()
        self._report.unencrypted_objects = len(self._plain_keys)
        self._report.unencrypted_bytes = sum(self._plain_keys.values())
        self._name_paths()
        return self._report

    def _problem(
        self, error: CorruptObject, generation: Generation | None = None, sessions: tuple[SessionId, ...] = ()
    ) -> None:
        with self._lock:
            self._report.ok = False
            found = Damage(
                object=error.object_name, reason=error.reason, first_generation=generation, sessions=sessions
            )
            if found not in self._report.problems:
                self._report.problems.append(found)

    def _note_plain(self, key: str, dek: DekId, size: int) -> None:
        if dek == PLAIN:
            self._plain_keys[key] = size

    def _problem_in(self, container: Container, error: CorruptObject) -> None:
        sessions = self._drafted.get(container, ())
        self._problem(error, self._first_seen.get(container), tuple(sorted(sessions)))

    def _tell(self, objects: int, size: int) -> None:
        if self._progress is not None:
            self._progress(objects, size)

    def _check_keys(self) -> None:
        for record in self._context.catalog.project_keys(self._tenant, self._project):
            name = wrapped_key_key(self._tenant, self._project, record.dek)
            self._known_keys.add(name)
            try:
                stored = self._store.get(name, max_bytes=MAX_KEY_RECORD_BYTES)
                kept = decode_key_record(stored, self._tenant, self._project, record.dek)
                self._context.keys.unwrap(record)
                if kept.epoch != record.epoch:
                    raise CorruptObject(name, f"it is of epoch {kept.epoch}, and the catalog's of {record.epoch}")
                if kept.wrapped != record.wrapped:
                    self._context.keys.unwrap(kept)
            except ObjectNotFound:
                self._problem(CorruptObject(name, "it is missing from the object store"))
            except CorruptObject as error:
                self._problem(error)

    def _check_log(self) -> None:
        checkpoints = {
            row.generation: row for row in self._context.catalog.list_checkpoints(self._tenant, self._project)
        }
        tree: Tree | None = {}
        last = b""
        for row in self._all_commits():
            key = commit_key(self._tenant, self._project, row.generation, row.commit)
            self._known_keys.add(key)
            self._commits[row.generation] = row
            self._report.commits += 1
            self._note_plain(key, row.dek, row.object_bytes)
            try:
                commit = self._log.read_commit(self._tenant, self._project, row, self._keys)
                if commit.meta.parent_hash != last:
                    raise CorruptObject(key, "it does not follow the commit before it")
                self._note(commit.places, row.generation)
                if tree is not None:
                    apply(tree, commit.changes)
            except CorruptObject as error:
                self._problem(error, row.generation)
                tree = None
            last = row.record_hash
            checkpoint = checkpoints.get(row.generation)
            if checkpoint is not None:
                tree = self._check_checkpoint(checkpoint, tree)
            self._tell(1, row.object_bytes)

    def _check_drafts(self) -> None:
        for row in self._context.catalog.drafted_sessions(self._tenant, self._project):
            draft = row.draft
            assert draft is not None
            key = commit_key(self._tenant, self._project, draft.generation, draft.commit)
            self._known_keys.add(key)
            self._report.drafts += 1
            try:
                commit = self._log.read_commit(self._tenant, self._project, draft, self._keys)
                if commit.meta.parent_hash != self._record_hash(Generation(draft.generation - 1)):
                    raise CorruptObject(key, "it was not made on the generation that its session names")
            except CorruptObject as error:
                self._problem(error, sessions=(row.session,))
                continue
            for chunk, place in commit.places.items():
                container = place.block.container
                self._seen[container][place.block.frame] = place.block
                self._chunks.setdefault(chunk, place)
                if container not in self._first_seen:
                    self._drafted[container].add(row.session)
            self._tell(1, draft.object_bytes)

    def _record_hash(self, generation: Generation) -> bytes | None:
        if generation == 0:
            return b""
        try:
            row = self._commits.get(generation) or self._context.catalog.commit_at(
                self._tenant, self._project, generation
            )
        except NotFound:
            return None
        return row.record_hash

    def _all_commits(self) -> Iterable[CommitRow]:
        """Yield every commit, oldest first, in pages that do not move while others commit."""
        rows: list[CommitRow] = []
        before: Generation | None = Generation(self._head + 1)
        while before is not None and before > 1:
            page = self._context.catalog.list_commits(self._tenant, self._project, before=before, limit=_PAGE)
            rows += page
            before = page[-1].generation if page else None
        return reversed(rows)

    def _check_checkpoint(self, row: CheckpointRow, tree: Tree | None) -> Tree | None:
        """Hold a checkpoint against the tree; return the tree to go on with."""
        key = checkpoint_key(self._tenant, self._project, row.generation, row.commit)
        self._known_keys.add(key)
        self._report.checkpoints += 1
        self._note_plain(key, row.dek, row.object_bytes)
        if row.dek == PLAIN and self._keys.distrusts_plain:
            return tree  # nobody reads it any more
        try:
            found = self._log.read_checkpoint(self._tenant, self._project, row, self._keys)
            self._note(found.places, row.generation)
            if tree is not None and found.changes.upserts != tree:
                raise CorruptObject(key, "its tree is not the one that the commits make")
        except CorruptObject as error:
            self._problem(error, row.generation)
            return tree
        return dict(found.changes.upserts)

    def _note(self, places: Places, generation: Generation) -> None:
        for chunk, place in places.items():
            block = place.block
            self._seen[block.container][block.frame] = block
            self._first_seen.setdefault(block.container, generation)
            self._chunks[chunk] = place

    def _check_objects(self) -> None:
        for container, blocks in self._seen.items():
            key = container.seal().key
            self._known_keys.add(key)
            info = self._store.head(key)
            end = max(block.offset + block.stored_bytes for block in blocks.values())
            if info is None:
                self._problem_in(container, CorruptObject(key, "it is missing from the object store"))
            elif info.size < end:
                self._problem_in(
                    container, CorruptObject(key, f"it has {plural(info.size, 'byte')}, and {end} are needed")
                )
            self._note_plain(key, container.dek, info.size if info is not None else 0)
            self._tell(1, 0)
        self._report.objects = len(self._seen)
        self._report.chunks = len(self._chunks)

    def _check_data(self) -> None:
        damaged = {problem.object for problem in self._report.problems}
        sound = [container for container in self._seen if container.seal().key not in damaged]
        by_block: dict[Block, list[tuple[ChunkId, Place]]] = defaultdict(list)
        for chunk, place in self._chunks.items():
            by_block[place.block].append((chunk, place))

        def check(container: Container) -> None:
            try:
                self._check_object(container, by_block)
            except CorruptObject as error:
                self._problem_in(container, error)

        for _ in self._context.workers.compute.map(check, sound):
            pass

    def _check_object(self, container: Container, by_block: dict[Block, list[tuple[ChunkId, Place]]]) -> None:
        """Read a whole object, from its header to its end. Raises CorruptObject."""
        opener = self._keys.block_opener(container.seal())
        key = opener.seal.key
        frames = opener.split(self._objects.read(key, lambda data: data, max_bytes=MAX_RAW_BYTES))
        for number, block in sorted(self._seen[container].items()):
            if number >= len(frames) or (block.offset, block.stored_bytes) != (
                frames[number][0],
                len(frames[number][1]),
            ):
                raise CorruptObject(key, f"frame {number} is not where it should be")
            raw = memoryview(opener.open_frame(number, frames[number][1], max_raw_bytes=MAX_BLOCK_RAW_BYTES))
            for chunk, place in by_block[block]:
                if self._keys.chunker.chunk_id(raw[place.offset : place.offset + place.length]) != chunk:
                    raise CorruptObject(key, f"frame {number} does not hold the content it should")
            with self._lock:
                self._report.bytes_read += len(raw)
            self._tell(0, len(raw))

    def _count_unreferenced(self) -> None:
        for info in self._store.list(project_prefix(self._tenant, self._project)):
            if info.key not in self._known_keys:
                self._report.unreferenced_objects += 1
                self._report.unreferenced_bytes += info.size

    def _name_paths(self) -> None:
        """Add to each problem some paths of the head that cannot be read because of it."""
        names = {problem.object for problem in self._report.problems}
        bad = {chunk for chunk, place in self._chunks.items() if place.block.container.seal().key in names}
        if not bad:
            return
        try:
            snapshot = self._context.log.load(self._tenant, self._project)
        except CorruptObject:
            return
        paths: dict[str, list[str]] = defaultdict(list)
        for path, entry in snapshot.tree.items():
            for chunk in chunk_ids(entry):
                place = snapshot.places.get(chunk)
                if chunk in bad and place is not None:
                    paths[place.block.container.seal().key].append(to_display(path))
                    break
        self._report.problems = [
            structs.replace(p, paths=tuple(sorted(paths[p.object])[:_NAMED_PATHS])) for p in self._report.problems
        ]
