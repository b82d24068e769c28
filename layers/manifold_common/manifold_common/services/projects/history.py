"""Reading what was committed: trees, files, log, differences. Any retained generation, nothing changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from manifold_common.domain.access import Principal
from manifold_common.domain.arguments import checked_bytes, checked_generation, optional_generation
from manifold_common.domain.history import Point
from manifold_common.domain.nearest_paths import path_hint
from manifold_common.domain.paths import ROOT, to_display
from manifold_common.domain.tree import DIRECTORY, FILE, SYMLINK, Difference, Entry, chunk_ids, differences, etag_of
from manifold_common.engine.commit_writer import decode_note
from manifold_common.engine.tree_log import Snapshot
from manifold_common.errors import CorruptObject, InvalidInput, NotFound
from manifold_common.format.buffers import Buffer
from manifold_common.format.places import Place
from manifold_common.ids import ChunkId, Generation, ProjectId
from manifold_common.ports.catalog import CommitRow
from manifold_common.services.context import Context
from manifold_common.services.projects.projects import Projects
from manifold_common.shapes.history import Commit

MAX_PAGE = 1000


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

    def list_tree(
        self,
        principal: Principal,
        project: ProjectId,
        folder: bytes = ROOT,
        generation: Generation | None = None,
        *,
        recursive: bool = False,
    ) -> Listing:
        """Return what is in a folder, or everything below it.

        Raises:
            NotFound: no such folder. InvalidInput: it is not a folder.
        """
        snapshot = self.snapshot(principal, project, generation)
        if checked_bytes(folder, "folder") != ROOT:
            entry = self.entry_of(snapshot, folder)
            if entry.kind != DIRECTORY:
                raise InvalidInput(f"{to_display(folder)!r} is not a folder")
        prefix = folder + b"/" if folder else b""
        cut = len(prefix)
        found = [
            (path, entry)
            for path, entry in snapshot.tree.items()
            if path and path.startswith(prefix) and (recursive or path.find(b"/", cut) < 0)
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

    def log(
        self, principal: Principal, project: ProjectId, *, before: Generation | None = None, limit: int = 100
    ) -> list[Commit]:
        """Return up to ``limit`` (at most MAX_PAGE) commits, newest first, those before ``before``."""
        self._projects.get(principal, project)
        limit = max(1, min(limit, MAX_PAGE))
        rows = self._context.catalog.list_commits(
            principal.tenant, project, before=optional_generation(before, "before"), limit=limit
        )
        return [self._entry(principal, project, row) for row in rows]

    def commit(self, principal: Principal, project: ProjectId, generation: Generation) -> Commit:
        """Raises NotFound."""
        self._projects.get(principal, project)
        row = self._context.catalog.commit_at(principal.tenant, project, checked_generation(generation, "generation"))
        return self._entry(principal, project, row)

    def diff(self, principal: Principal, project: ProjectId, before: Generation, after: Generation) -> list[Difference]:
        """Return what differs between two generations, by path."""
        first = self.snapshot(principal, project, before)
        second = self.snapshot(principal, project, after)
        return differences(first.tree, second.tree)

    def _entry(self, principal: Principal, project: ProjectId, row: CommitRow) -> Commit:
        note = decode_note(self._context.keys.of(principal.tenant, project), principal.tenant, project, row)
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
