"""What changed in a folder since its state was taken.

Every folder is opened by descriptor and never through a link. Files that the state vouches for (``state.Trust``) are
not read; everything else is compared by content, and so is whatever is about to be replaced. Sockets, FIFOs and devices
are skipped and reported.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from manifold_common.domain.losses import Losses
from manifold_common.domain.paths import MAX_PATH_BYTES, ROOT, ancestors_of, parent_of, to_display
from manifold_common.domain.patience import check_wanted
from manifold_common.domain.quota import UNLIMITED, Limits
from manifold_common.domain.tree import DIRECTORY, FILE, MODE_MASK, SYMLINK, Changes, Entry, Tree, kept_time
from manifold_common.engine.working_set.folders import Folders, translate
from manifold_common.engine.working_set.ignore import IGNORE_FILE, IgnoreFiles, IgnoreRules
from manifold_common.engine.working_set.loss_finder import LossFinder
from manifold_common.engine.working_set.state import NO_TRUST, Trust
from manifold_common.errors import QuotaExceeded, UnsafePath
from manifold_common.format.buffers import Buffer
from manifold_common.format.chunker import WHOLE_FILE_BYTES, Chunker
from manifold_common.ids import ChunkId

MAX_TARGET_BYTES = 128 << 20
"""Of all new links' targets together. A hundred thousand links with targets of 100 bytes have 10 MB."""
MAX_FOLDER_PATH_BYTES = 512 << 20
"""Of all folders' paths, each counted for every item in it: what a tree that is both deep and wide takes of memory."""
_READ_TRIES = 3
_IGNORE_NAME = os.fsdecode(IGNORE_FILE)
_READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Stamp(NamedTuple):
    """What tells one state of a file from another."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int

    @classmethod
    def of(cls, status: os.stat_result) -> Stamp:
        return cls(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


@dataclass(slots=True)
class ScanResult:
    changes: Changes
    seen: set[bytes]
    """Every path that is there, the root included."""
    skipped: list[bytes] = field(default_factory=list)
    """Sockets, FIFOs and devices."""
    unstable: list[bytes] = field(default_factory=list)
    """Files that changed while they were read; what was read is kept, and they are read again next time."""
    losses: Losses = field(default_factory=Losses)
    """What is not kept of changed files and new folders; without a state that vouches for anything, of all."""
    left_out: list[bytes] = field(default_factory=list)
    """Folders that were not to be looked into."""
    folders: dict[bytes, int] = field(default_factory=dict)
    """Inode of each folder that was looked into."""
    stamps: dict[bytes, Stamp] = field(default_factory=dict)
    """Of each single path that ``probe`` found, and of what differs below its subtrees."""


class FolderIdentity(NamedTuple):
    """What tells a folder from all others, whatever its path."""

    device: int
    inode: int

    @classmethod
    def of(cls, status: os.stat_result) -> FolderIdentity:
        return cls(status.st_dev, status.st_ino)


AddChunk = Callable[[Buffer], ChunkId]
Progress = Callable[[int, int], None]
"""Called with (files read, bytes read) since the last call."""


def scan(
    root: int,
    tree: Tree,
    trust: Trust,
    *,
    chunker: Chunker,
    add: AddChunk,
    limits: Limits = UNLIMITED,
    progress: Progress | None = None,
    without: Collection[FolderIdentity] = (),
) -> ScanResult:
    """Return how the folder ``root`` differs from ``tree``.

    Args:
        tree: the base, as far as it was put into the folder: what is missing counts as deleted.
        add: takes each chunk of changed content and returns its id; the buffer stays as it is.
        without: folders that count as absent, wherever they are met.

    Raises:
        QuotaExceeded: the folder is over ``limits``, or its ignore files are too much. UnsafePath, Unavailable:
            something cannot be read. Abandoned: nobody waits for it any more.
    """
    return _Scan(tree, trust, chunker, add, limits, progress, without).run(root)


def probe(
    root: int,
    tree: Tree,
    paths: Iterable[bytes],
    subtrees: Iterable[bytes],
    *,
    chunker: Chunker,
    add: AddChunk | None = None,
) -> ScanResult:
    """Return how single ``paths`` of the folder differ from ``tree``, and everything below the folders ``subtrees``.

    All of it is read.

    Args:
        add: takes each chunk, as in ``scan``. ``None``: nothing is stored.

    Raises as ``scan``.
    """
    scanning = _Scan(tree, NO_TRUST, chunker, add or chunker.chunk_id, UNLIMITED, None)
    return scanning.look(root, set(paths), list(subtrees))


class _Visit(NamedTuple):
    """A folder to look into."""

    path: bytes
    rules: IgnoreRules | None
    """Those of the folders above."""
    trusted: bool
    """Whether all folders above are those that the state vouches for."""


class _Scan:
    def __init__(
        self,
        tree: Tree,
        trust: Trust,
        chunker: Chunker,
        add: AddChunk,
        limits: Limits,
        progress: Progress | None,
        without: Collection[FolderIdentity] = (),
    ) -> None:
        self._tree = tree
        self._trusted_before_ns = trust.before_ns
        self._exceptions = trust.exceptions
        self._folders = trust.folders
        self._chunker = chunker
        self._add = add
        self._limits = limits
        self._most_bytes = limits.max_project_bytes or sys.maxsize
        self._most_entries = limits.max_files + 1 if limits.max_files else sys.maxsize
        self._total_bytes = 0
        self._folder_path_bytes = 0
        self._target_bytes = 0
        self._stamping = False
        self._progress = progress
        self._without = without
        self._vouches_for_nothing = trust.before_ns == NO_TRUST.before_ns
        self._loss_finder = LossFinder(attributes=self._vouches_for_nothing)
        self._result = ScanResult(Changes({}, set()), set(), losses=self._loss_finder.losses)
        self._ignore_files = IgnoreFiles()
        self._rules_of: dict[bytes, IgnoreRules | None] = {}  # of folders above those to look below
        self._with_ignored: dict[bytes, int] = {}  # new folders with ignored items: how many others they have

    def run(self, root: int) -> ScanResult:
        with Folders(root) as opened:
            self._walk(opened, _Visit(ROOT, None, trusted=True))
        self._drop_hollow()
        result = self._result
        result.changes.deletes.update(self._tree.keys() - result.seen)
        return result

    def look(self, root: int, paths: set[bytes], subtrees: list[bytes]) -> ScanResult:
        result = self._result
        self._stamping = True
        with Folders(root) as opened:
            for path in sorted(paths):
                try:
                    parent, name = opened.split(path)
                    status = os.stat(name, dir_fd=parent, follow_symlinks=False) if path else os.fstat(root)
                except OSError as error:
                    if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                        raise translate(error, path) from None
                    if path in self._tree:
                        result.changes.deletes.add(path)
                    continue
                result.stamps[path] = Stamp.of(status)
                if stat.S_ISDIR(status.st_mode):
                    self._enter(path, status)
                else:
                    parent, name = opened.split(path)
                    self._changed(parent, path, name, status)
            for folder in subtrees:
                try:
                    opened.get(folder)
                except OSError:
                    continue  # gone, or no folder any more: the path itself says so
                rules = self._rules_above(opened, folder)
                self._walk(opened, _Visit(folder, rules, trusted=False))
        self._drop_hollow()
        return result

    def _rules_above(self, opened: Folders, folder: bytes) -> IgnoreRules | None:
        rules = None
        above = [ROOT, *reversed([*ancestors_of(folder)])] if folder else []
        for path in above:
            if path not in self._rules_of:
                self._rules_of[path] = self._ignore_files.rules(opened.get(path), path, rules)
            rules = self._rules_of[path]
        return rules

    def _walk(self, opened: Folders, first: _Visit) -> None:
        waiting = [first]
        while waiting:
            visit = waiting.pop()
            try:
                fd = opened.get(visit.path)
            except FileNotFoundError:
                continue  # removed since it was listed
            except OSError as error:
                raise translate(error, visit.path) from None
            waiting += reversed(self._folder(fd, visit))

    def _folder(self, fd: int, visit: _Visit) -> list[_Visit]:
        """Take what is in one folder; return the folders in it."""
        folder = visit.path
        check_wanted()
        status = os.fstat(fd)
        inode = status.st_ino
        self._enter(folder, status)
        self._result.folders[folder] = inode
        trusted = visit.trusted and self._folders.get(folder) == inode
        self._loss_finder.look(fd, folder, status, tell=not trusted)
        prefix = folder + b"/" if folder else b""
        rules = visit.rules
        subfolders: list[_Visit] = []
        with os.scandir(fd) as found:
            items = list(found)
        self._folder_path_bytes += len(items) * len(prefix)
        if self._folder_path_bytes > MAX_FOLDER_PATH_BYTES:
            raise QuotaExceeded(
                f"the paths in the folder have more than {MAX_FOLDER_PATH_BYTES} bytes together",
                hint="use shorter paths, or leave folders out with .manifoldignore",
                limit=MAX_FOLDER_PATH_BYTES,
            )
        if any(item.name == _IGNORE_NAME for item in items):
            rules = self._ignore_files.rules(fd, folder, rules)
        tree, seen = self._tree, self._result.seen
        before_ns, exceptions = self._trusted_before_ns, self._exceptions
        ignored = size = 0
        for item in items:
            path = prefix + os.fsencode(item.name)
            if item.is_dir(follow_symlinks=False):
                if rules is not None and path not in tree and rules.ignores(path, is_folder=True):
                    ignored += 1
                elif self._without and FolderIdentity.of(item.stat(follow_symlinks=False)) in self._without:
                    self._result.left_out.append(path)
                else:
                    subfolders.append(_Visit(path, rules, trusted))
                continue
            try:
                status = item.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            entry = tree.get(path)
            if entry is None:
                if rules is not None and rules.ignores(path, is_folder=False):
                    ignored += 1
                    continue
            elif trusted and _as_entered(status, entry, before_ns) and path not in exceptions:
                seen.add(path)
                size += entry[3]
                continue
            self._changed(fd, path, path[len(prefix) :], status)
        self._count(size)
        if ignored and folder not in tree:
            self._with_ignored[folder] = len(items) - ignored
        return subfolders

    def _drop_hollow(self) -> None:
        """Leave out new folders that hold nothing but what is ignored: they would come back as empty ones."""
        for folder in sorted(self._with_ignored, reverse=True):
            if self._with_ignored[folder] == 0:
                self._result.seen.discard(folder)
                self._result.changes.upserts.pop(folder, None)
                parent = parent_of(folder)
                if parent in self._with_ignored:
                    self._with_ignored[parent] -= 1

    def _enter(self, path: bytes, status: os.stat_result) -> None:
        entry = Entry(DIRECTORY, status.st_mode & MODE_MASK, kept_time(status.st_mtime_ns), 0, b"")
        self._take(path, 0)
        if self._tree.get(path) != entry:
            self._check_path(path)
            self._result.changes.upserts[path] = entry

    def _changed(self, folder_fd: int, path: bytes, name: bytes, status: os.stat_result) -> None:
        mode = status.st_mode
        if self._stamping:
            self._result.stamps[path] = Stamp.of(status)
        if stat.S_ISLNK(mode):
            entry = self._link(folder_fd, path, name, status)
        elif stat.S_ISREG(mode):
            entry = self._file(folder_fd, path, name, status)
        elif stat.S_ISDIR(mode):
            return  # made since it was listed, where something else was: the next scan has it
        else:
            self._result.skipped.append(path)
            return
        if entry is not None:
            self._check_path(path)
            if self._tree.get(path) != entry:
                self._result.changes.upserts[path] = entry

    def _link(self, folder_fd: int, path: bytes, name: bytes, status: os.stat_result) -> Entry | None:
        try:
            target = os.readlink(name, dir_fd=folder_fd)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise translate(error, path) from None
        self._target_bytes += len(target)
        if self._target_bytes > MAX_TARGET_BYTES:
            raise QuotaExceeded(
                f"the targets of links in the folder, up to {to_display(path)!r}, have more than {MAX_TARGET_BYTES} "
                "bytes together",
                hint="use shorter targets, or leave links out with .manifoldignore",
                limit=MAX_TARGET_BYTES,
            )
        self._report(1, 0)
        self._take(path, 0)
        return Entry(SYMLINK, status.st_mode & MODE_MASK, kept_time(status.st_mtime_ns), 0, target)

    def _file(self, folder_fd: int, path: bytes, name: bytes, status: os.stat_result) -> Entry | None:
        check_wanted()
        try:
            fd = os.open(name, _READ_FLAGS, dir_fd=folder_fd)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise translate(error, path) from None
        try:
            for _ in range(_READ_TRIES):
                self._limits.check_file(to_display(path), status.st_size)
                size, content = self._content(fd, path, status.st_size)
                after = os.fstat(fd)
                if size == after.st_size and _same(status, after):
                    break
                # It changed while it was read (or is another file than the one that was listed): once more.
                status = after
                if not stat.S_ISREG(status.st_mode):
                    self._result.skipped.append(path)
                    return None
                os.lseek(fd, 0, os.SEEK_SET)
            else:
                self._result.unstable.append(path)
            entry = Entry(FILE, status.st_mode & MODE_MASK, kept_time(status.st_mtime_ns), size, content)
            self._loss_finder.look(fd, path, status, tell=self._is_news(path, entry))
        except OSError as error:
            raise translate(error, path) from None
        finally:
            os.close(fd)
        self._report(1, 0)
        self._take(path, size)
        return entry

    def _is_news(self, path: bytes, entry: Entry) -> bool:
        """Tell whether what is not kept of a file is to be said: not of one that is as it was told of before."""
        return self._vouches_for_nothing or self._tree.get(path) != entry

    def _content(self, fd: int, path: bytes, expected_bytes: int) -> tuple[int, bytes]:
        """Return (bytes read, chunk ids joined)."""
        if expected_bytes <= WHOLE_FILE_BYTES:
            data = os.read(fd, expected_bytes + 1)
            if len(data) == expected_bytes:
                self._report(0, expected_bytes)
                return expected_bytes, self._add(data) if data else b""
            os.lseek(fd, 0, os.SEEK_SET)
        size = 0
        shown = to_display(path)
        ids: list[bytes] = []
        for chunk in self._chunker.cut(lambda window: os.readv(fd, [window])):
            size += len(chunk)
            self._limits.check_file(shown, size)
            ids.append(self._add(chunk))
            self._report(0, len(chunk))
        return size, b"".join(ids)

    def _report(self, files: int, size: int) -> None:
        if self._progress is not None:
            self._progress(files, size)

    def _take(self, path: bytes, size: int) -> None:
        """Count what is there, so that a folder over the limits is refused as soon as that shows."""
        self._result.seen.add(path)
        self._count(size)

    def _count(self, size: int) -> None:
        self._total_bytes += size
        if self._total_bytes > self._most_bytes or len(self._result.seen) > self._most_entries:
            self._limits.check_project(self._total_bytes, len(self._result.seen) - 1)

    def _check_path(self, path: bytes) -> None:
        if len(path) > MAX_PATH_BYTES:
            raise UnsafePath(
                f"the path {to_display(path[:80])}... is longer than {MAX_PATH_BYTES} bytes", hint="use shorter names"
            )


def _as_entered(status: os.stat_result, entry: Entry, before_ns: int) -> bool:
    """Tell whether a file in a folder that is vouched for still is what its entry says, without reading it."""
    return (
        status.st_ctime_ns < before_ns
        and status.st_mtime_ns == entry[2]
        and (status.st_size == entry[3] or entry[0] != FILE)
    )


def _same(before: os.stat_result, after: os.stat_result) -> bool:
    return (
        before.st_ctime_ns == after.st_ctime_ns
        and before.st_mtime_ns == after.st_mtime_ns
        and before.st_size == after.st_size
        and before.st_ino == after.st_ino
    )
