"""One look at a project, or at a stretch of its history.

Of a stretch, the log is held against the tree and the record hash that it begins from; its objects are those that
nothing before it refers to. So the stretches of a project, each looked at by itself, are all of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping

from msgspec import structs

from manifold_common.domain.keys import KeyRecord
from manifold_common.domain.patience import check_wanted
from manifold_common.domain.tree import Tree, apply, misfit
from manifold_common.engine.objects import MISSING
from manifold_common.engine.tree_log import TreeLog, key_of_checkpoint
from manifold_common.errors import CorruptObject, NotFound, ObjectNotFound
from manifold_common.format.commit_object import ReadCheckpoint, ReadCommit
from manifold_common.format.key_record import MAX_KEY_RECORD_BYTES, decode_key_record
from manifold_common.format.layout import commit_key, project_prefix, wrapped_key_key
from manifold_common.format.places import Container, Places
from manifold_common.ids import Generation, ProjectId, TagName, TenantId
from manifold_common.ports.catalog import CheckpointRow, CommitRow, DamageRow, DraftRef, FoundDamage
from manifold_common.services.context import Context
from manifold_common.services.verification.damage_trace import DamageTrace, Touched
from manifold_common.services.verification.findings import Findings
from manifold_common.services.verification.look import FROM_NOTHING, LogStart, Look, Progress
from manifold_common.services.verification.object_check import ObjectCheck
from manifold_common.services.verification.references import References
from manifold_common.shapes.verification import Damage, VerifyReport

_PAGE = 1000


class Verification:
    """Used once, by one thread."""

    def __init__(
        self,
        context: Context,
        tenant: TenantId,
        project: ProjectId,
        head: Generation,
        look: Look,
        progress: Progress | None = None,
        gc_epoch: int = 0,
    ) -> None:
        """Args: ``gc_epoch``: before it begins, for whoever goes on from what it has seen."""
        self.tenant, self.project, self.gc_epoch = tenant, project, gc_epoch
        self._catalog, self._store, self._data_keys = context.catalog, context.store, context.keys
        self._look = look
        self._head = head
        self._end = head if look.last is None else min(look.last, head)
        self._progress = progress
        self._keys = context.keys.of(tenant, project)
        # Straight from the store: a good copy in the cache must not hide a bad object.
        self._objects = context.past_cache()
        self._log = TreeLog(context.catalog, context.keys, self._objects, context.workers)
        self._context = context
        self._known = {row.object: row for row in context.catalog.damaged_objects(tenant, project)}
        """What was damaged when it was looked at last: this look says whether it still is."""
        self._findings = Findings()
        self.references = References()
        self.rows: dict[str, CommitRow | DraftRef | CheckpointRow] = {}
        """Commit objects, drafts and checkpoints that were looked at, by their names in the store."""
        self._commits: dict[Generation, CommitRow] = {}
        self._hashes: list[bytes] = []
        """Of all generations, also of those that were removed; read when it is needed."""
        self._checkpoints: dict[Generation, CheckpointRow] = {}
        self._tags: dict[Generation, list[TagName]] = defaultdict(list)

    def run(self) -> VerifyReport:
        """Raises NotFound: the project is gone. Abandoned. Unavailable. QuotaExceeded. CorruptObject: its keys in the
        catalog do not open, so that nothing can be looked at."""
        if not self._look.after:
            self._check_keys()
        start = self._start()
        self._check_log(start)
        self._check_tags()
        self._check_drafts()
        check = ObjectCheck(self._context, self._objects, self._keys, self._findings, self.references, self._tell)
        folder = project_prefix(self.tenant, self.project) if self._is_all else None
        check.run(self._look, folder, self._known.keys() | self._look.suspects)
        found = self._findings
        return VerifyReport(
            project=self.project,
            generation=self._head,
            ok=not found.damaged,
            objects=len(self.references.blocks),
            chunks=self.references.chunk_count,
            unencrypted_objects=len(found.plain),
            unencrypted_bytes=sum(found.plain.values()),
            damaged=len(found.damaged),
            problems=self._told(start),
            **found.counts,
        )

    def found(self) -> list[FoundDamage]:
        return self._findings.found()

    def sound(self) -> list[DamageRow]:
        """Return what was said to be damaged, as it was said then, and is not."""
        return self._findings.sound(self._known, is_all=self._is_all)

    def can_read(self, row: CommitRow) -> bool:
        """Tell whether a commit object is, by now, what was published."""
        try:
            self._log.read_commit(self.tenant, self.project, row, self._keys)
        except CorruptObject:
            return False
        return True

    @property
    def has_all_references(self) -> bool:
        """Whether it knows what every generation refers to, and not those of a stretch alone."""
        return not self._look.after and self._is_newest

    @property
    def _is_newest(self) -> bool:
        return self._end == self._head

    @property
    def _is_all(self) -> bool:
        return self.has_all_references and self._look.pieces == 1

    def _tell(self, objects: int, size: int) -> None:
        check_wanted()
        if self._progress is not None:
            self._progress(objects, size)

    def _check_keys(self) -> None:
        for record in self._catalog.project_keys(self.tenant, self.project):
            name = wrapped_key_key(self.tenant, self.project, record.dek)
            self._findings.reads(name)
            try:
                stored = self._store.get(name, max_bytes=MAX_KEY_RECORD_BYTES)
                kept = decode_key_record(stored, self.tenant, self.project, record.dek)
                self._data_keys.unwrap(record)
                if kept.epoch != record.epoch:
                    raise CorruptObject(name, f"it is of epoch {kept.epoch}, and the catalog's of {record.epoch}")
                if kept.wrapped != record.wrapped:
                    self._check_kept(kept, name)
            except ObjectNotFound:
                self._findings.problem(CorruptObject(name, MISSING))
            except CorruptObject as error:
                self._findings.problem(error)

    def _check_kept(self, kept: KeyRecord, name: str) -> None:
        """Raises CorruptObject: the record in the bucket holds no key, whatever the catalog's does."""
        try:
            self._data_keys.unwrap(kept)
        except CorruptObject as error:
            raise CorruptObject(name, error.reason, hint=error.hint) from None

    # --- the log ----------------------------------------------------------------------------------------------------

    def _start(self) -> LogStart:
        until = Generation(self._look.after + 1)
        rows = self._catalog.list_commits(self.tenant, self.project, before=until, limit=1) if self._look.after else []
        if not rows:
            return FROM_NOTHING
        (row,) = rows
        self._commits[row.generation] = row
        try:
            before = self._log.load(self.tenant, self.project, row.generation)
        except CorruptObject:  # whoever looks at the stretch before says so
            return LogStart(row.generation, row.record_hash, None, {})
        return LogStart(row.generation, row.record_hash, dict(before.tree), before.places)

    def _check_log(self, start: LogStart) -> None:
        rows = self._catalog.list_checkpoints(self.tenant, self.project)
        checkpoints = {row.generation: row for row in rows}
        tree = None if start.tree is None else dict(start.tree)
        before = {one for one in start.containers() if one.seal().key not in self._look.suspects}
        last, expected = start.record_hash, start.generation + 1
        for row, found in self._each_commit():
            if row.generation != expected:
                # Those before it were removed: a checkpoint says what they had made.
                tree, last = None, self._removed_hash(Generation(row.generation - 1))
            expected = row.generation + 1
            key = self._commit_key(row)
            self._commits[row.generation] = self.rows[key] = row
            self._findings.reads(key)
            self._findings.count(commits=1)
            self._findings.note_plain(key, row.dek, row.object_bytes)
            places: Places = {}
            try:
                if isinstance(found, CorruptObject):
                    raise found
                if found.meta.parent_hash != last:
                    raise CorruptObject(key, "it does not follow the commit before it")
                if tree is not None and misfit(tree, found.changes) is not None:
                    raise CorruptObject(key, "it puts a path where there is no folder, or leaves one there")
                places = found.places
                if tree is not None:
                    apply(tree, found.changes)
            except CorruptObject as error:
                self._findings.problem(error, row.generation)
                tree = None
            last = row.record_hash
            checkpoint = checkpoints.get(row.generation)
            whole = None if checkpoint is None else self._check_checkpoint(checkpoint, tree, before)
            if whole is None:
                self.references.of_generation(places, row.generation, before)
            else:
                tree = whole  # and nobody reads where its commit says that content is
            self._tell(1, row.object_bytes)

    def _each_commit(self) -> Iterable[tuple[CommitRow, ReadCommit | CorruptObject]]:
        """Yield every commit of the stretch, oldest first, in pages that do not move while others commit."""
        rows: list[CommitRow] = []
        before = Generation(self._end + 1)
        while before > self._look.after + 1:
            page = self._catalog.list_commits(self.tenant, self.project, before=before, limit=_PAGE)
            rows += [row for row in page if row.generation > self._look.after]
            if len(page) < _PAGE:
                break
            before = page[-1].generation
        rows.reverse()
        return zip(rows, self._log.try_commits(self.tenant, self.project, rows), strict=True)

    def _removed_hash(self, generation: Generation) -> bytes:
        """Return the record hash of a generation that is not kept."""
        if not self._hashes:
            self._hashes = self._catalog.record_hashes(self.tenant, self.project, self._end)
        return self._hashes[generation - 1]

    def _commit_key(self, row: CommitRow) -> str:
        return commit_key(self.tenant, self.project, row.generation, row.commit)

    def _checkpoint_key(self, row: CheckpointRow) -> str:
        return key_of_checkpoint(self.tenant, self.project, row)

    def _check_checkpoint(self, row: CheckpointRow, tree: Tree | None, before: Collection[Container]) -> Tree | None:
        """Hold a checkpoint against the tree; return the tree that it says. ``None``: it does not count."""
        key = self._checkpoint_key(row)
        self._findings.reads(key)
        self._findings.count(checkpoints=1)
        self._findings.note_plain(key, row.dek, row.object_bytes)
        if not self._keys.trusts(row.dek):
            return None  # nobody reads it any more
        self._checkpoints[row.generation] = self.rows[key] = row
        try:
            found = self._log.read_checkpoint(self.tenant, self.project, row, self._keys)
            self.references.of_generation(found.places, row.generation, before)
            if tree is not None and found.changes.upserts != tree:
                raise CorruptObject(key, "its tree is not the one that the commits make")
        except CorruptObject as error:
            self._findings.problem(error, row.generation)
            return None
        return dict(found.changes.upserts)

    def _is_here(self, generation: Generation) -> bool:
        """Tell whether what stands on a generation is looked at with this stretch."""
        first = self._look.after + 1 if self._look.after else 0
        return first <= generation and (generation <= self._end or self._is_newest)

    def _check_tags(self) -> None:
        for tag in self._catalog.list_tags(self.tenant, self.project):
            if not self._is_here(tag.generation):
                continue
            name = f"{project_prefix(self.tenant, self.project)} at generation {tag.generation}"
            self._tags[tag.generation].append(tag.name)
            self._findings.reads(name)
            self._findings.count(tags=1)
            row = self._commit_at(tag.generation)
            if row is None or row.commit != tag.commit:
                error = CorruptObject(name, "a tag names another commit than the catalog has there")
                self._findings.problem(error, tag.generation, tags=(tag.name,))

    def _check_drafts(self) -> None:
        for row in self._catalog.drafted_sessions(self.tenant, self.project):
            draft = row.draft
            assert draft is not None
            base = Generation(draft.generation - 1)
            if not self._is_here(base):
                continue
            key = commit_key(self.tenant, self.project, draft.generation, draft.commit)
            self.rows[key] = draft
            self._findings.reads(key)
            self._findings.count(drafts=1)
            try:
                commit = self._log.read_commit(self.tenant, self.project, draft, self._keys)
                if commit.meta.parent_hash != self._record_hash(base):
                    raise CorruptObject(key, "it was not made on the generation that its session names")
            except CorruptObject as error:
                if self._is_draft(draft):
                    self._findings.problem(error, sessions=(row.session,))
                continue
            self.references.of_draft(commit.places, row.session)
            self._tell(1, draft.object_bytes)

    def _is_draft(self, draft: DraftRef) -> bool:
        """Tell whether a session still has this draft. One that was replaced goes after a while."""
        return any(row.draft == draft for row in self._catalog.drafted_sessions(self.tenant, self.project))

    def _record_hash(self, generation: Generation) -> bytes | None:
        if generation == 0:
            return b""
        row = self._commit_at(generation)
        return None if row is None else row.record_hash

    def _commit_at(self, generation: Generation) -> CommitRow | None:
        try:
            return self._commits.get(generation) or self._catalog.commit_at(self.tenant, self.project, generation)
        except NotFound:
            return None

    # --- what damage touches ----------------------------------------------------------------------------------------

    def _told(self, start: LogStart) -> list[Damage]:
        """Return what is wrong, with the generations, tags and paths that it touches."""
        problems = list(self._findings.problems)
        if not problems:
            return []
        touched, nothing = self._touched(start, {problem.object for problem in problems}), Touched()
        told = []
        for problem in problems:
            of = touched.get(problem.object, nothing)
            told.append(
                structs.replace(
                    problem,
                    last_generation=of.last_generation or problem.first_generation,
                    tags=problem.tags or of.named_tags(),
                    paths=of.named_paths(),
                )
            )
        return told

    def _touched(self, start: LogStart, damaged: set[str]) -> Mapping[str, Touched]:
        spoilt = {one: key for one in self.references.blocks if (key := one.seal().key) in damaged}
        trace = DamageTrace(start.tree, start.places, spoilt, damaged, self._tags)
        expected = start.generation + 1
        for row, found in self._each_commit():
            check_wanted()
            if row.generation != expected:
                trace.gap()
            expected = row.generation + 1
            checkpoint = self._checkpoints.get(row.generation)
            whole = None if checkpoint is None else self._read_whole(checkpoint, damaged)
            if whole is not None:
                trace.checkpoint(whole.changes.upserts, whole.places)
            elif isinstance(found, CorruptObject):
                trace.unreadable(self._commit_key(row))
            else:
                trace.commit(self._commit_key(row), found.changes, found.places)
            if checkpoint is not None and whole is None:
                trace.unreadable(self._checkpoint_key(checkpoint))
            trace.reached(row.generation)
        return trace.ended()

    def _read_whole(self, row: CheckpointRow, damaged: set[str]) -> ReadCheckpoint | None:
        if self._checkpoint_key(row) in damaged:
            return None
        try:
            return self._log.read_checkpoint(self.tenant, self.project, row, self._keys)
        except CorruptObject:  # only since it was looked at
            return None
