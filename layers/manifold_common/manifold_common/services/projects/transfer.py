"""Whole directories in and out: import a folder as one commit, export a generation to a folder."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from manifold_common.domain.access import Principal
from manifold_common.domain.arguments import checked_flag
from manifold_common.domain.paths import ROOT
from manifold_common.domain.quota import Limits
from manifold_common.domain.tree import Changes, Entry, is_significant, totals
from manifold_common.domain.wording import plural
from manifold_common.engine.pack_writer import NewContent, PackWriter
from manifold_common.engine.tree_log import Snapshot
from manifold_common.engine.working_set.folders import open_root, translate
from manifold_common.engine.working_set.materialise import materialise
from manifold_common.engine.working_set.ram import free_bytes
from manifold_common.engine.working_set.removal import remove_tree
from manifold_common.engine.working_set.scan import FolderIdentity, Progress, ScanResult, scan
from manifold_common.engine.working_set.state import NO_TRUST
from manifold_common.errors import AlreadyExists, InvalidInput, NoSpace
from manifold_common.ids import CommitId, Generation, ProjectId, SessionId
from manifold_common.services.context import Context
from manifold_common.services.projects.edits import Edits
from manifold_common.services.projects.history import History
from manifold_common.shapes.changes import ExportedFolder, ImportedFolder
from manifold_common.shapes.intent import NO_INTENT, Intent
from manifold_common.shapes.losses import not_kept
from manifold_common.shapes.path import TreePath, listed


class Publication(NamedTuple):
    """How an import's changes were published."""

    generation: Generation
    commit: CommitId | None
    conflicts: list[TreePath]
    kept: list[SessionId]


class Transfer:
    """Args: ``own_folders``: where Manifold keeps its keys, database, store and cache. They are never imported."""

    def __init__(self, context: Context, history: History, edits: Edits, own_folders: Sequence[Path]) -> None:
        self._context = context
        self._history = history
        self._edits = edits
        self._own_folders = own_folders

    def import_folder(
        self,
        principal: Principal,
        project: ProjectId,
        folder: Path,
        intent: Intent = NO_INTENT,
        *,
        keep: bool = False,
        progress: Progress | None = None,
    ) -> ImportedFolder:
        """Make the project's tree equal to ``folder``, as one commit.

        Args:
            keep: leave alone what the project has and the folder has not.

        Raises:
            InvalidInput: no such folder, or Manifold's own. QuotaExceeded; others as ``Edits.apply``. Nothing is
                committed then.
        """
        checked_flag(keep, "keep")
        context = self._context
        base = self._edits.base(principal, project, intent.expected)
        with opened_source(folder, self._own_folders) as source, context.pack_writer(base) as writer:
            incoming = read_source(source, base, writer, context.policy.limits, keep=keep, progress=progress)
        done = Publication(base.head.generation, None, [], [])
        if incoming.is_news:
            edited = self._edits.publish(
                principal,
                base,
                incoming.changes,
                incoming.content,
                intent.or_message(f"import {folder.name}"),
                incoming.new_bytes,
            )
            done = Publication(edited.generation, edited.commit, edited.conflicts, edited.kept)
        return imported(incoming, done)

    def export(
        self,
        principal: Principal,
        project: ProjectId,
        destination: Path,
        generation: Generation | None = None,
        *,
        progress: Progress | None = None,
    ) -> ExportedFolder:
        """Write a generation into a folder that is empty or does not exist.

        This leaves Manifold: the folder is plaintext, wherever it lies.

        Raises:
            AlreadyExists: the folder has something in it. NoSpace: it would not fit; nothing was written.
        """
        snapshot = self._history.snapshot(principal, project, generation)
        with new_folder(destination, snapshot.tree) as root:
            reader = self._context.block_reader(snapshot.tenant, snapshot.project)
            materialise(root, snapshot.tree, snapshot.places, reader, progress)
        return exported(snapshot, destination)


def exported(snapshot: Snapshot, destination: Path) -> ExportedFolder:
    """Return the answer to an export."""
    size, files = totals(snapshot.tree)
    return ExportedFolder(
        project=snapshot.project,
        generation=snapshot.head.generation,
        path=str(destination.absolute()),
        entries=files,
        total_bytes=size,
    )


