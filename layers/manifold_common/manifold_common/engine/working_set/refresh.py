"""A working set goes on to another generation, in place.

Only paths that differ between the two trees are looked at. Where the working set has changes of its own there, they are
merged by the rules of a commit; a conflict leaves everything as it was. New content is first written aside, all of it,
then renamed into place: an agent sees each file old or new, and a full RAM folder is found before anything changed.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from manifold_common.domain.conflict import Strategy, dropped, rebase
from manifold_common.domain.paths import ROOT, ancestors_of, parent_of, to_display
from manifold_common.domain.tree import DIRECTORY, Changes, Entry, Tree, between, significant
from manifold_common.engine.block_reader import BlockReader
from manifold_common.engine.tree_log import Snapshot
from manifold_common.engine.working_set import closed_folders
from manifold_common.engine.working_set.folders import Folders, open_root, translate
from manifold_common.engine.working_set.location import Location
from manifold_common.engine.working_set.materialise import finish_folder, materialise
from manifold_common.engine.working_set.scan import ScanResult, Stamp, probe
from manifold_common.engine.working_set.scope import Scope
from manifold_common.engine.working_set.state import Trust, WorkingState
from manifold_common.errors import SessionBusy
from manifold_common.format.chunker import Chunker

_NOTHING = Entry(-1, 0, 0, 0, b"")
"""Equals no entry that there can be."""


def _with_what_is_below(before: Tree, mine: Changes) -> Changes:
    """Return changes that were looked for at single paths, with the removal of what was below what is no folder now."""
    walls = mine.deletes | {path for path, entry in mine.upserts.items() if entry.kind != DIRECTORY}
    gone = {path for path in before if any(folder in walls for folder in ancestors_of(path))}
    return Changes(mine.upserts, mine.deletes | (gone - mine.upserts.keys()))


KeepDropped = Callable[[int, Changes], None]
"""Called with the working set's folder, as a descriptor, and with what of it is about to be dropped: as changes to the
target, of which the folder has the content."""


class Refreshed(NamedTuple):
    state: WorkingState
    conflicts: list[bytes]
    """With ``Strategy.FAIL``, a conflict means that nothing was changed."""
    written: int
    removed: int


def refresh(
    location: Location,
    state: WorkingState,
    target: Snapshot,
    reader: BlockReader,
    chunker: Chunker,
    strategy: Strategy,
    begin: Callable[[], None],
    keep: KeepDropped,
) -> Refreshed:
    """Bring the working set from ``state.base`` to ``target`` (newer or older). Hold its lock.

    Args:
        begin: called when everything is ready, right before the first file changes.
        keep: called before that where the strategy ``THEIRS`` drops work. What is edited after it was looked at is not
            replaced, so what ``keep`` reads is what goes, or newer.

    Raises:
        NoSpace: the new content does not fit; nothing was changed.
        SessionBusy: a file changed while it was about to be replaced; checking out again goes on from there.
    """
    return _Refresh(location, state, target, reader, chunker).run(strategy, begin, keep)


class _Refresh:
    def __init__(
        self, location: Location, state: WorkingState, target: Snapshot, reader: BlockReader, chunker: Chunker
    ) -> None:
        self._location = location
        self._state = state
        self._target = target
        self._reader = reader
        self._chunker = chunker
        self._renamed: set[int] = set()
        """Files with several names that have lost one of them here, which the kernel stamps as a change."""

    def run(self, strategy: Strategy, begin: Callable[[], None], keep: KeepDropped) -> Refreshed:
        state, target = self._state, self._target
        before, after = self._in_scope()
        theirs = between(before, after)
        theirs.deletes.discard(ROOT)  # generation 0 has none; the working set stays
        root = open_root(self._location.work)
        try:
            found = self._look(root, theirs, before)
            mine = found.changes
            conflicts = rebase(before, mine, theirs, strategy).conflicts
            if conflicts and strategy is Strategy.FAIL:
                return Refreshed(state, conflicts, 0, 0)
            if conflicts and strategy is Strategy.THEIRS:
                lost = dropped(before, _with_what_is_below(before, mine), theirs, after)
                if lost:
                    keep(root, lost)
            wanted = self._to_apply(before, theirs, mine, conflicts, strategy)
            self._apply(root, wanted, found.stamps, self._closed(before, mine, wanted), begin)
            self._settle_folders(root, theirs, mine, wanted, after)
        finally:
            os.close(root)
        # Where ours stays, it differs from the new base: there content will be compared.
        ours = (state.trust.exceptions | mine.paths()) - wanted.paths()
        kept = WorkingState(target, Trust(state.trust.before_ns, ours, state.trust.folders), state.scope)
        return Refreshed(kept, conflicts, len(wanted.upserts), len(wanted.deletes))

    def _in_scope(self) -> tuple[Tree, Tree]:
        scope = Scope(self._state.scope)
        return scope.select(self._state.base.tree), scope.select(self._target.tree)

    def _look(self, root: int, theirs: Changes, before: Tree) -> ScanResult:
        """Return what the working set has of its own, wherever ``theirs`` would touch it."""
        paths = theirs.paths()
        for path in theirs.upserts:
            paths.update(folder for folder in ancestors_of(path) if folder in before)
        paths.update(folder for folder in map(parent_of, theirs.deletes) if folder in before)
        # Where theirs has no folder any more, or never had one, ours may have: with something in it.
        walls = theirs.deletes | {path for path, entry in theirs.upserts.items() if entry.kind != DIRECTORY}
        top = [path for path in walls if parent_of(path) not in walls]
        return probe(root, before, paths, top, chunker=self._chunker)

    def _to_apply(
        self, before: Tree, theirs: Changes, mine: Changes, conflicts: list[bytes], strategy: Strategy
    ) -> Changes:
        contested = set(conflicts)
        keep_ours: set[bytes] = set()
        if strategy is Strategy.OURS:
            keep_ours = contested | {
                folder
                for path in contested & mine.upserts.keys()
                for folder in ancestors_of(path)
                if folder in theirs.upserts and theirs.upserts[folder].kind != DIRECTORY
            }
        gone = mine.deletes | {path for path, entry in mine.upserts.items() if entry.kind != DIRECTORY}
        real = significant(before, theirs).upserts

        def is_past(path: bytes) -> bool:
            """Theirs is only the new time of a folder that ours no longer has: it is not made again for that."""
            return path not in real and (path in gone or any(folder in gone for folder in ancestors_of(path)))

        upserts = {path: entry for path, entry in theirs.upserts.items() if path not in keep_ours and not is_past(path)}
        deletes = {path for path in theirs.deletes if path not in keep_ours and path not in mine.deletes}
        if strategy is Strategy.THEIRS:
            deletes.update(path for path in contested if path in mine.upserts and path not in theirs.upserts)
            for path in contested & theirs.upserts.keys():
                for folder in ancestors_of(path):
                    entry = before.get(folder)
                    if folder not in upserts and entry is not None and folder in mine.paths():
                        upserts[folder] = entry
        return Changes(upserts, deletes)

    @staticmethod
    def _closed(before: Tree, mine: Changes, wanted: Changes) -> dict[bytes, int]:
        """Return the modes of the folders that have to be opened for what is to be done in them."""
        folders = set(map(parent_of, wanted.paths() - {ROOT}))
        found = {folder: mine.upserts.get(folder) or before.get(folder) for folder in folders - mine.deletes}
        return {
            folder: entry.mode
            for folder, entry in found.items()
            if entry is not None and entry.kind == DIRECTORY and closed_folders.is_closed(entry.mode)
        }

    def _apply(
        self,
        root: int,
        wanted: Changes,
        stamps: dict[bytes, Stamp],
        closed: dict[bytes, int],
        begin: Callable[[], None],
    ) -> None:
        staged = self._stage(wanted)
        try:
            begin()
            stage = os.open(self._location.stage, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                with closed_folders.opened(self._location, root, closed), Folders(root) as opened:
                    for path in sorted(wanted.deletes, reverse=True):
                        self._remove(opened, path, stamps)
                    for path in sorted(wanted.upserts):
                        entry = wanted.upserts[path]
                        if entry.kind == DIRECTORY:
                            self._make_folder(opened, path, entry, stamps)
                        else:
                            self._put(opened, stage, staged[path], path, stamps)
            finally:
                os.close(stage)
        finally:
            shutil.rmtree(self._location.stage, ignore_errors=True)

    def _stage(self, wanted: Changes) -> dict[bytes, bytes]:
        """Write new content aside; return the name each path has there."""
        location = self._location
        try:
            shutil.rmtree(location.stage, ignore_errors=True)
            os.mkdir(location.stage, 0o700)
            names: dict[bytes, bytes] = {}
            entries: dict[bytes, Entry] = {}
            for path, entry in wanted.upserts.items():
                if entry.kind != DIRECTORY:
                    names[path] = b"%d" % len(names)
                    entries[names[path]] = entry
            stage = open_root(location.stage)
            try:
                materialise(stage, entries, self._target.places, self._reader)
            finally:
                os.close(stage)
        except OSError as error:
            raise translate(error, os.fsencode(location.stage)) from None
        except BaseException:
            shutil.rmtree(location.stage, ignore_errors=True)
            raise
        return names

    def _remove(self, opened: Folders, path: bytes, stamps: dict[bytes, Stamp]) -> None:
        try:
            parent, name = opened.split(path)
            if stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
                opened.forget(path)
                with suppress(OSError):
                    os.rmdir(name, dir_fd=parent)  # where something of ours is left in it, it stays
            else:
                self._hold_still(parent, name, path, stamps)
                os.unlink(name, dir_fd=parent)
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError as error:
            raise translate(error, path) from None

    def _make_folder(self, opened: Folders, path: bytes, entry: Entry, stamps: dict[bytes, Stamp]) -> None:
        if path == ROOT:
            return
        try:
            parent, name = opened.split(path)
            try:
                os.mkdir(name, entry.mode | 0o700, dir_fd=parent)
            except FileExistsError:
                if stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
                    return
                self._hold_still(parent, name, path, stamps)
                os.unlink(name, dir_fd=parent)
                os.mkdir(name, entry.mode | 0o700, dir_fd=parent)
        except OSError as error:
            raise translate(error, path) from None

    def _put(self, opened: Folders, stage: int, staged: bytes, path: bytes, stamps: dict[bytes, Stamp]) -> None:
        try:
            parent, name = opened.split(path)
            with suppress(FileNotFoundError):
                if stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
                    opened.forget(path)
                    os.rmdir(name, dir_fd=parent)
                else:
                    self._hold_still(parent, name, path, stamps)
            os.rename(staged, name, src_dir_fd=stage, dst_dir_fd=parent)
        except OSError as error:
            raise translate(error, path) from None

    def _hold_still(self, parent: int, name: bytes, path: bytes, stamps: dict[bytes, Stamp]) -> None:
        """Raise SessionBusy when the file is no longer the one that was looked at. It is about to lose this name."""
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
        seen, now = stamps.get(path), Stamp.of(status)
        if seen is not None and now.inode in self._renamed:
            seen = seen._replace(ctime_ns=now.ctime_ns)
        if status.st_nlink > 1:
            self._renamed.add(now.inode)
        if seen != now:
            raise SessionBusy(
                f"{to_display(path)!r} changed while it was about to be replaced",
                hint="check the session out again: it goes on from where it stopped",
                path=to_display(path),
            )

    def _settle_folders(self, root: int, theirs: Changes, mine: Changes, wanted: Changes, after: Tree) -> None:
        """Undo what writing did to the times of folders, and give them their new modes."""
        touched = {parent_of(path) for path in wanted.paths()}
        touched.update(path for path, entry in wanted.upserts.items() if entry.kind == DIRECTORY)
        before = self._state.base.tree
        with Folders(root) as opened:
            for path in sorted(touched, reverse=True):
                entry = after.get(path)
                if entry is None or entry.kind != DIRECTORY:
                    continue
                ours = mine.upserts.get(path)
                if ours is not None and path not in theirs.upserts:
                    continue
                first = before.get(path, _NOTHING)
                if ours is not None and ours.kind == DIRECTORY and not ours.same_but_time(first):
                    theirs_counts = path in wanted.upserts and not entry.same_but_time(first)
                    entry = entry if theirs_counts else entry._replace(mode=ours.mode)
                finish_folder(opened, path, entry)
