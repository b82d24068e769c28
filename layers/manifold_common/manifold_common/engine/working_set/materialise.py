"""Entries become files.

Folders first, then links and empty files, then file content as its blocks arrive, from several threads; folder times
last, since writing into a folder changes its time. A file is created new (``O_EXCL``, never through a link), so
whatever stands in its way is an error, not a victim. Large files are written chunk by chunk, wherever they belong.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from typing import NamedTuple

from manifold_common.domain.paths import ROOT, to_display
from manifold_common.domain.tree import DIRECTORY, FILE, SYMLINK, Entry, chunk_ids, totals
from manifold_common.engine.block_reader import BlockReader
from manifold_common.engine.working_set.folders import Folders, translate
from manifold_common.errors import CorruptObject
from manifold_common.format.buffers import Buffer
from manifold_common.format.places import Block, Place, Places
from manifold_common.ids import CHUNK_ID_BYTES, ChunkId

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_REOPEN = os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_WRITABLE_FOLDER = 0o700

Progress = Callable[[int, int], None]
"""Called with (files written, bytes written) since the last call; from several threads."""


class _Part(NamedTuple):
    """A chunk of a large file: where it is in its block, and where it goes."""

    path: bytes
    entry: Entry
    start: int
    end: int
    file_offset: int


class _Wanted(NamedTuple):
    """What one block is needed for."""

    block: Block
    files: list[tuple[bytes, Entry, int, int]]
    """(path, entry, start, end) of files that are one chunk. Plain tuples: there is one for each file of a project."""
    parts: list[_Part]


_SLACK_BYTES = 4 << 20
_BYTES_PER_FILE = 2048
"""Half a page: what a file takes beyond its size, on average."""


def room_for(entries: Mapping[bytes, Entry]) -> int:
    """Return about how many bytes writing ``entries`` takes."""
    size, count = totals(entries)
    return size + count * _BYTES_PER_FILE + _SLACK_BYTES


def materialise(
    root: int,
    entries: Mapping[bytes, Entry],
    places: Places,
    reader: BlockReader,
    progress: Progress | None = None,
) -> dict[bytes, int]:
    """Write ``entries`` below the folder ``root``; return the inode of each folder among them.

    The folder above each path is among ``entries`` or exists. Nothing is overwritten.

    Raises:
        NoSpace, UnsafePath, Unavailable: the file system refuses. CorruptObject: content cannot be had.
    """
    with reader.leaving_room(root, room_for(entries)):
        return _Materialiser(root, entries, places, reader, progress).run()


class _Materialiser:
    def __init__(
        self,
        root: int,
        entries: Mapping[bytes, Entry],
        places: Places,
        reader: BlockReader,
        progress: Progress | None,
    ) -> None:
        self._root = root
        self._entries = entries
        self._places = places
        self._reader = reader
        self._progress = progress
        self._wanted: dict[int, _Wanted] = {}  # by identity of the block: hashing one costs more than all the rest
        self._chunks_left: dict[bytes, int] = {}
        self._lock = threading.Lock()
        self._umask = _current_umask()
        self._folders: dict[int, Folders] = {}

    def run(self) -> dict[bytes, int]:
        folders = sorted(path for path, entry in self._entries.items() if entry.kind == DIRECTORY)
        self._make_folders(folders)
        self._make_links_and_plan()
        try:
            blocks = [wanted.block for wanted in self._wanted.values()]
            self._reader.read_all(blocks, self._write_block, self._places)
        finally:
            for opened in self._folders.values():
                opened.close()
        return self._finish_folders(folders)

    def _make_folders(self, folders: list[bytes]) -> None:
        with Folders(self._root) as opened:
            for path in folders:
                if path == ROOT:
                    continue
                parent, name = self._split(opened, path)
                try:
                    # Writable by us until everything is in it, whatever its mode will be.
                    os.mkdir(name, self._entries[path].mode | _WRITABLE_FOLDER, dir_fd=parent)
                except OSError as error:
                    raise translate(error, path) from None

    def _make_links_and_plan(self) -> None:
        others = 0
        places, wanted = self._places, self._wanted
        entries = self._entries
        with Folders(self._root) as opened:
            for path in sorted(entries):
                entry = entries[path]
                content = entry[4]
                if entry[0] == FILE and len(content) == CHUNK_ID_BYTES:
                    block, start, length = places.get(ChunkId(content)) or self._nowhere(path)
                    found = wanted.get(id(block))
                    if found is None:
                        found = wanted[id(block)] = _Wanted(block, [], [])
                    found.files.append((path, entry, start, start + length))
                elif entry[0] == FILE and content:
                    parent, name = self._split(opened, path)
                    self._make_large(parent, name, path, entry)
                    self._plan_large(path, entry)
                elif entry[0] != DIRECTORY:
                    others += 1
                    parent, name = self._split(opened, path)
                    if entry[0] == SYMLINK:
                        self._make_link(parent, name, path, entry)
                    else:
                        self._make_empty(parent, name, path, entry)
        self._count(others, 0)

    def _plan_large(self, path: bytes, entry: Entry) -> None:
        chunks = chunk_ids(entry)
        self._chunks_left[path] = len(chunks)
        offset = 0
        for chunk in chunks:
            block, start, length = self._places.get(chunk) or self._nowhere(path)
            found = self._wanted.setdefault(id(block), _Wanted(block, [], []))
            found.parts.append(_Part(path, entry, start, start + length, offset))
            offset += length

    @staticmethod
    def _nowhere(path: bytes) -> Place:
        raise CorruptObject(to_display(path), "no object is known to hold its content")

    def _write_block(self, block: Block, raw: Buffer) -> None:
        wanted = self._wanted[id(block)]
        view = memoryview(raw)
        opened = self._opened()
        size = self._write_files(opened, wanted.files, view)
        files = len(wanted.files)
        for part in wanted.parts:
            parent, name = self._split(opened, part.path)
            files += self._write_part(parent, name, part, view[part.start : part.end])
            size += part.end - part.start
        self._count(files, size)

    def _write_files(self, opened: Folders, files: list[tuple[bytes, Entry, int, int]], view: memoryview) -> int:
        """Write whole files; the hot loop of a checkout."""
        size = 0
        umask = self._umask
        last: bytes | None = None
        for path, entry, start, end in files:
            cut = path.rfind(b"/")
            folder = path[:cut] if cut > 0 else ROOT
            try:
                if folder != last:
                    parent = opened.get(folder)
                    last = folder
                fd = os.open(path[cut + 1 :], _CREATE, entry[1], dir_fd=parent)
                try:
                    written = start + os.write(fd, view[start:end])
                    while written < end:
                        written += os.write(fd, view[written:end])
                    if entry[1] & umask:
                        os.fchmod(fd, entry[1])
                    os.utime(fd, ns=(entry[2], entry[2]))
                finally:
                    os.close(fd)
            except OSError as error:
                raise translate(error, path) from None
            size += end - start
        return size

    def _make_empty(self, parent: int, name: bytes, path: bytes, entry: Entry) -> None:
        try:
            fd = os.open(name, _CREATE, entry.mode, dir_fd=parent)
            try:
                os.fchmod(fd, entry.mode)
                os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))
            finally:
                os.close(fd)
        except OSError as error:
            raise translate(error, path) from None

    def _make_large(self, parent: int, name: bytes, path: bytes, entry: Entry) -> None:
        try:
            fd = os.open(name, _CREATE, 0o600, dir_fd=parent)
            try:
                os.truncate(fd, entry.size)
            finally:
                os.close(fd)
        except OSError as error:
            raise translate(error, path) from None

    def _write_part(self, parent: int, name: bytes, part: _Part, data: memoryview) -> bool:
        """Write a part of a large file; tell whether the file is complete now."""
        path = part.path
        try:
            fd = os.open(name, _REOPEN, dir_fd=parent)
            try:
                at = part.file_offset
                while data:
                    written = os.pwrite(fd, data, at)
                    data, at = data[written:], at + written
                with self._lock:
                    self._chunks_left[path] -= 1
                    complete = self._chunks_left[path] == 0
                if complete:
                    os.fchmod(fd, part.entry.mode)
                    os.utime(fd, ns=(part.entry.mtime_ns, part.entry.mtime_ns))
                return complete
            finally:
                os.close(fd)
        except OSError as error:
            raise translate(error, path) from None

    def _make_link(self, parent: int, name: bytes, path: bytes, entry: Entry) -> None:
        try:
            os.symlink(entry.content, name, dir_fd=parent)
            os.utime(name, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=parent, follow_symlinks=False)
        except OSError as error:
            raise translate(error, path) from None

    def _finish_folders(self, folders: list[bytes]) -> dict[bytes, int]:
        """Give folders their modes and times, the lowest first; return their inodes.

        By name in the parent: nobody else works here yet, and opening each folder would cost twice as much.
        """
        inodes = {}
        with Folders(self._root) as opened:
            for path in reversed(folders):
                entry = self._entries[path]
                made_as_wanted = entry.mode & _WRITABLE_FOLDER == _WRITABLE_FOLDER and not entry.mode & self._umask
                if path == ROOT or not made_as_wanted:
                    inodes[path] = finish_folder(opened, path, entry)
                    continue
                parent, name = self._split(opened, path)
                try:
                    os.utime(name, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=parent, follow_symlinks=False)
                    inodes[path] = os.stat(name, dir_fd=parent, follow_symlinks=False).st_ino
                except OSError as error:
                    raise translate(error, path) from None
        return inodes

    def _opened(self) -> Folders:
        thread = threading.get_ident()
        opened = self._folders.get(thread)
        if opened is None:
            opened = self._folders[thread] = Folders(self._root)
        return opened

    def _split(self, opened: Folders, path: bytes) -> tuple[int, bytes]:
        try:
            return opened.split(path)
        except OSError as error:
            raise translate(error, path) from None

    def _count(self, files: int, size: int) -> None:
        if self._progress is not None and (files or size):
            self._progress(files, size)


def finish_folder(opened: Folders, path: bytes, entry: Entry) -> int:
    """Give a folder its mode and time; return its inode. Raises UnsafePath, Unavailable."""
    try:
        fd = opened.get(path)
        os.fchmod(fd, entry.mode)
        os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))
        return os.fstat(fd).st_ino
    except OSError as error:
        raise translate(error, path) from None


def _current_umask() -> int:
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as status:
            return next(int(line.split()[1], 8) for line in status if line.startswith("Umask:"))
    except (OSError, StopIteration):
        # Only setting it tells it, and for a moment other threads would create files under another one: then every
        # mode is set explicitly instead.
        return 0o777
