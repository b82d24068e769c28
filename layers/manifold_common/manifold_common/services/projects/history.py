"""Reading what was committed: trees, files, log, differences. Any retained generation, nothing changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from manifold_common.domain.access import Principal
from manifold_common.domain.arguments import checked_bytes, checked_generation, listed_paths, optional_generation
from manifold_common.domain.history import Point
from manifold_common.domain.listing import EVERY_COMMIT, EVERY_ENTRY, CommitFilter, TreeFilter
from manifold_common.domain.nearest_paths import path_hint
from manifold_common.domain.paths import ROOT, check_path, to_display
from manifold_common.domain.tree import DIRECTORY, FILE, SYMLINK, Difference, Entry, chunk_ids, differences, etag_of
from manifold_common.engine.commit_writer import Note, decode_note
from manifold_common.engine.tree_log import Snapshot
from manifold_common.engine.working_set.scope import Scope
from manifold_common.errors import CorruptObject, GenerationGone, InvalidInput, NotFound
from manifold_common.format.buffers import Buffer
from manifold_common.format.places import Place
from manifold_common.ids import ChunkId, Generation, ProjectId
from manifold_common.ports.catalog import CommitRow
from manifold_common.services.context import Context
from manifold_common.services.projects.commit_search import search
from manifold_common.services.projects.projects import Projects
from manifold_common.services.projects.read_files import read_files
from manifold_common.shapes.files import FileContents
from manifold_common.shapes.history import Commit

MAX_PAGE = 2000


@dataclass(frozen=True, slots=True)
class Listing:
    """Entries of one generation, by path."""

    point: Point
    made_at: datetime | None
    """When that generation was; ``None`` for generation 0."""
    entries: list[tuple[bytes, Entry]]

    @property
    def generation(self) -> Generation:
        return self.point.generation


class LogPage(NamedTuple):
    entries: list[Commit]
    before: Generation | None
    """Go on before this one; ``None``: there is nothing more."""


class Comparison(NamedTuple):
    before: Point
    after: Point
    differences: list[Difference]
    """By path."""


class OpenFile:
    """One file of one generation, read in pieces: memory stays bounded however large it is."""

    def __init__(self, context: Context, snapshot: Snapshot, path: bytes, entry: Entry) -> None:
        self.path = path
        self.entry = entry
        self.point = snapshot.head.point
        self.made_at = snapshot.head.committed_at
        self._reader = context.block_reader(snapshot.tenant, snapshot.project)
        self._places: list[tuple[ChunkId, Place]] = []
        for chunk in chunk_ids(entry):
            place = snapshot.places.get(chunk)
            if place is None:
                raise CorruptObject(to_display(path), "no object is known to hold its content")
            self._places.append((chunk, place))

    @property
    def generation(self) -> Generation:
        return self.point.generation

    @property
    def size(self) -> int:
        return self.entry.size

    @property
    def etag(self) -> str:
        return etag_of(self.entry)

    def read(self, start: int = 0, length: int | None = None) -> Iterator[Buffer]:
        """Yield the bytes from ``start``, at most 4 MiB at a time."""
        end = self.size if length is None else min(self.size, start + length)
        at = 0
        for chunk, place in self._places:
            if at >= end:
                return
            if at + place.length > start:
                raw = memoryview(self._reader.read_one(place.block, {chunk: place}))
                first = place.offset + max(0, start - at)
                last = place.offset + min(place.length, end - at)
                yield raw[first:last]
            at += place.length


class History:
    def __init__(self, context: Context, projects: Projects) -> None:
        self._context = context
        self._projects = projects

    def snapshot(self, principal: Principal, project: ProjectId, generation: Generation | None = None) -> Snapshot:
        """Return the tree of a generation (``None``: the head). Raises NotFound, InvalidInput."""
        self._projects.get(principal, project)
        return self._context.log.load(principal.tenant, project, optional_generation(generation, "generation"))

    def pinned(self, principal: Principal, project: ProjectId, point: Point) -> Snapshot:
        """Return the tree of a generation that was seen. Raises NotFound: no such project; GenerationGone."""
        self._projects.get(principal, project)
        try:
            found = self._context.log.load(principal.tenant, project, point.generation)
        except NotFound:
            raise _gone(point) from None
        if found.head.commit != point.commit:
            raise _gone(point)
        return found

    def list_tree(
        self,
        principal: Principal,
        project: ProjectId,
        folder: bytes = ROOT,
        generation: Generation | None = None,
        *,
        recursive: bool = False,
        wanted: TreeFilter = EVERY_ENTRY,
        pinned: Point | None = None,
    ) -> Listing:
        """Return what is in a folder, or everything below it.

        Args:
            pinned: the generation, where the caller has seen it.

        Raises:
            NotFound: no such folder. InvalidInput: it is not a folder, or the glob is no pattern. GenerationGone.
            QuotaExceeded: so many paths cannot be held against such a glob.
        """
        snapshot = (
            self.snapshot(principal, project, generation) if pinned is None else self.pinned(principal, project, pinned)
        )
        if checked_bytes(folder, "folder") != ROOT:
            entry = self.entry_of(snapshot, folder)
            if entry.kind != DIRECTORY:
                raise InvalidInput(f"{to_display(folder)!r} is not a folder")
        prefix = folder + b"/" if folder else b""
        cut = len(prefix)
        tree = snapshot.tree
        paths = tree if wanted.glob is None else Scope((wanted.glob,)).matching(tree)
        found = [
            (path, tree[path])
            for path in paths
            if path
            and path.startswith(prefix)
            and (recursive or path.find(b"/", cut) < 0)
            and wanted.kind in (None, tree[path].kind)
        ]
        return Listing(snapshot.head.point, snapshot.head.committed_at, sorted(found))

    def entry_of(self, snapshot: Snapshot, path: bytes) -> Entry:
        """Raises NotFound, InvalidInput."""
        entry = snapshot.tree.get(checked_bytes(path, "path"))
        if entry is None:
            raise NotFound(
                f"generation {snapshot.head.generation} has no {to_display(path)!r}",
                hint=path_hint(snapshot.tree, path),
            )
        return entry

    def open_file(
        self, principal: Principal, project: ProjectId, path: bytes, generation: Generation | None = None
    ) -> OpenFile:
        """Raises NotFound: no such file. InvalidInput: a folder or a link."""
        snapshot = self.snapshot(principal, project, generation)
        entry = self.entry_of(snapshot, path)
        if entry.kind != FILE:
            what = {DIRECTORY: "a folder", SYMLINK: f"a link to {to_display(entry.content)!r}"}[entry.kind]
            raise InvalidInput(f"{to_display(path)!r} is {what}, not a file")
        return OpenFile(self._context, snapshot, path, entry)

    def read_files(
        self, principal: Principal, project: ProjectId, paths: Sequence[bytes], generation: Generation | None = None
    ) -> FileContents:
        """Return what stands at each of ``paths``, with the content of files, as far as an answer holds it.

        Raises NotFound: no such project or generation. UnsafePath.
        """
        wanted = [check_path(path) for path in listed_paths(paths, "paths")]
        return read_files(self._context, self.snapshot(principal, project, generation), wanted)

    def log(
        self, principal: Principal, project: ProjectId, *, before: Generation | None = None, limit: int = 100
    ) -> list[Commit]:
        """Return up to ``limit`` (at most MAX_PAGE) commits, newest first, those before ``before``."""
        return self.log_page(principal, project, before=before, limit=limit).entries

    def log_page(
        self,
        principal: Principal,
        project: ProjectId,
        wanted: CommitFilter = EVERY_COMMIT,
        *,
        before: Generation | None = None,
        limit: int = 100,
    ) -> LogPage:
        """Return up to ``limit`` (at most MAX_PAGE) commits that are wanted, newest first, those before ``before``.

        What is sealed is searched for in steps (``commit_search``): there may be fewer, and more after them.
        """
        self._projects.get(principal, project)
        limit = max(1, min(limit, MAX_PAGE))
        before = optional_generation(before, "before")
        if wanted.is_sealed:
            found = search(self._context, principal, project, wanted, before, limit)
            return LogPage([_entry(row, note) for row, note in found.commits], found.before)
        rows = self._context.catalog.list_commits(
            principal.tenant, project, wanted=wanted, before=before, limit=limit + 1
        )
        entries = [self._entry(principal, project, row) for row in rows[:limit]]
        return LogPage(entries, entries[-1].generation if len(rows) > limit else None)

    def commit(self, principal: Principal, project: ProjectId, generation: Generation) -> Commit:
        """Raises NotFound."""
        self._projects.get(principal, project)
        row = self._context.catalog.commit_at(principal.tenant, project, checked_generation(generation, "generation"))
        return self._entry(principal, project, row)

    def diff(self, principal: Principal, project: ProjectId, before: Generation, after: Generation) -> list[Difference]:
        """Return what differs between two generations, by path."""
        return self.compare(principal, project, before, after).differences

    def compare(self, principal: Principal, project: ProjectId, before: Generation, after: Generation) -> Comparison:
        """Return what differs between two generations. Raises NotFound."""
        return _compared(self.snapshot(principal, project, before), self.snapshot(principal, project, after))

    def compare_pinned(self, principal: Principal, project: ProjectId, before: Point, after: Point) -> Comparison:
        """Return what differs between two generations that were seen. Raises NotFound: no such project; GenerationGone:
        one of them is."""
        return _compared(self.pinned(principal, project, before), self.pinned(principal, project, after))

    def _entry(self, principal: Principal, project: ProjectId, row: CommitRow) -> Commit:
        note = decode_note(self._context.keys.of(principal.tenant, project), principal.tenant, project, row)
        return _entry(row, note)


def _entry(row: CommitRow, note: Note) -> Commit:
    return Commit(
        generation=row.generation,
        id=row.commit,
        parent=row.parent,
        author=row.author,
        session=row.session,
        created_at=row.created_at,
        message=note.message,
        provenance=note.provenance,
        added=note.added,
        modified=note.modified,
        deleted=note.deleted,
        new_bytes=note.new_bytes,
    )


def _compared(first: Snapshot, second: Snapshot) -> Comparison:
    return Comparison(first.head.point, second.head.point, differences(first.tree, second.tree))


def _gone(point: Point) -> GenerationGone:
    return GenerationGone(
        f"generation {point.generation} is not there any more, as it was when the list began",
        hint="begin the list again, without a cursor",
        generation=point.generation,
    )