class Incoming(NamedTuple):
    """A folder that was read, its new content stored."""

    base: Snapshot
    changes: Changes
    """To the base."""
    content: NewContent
    new_bytes: int
    found: ScanResult

    @property
    def is_news(self) -> bool:
        """An empty folder is a first commit too; and where content was stored, the tree stands or its content does."""
        is_first = ROOT not in self.base.tree
        return is_first or bool(self.content.chunks) or is_significant(self.base.tree, self.changes)


def read_source(
    source: Source, base: Snapshot, writer: PackWriter, limits: Limits, *, keep: bool, progress: Progress | None
) -> Incoming:
    """Compare a folder with ``base``, and store what that has not. Raises as ``scan``."""
    found = scan(
        source.root,
        base.tree,
        NO_TRUST,
        chunker=writer.chunker,
        add=writer.add,
        limits=limits,
        progress=progress,
        without=source.own,
    )
    changes, content = Changes(found.changes.upserts, set()) if keep else found.changes, writer.finish()
    return Incoming(base, base.with_stored_anew(changes, content.chunks.keys()), content, writer.new_bytes, found)


def imported(incoming: Incoming, done: Publication) -> ImportedFolder:
    """Return the answer to an import. Args: ``done``: how the folder's changes were published."""
    base, found = incoming.base, incoming.found
    size = sum(entry.size for entry in found.changes.upserts.values())
    size += sum(base.tree[path].size for path in found.seen if path not in found.changes.upserts)
    return ImportedFolder(
        project=base.project,
        generation=done.generation,
        commit=done.commit,
        entries=len(found.seen) - 1,
        total_bytes=size,
        new_bytes=incoming.new_bytes,
        skipped=listed(found.skipped),
        unstable=listed(found.unstable),
        left_out=listed(found.left_out),
        conflicts=done.conflicts,
        kept=done.kept,
        not_kept=not_kept(found.losses),
    )


class Source(NamedTuple):
    """A folder that is imported."""

    root: int
    """Its descriptor."""
    own: frozenset[FolderIdentity]
    """Manifold's own folders, which may be in it."""


@contextmanager
def opened_source(folder: Path, own_folders: Sequence[Path]) -> Iterator[Source]:
    """Open a folder to import. Raises InvalidInput: it is none, or Manifold's own."""
    if not folder.is_dir():
        raise InvalidInput(f"{folder} is not a folder", hint="name a folder that exists")
    own = _identities(own_folders)
    root = open_root(os.path.realpath(folder))
    try:
        if FolderIdentity.of(os.fstat(root)) in own:
            raise InvalidInput(
                f"{folder} is where Manifold keeps its own data",
                hint="import another folder, or set WORKDIR to one that holds nothing else",
            )
        yield Source(root, own)
    finally:
        os.close(root)


def _identities(folders: Sequence[Path]) -> frozenset[FolderIdentity]:
    """Return what those of ``folders`` are that exist."""
    found = set()
    for folder in folders:
        with suppress(OSError):
            found.add(FolderIdentity.of(folder.stat()))
    return frozenset(found)


@contextmanager
def new_folder(destination: Path, tree: Mapping[bytes, Entry]) -> Iterator[int]:
    """Make a folder for an export, where there is none, and yield its descriptor.

    Where the work within fails or is interrupted, nothing of it is left: neither of the tree nor of new folders.

    Raises:
        AlreadyExists: it has something in it. NoSpace: the tree would not fit.
    """
    size, _ = totals(tree)
    new = [folder for folder in (destination, *destination.parents) if not folder.exists()]
    try:
        destination.mkdir(parents=True, exist_ok=True)
        if any(destination.iterdir()):
            raise AlreadyExists(f"{destination} is not empty", hint="name a new folder")
    except OSError as error:
        raise translate(error, os.fsencode(destination)) from None
    path = os.path.realpath(destination)
    try:
        free = free_bytes(destination)
        if size > free:
            raise NoSpace(
                f"the project has {plural(size, 'byte')} and {destination} has room for {free}", hint="make room"
            )
        root = open_root(path)
        try:
            yield root
        finally:
            os.close(root)
    except BaseException:
        for name in {name.partition(b"/")[0] for name in tree if name != ROOT}:
            remove_tree(os.path.join(path, os.fsdecode(name)))
        with suppress(OSError):  # somebody else has put something there
            for folder in new:
                folder.rmdir()
        raise
