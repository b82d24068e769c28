"""The encrypted cache: sealed objects on the local disk, exactly as they are in the object store.

Nothing here is trusted: whoever reads an object opens its frames, and fetches again what does not open. So a crash, a
bad disk or a hostile neighbour can cost time, never a wrong byte. Several processes may share one folder. When the
folder outgrows its budget, what was least recently used goes first; the same happens where working sets share its file
system and need the room (a function has only one). A malformed key never becomes a path.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from manifold_common.domain.object_key import check_object_key
from manifold_common.engine.working_set.ram import disk_bytes, free_bytes
from manifold_common.engine.working_set.removal import remove_tree
from manifold_common.ports.clock import Clock, Randomness
from manifold_common.ports.object_store import Buffer

_TOUCH_AFTER_SECONDS = 300.0
_STALE_PART_SECONDS = 3600.0
_PART_MARK = "~"
_KEEP_FRACTION = 0.9


class _File(NamedTuple):
    used: float
    size: int
    path: str


class ObjectCache:
    """Args: ``max_bytes``: the budget; 0 switches the cache off."""

    def __init__(self, folder: Path, max_bytes: int, *, clock: Clock, randomness: Randomness) -> None:
        self._folder = str(folder)
        self._max_bytes = max_bytes
        self._clock = clock
        self._randomness = randomness
        self._lock = threading.Lock()
        self._unmeasured_bytes = 0
        """What may still be added before the folder is looked at again."""
        self._beside: dict[object, int] = {}
        """For each job that room is left for: how many bytes may still be added beside it."""
        if max_bytes:
            os.makedirs(self._folder, mode=0o700, exist_ok=True)

    def get(self, key: str, *, max_bytes: int) -> Buffer | None:
        """Return the whole object, or ``None``; also for a file that is longer than the object can be."""
        fd = self._open(key)
        if fd is None:
            return None
        try:
            status = os.fstat(fd)
            if status.st_size > max_bytes:
                return None
            self._touch(fd, status.st_mtime)
            return _read_all(fd, status.st_size)
        except OSError:
            return None
        finally:
            os.close(fd)

    def has(self, key: str) -> bool:
        """Say whether there is a copy, good or not."""
        return bool(self._max_bytes) and os.path.lexists(self._path(key))

    def get_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[Buffer] | None:
        """Return the bytes of each ``(start, length)``, or ``None``.

        Of an object that is only partly here, the missing bytes read as zeros, which no frame opens as.
        """
        fd = self._open(key)
        if fd is None:
            return None
        try:
            self._touch(fd, os.fstat(fd).st_mtime)
            found: list[Buffer] = [os.pread(fd, length, start) for start, length in ranges]
        except OSError:
            return None
        finally:
            os.close(fd)
        whole = all(len(data) == length for data, (_, length) in zip(found, ranges, strict=True))
        return found if whole else None

    def put_ranges(self, key: str, ranges: Sequence[tuple[int, int]], data: Sequence[Buffer]) -> None:
        """Keep parts of an object, in a file with holes for the rest.

        Written in place: whoever else writes there writes the same bytes, and what a crash leaves does not open.
        """
        size = sum(length for _, length in ranges)
        if not self._max_bytes or not self._fits(size):
            return
        path = self._path(key)
        with suppress(OSError):
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
            try:
                for (start, _), piece in zip(ranges, data, strict=True):
                    view = memoryview(piece)
                    at = start
                    while view:
                        written = os.pwrite(fd, view, at)
                        view, at = view[written:], at + written
            finally:
                os.close(fd)
            self._account(size)

    def put(self, key: str, data: Buffer) -> None:
        """Keep a copy, if the disk has room: the cache is never a reason to fail."""
        if len(data) > self._max_bytes or not self._fits(len(data)):
            return
        path = self._path(key)
        part = f"{path}{_PART_MARK}{self._randomness.token(8).hex()}"
        try:
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            try:
                view = memoryview(data)
                while view:
                    view = view[os.write(fd, view) :]
            finally:
                os.close(fd)
            os.rename(part, path)
        except OSError:
            with suppress(OSError):
                os.unlink(part)
            return
        self._account(len(data))

    def drop(self, key: str) -> None:
        """Forget a copy, for instance one that did not open."""
        with suppress(OSError):
            os.unlink(self._path(key))

    def size_of(self, folder: str) -> int:
        """Return how much room the copies below ``folder`` take on the disk. Parts of files count as what they are.

        Also where the cache is switched off: other processes of this machine may have it on."""
        return disk_bytes(f"{self._folder}/{check_object_key(folder)}")

    def keep_only(self, folder: str, name: str) -> None:
        """Forget every copy below ``folder`` but those below ``folder/name``."""
        if not self._max_bytes:
            return
        with suppress(FileNotFoundError), os.scandir(f"{self._folder}/{folder}") as entries:
            others = [entry.path for entry in entries if entry.name != name]
            for path in others:
                remove_tree(path)
        with self._lock:
            self._unmeasured_bytes = 0

    def make_room(self, place: str | int, need_bytes: int) -> int:
        """Forget copies until ``need_bytes`` are free at ``place``, if that lies on the cache's own file system.

        Returns the bytes that are free there now.
        """
        free = free_bytes(place)
        if free < need_bytes and self._shares(place):
            with self._lock:
                _remove_oldest(self._files(), need_bytes - free)
                self._unmeasured_bytes = 0
            free = free_bytes(place)
        return free

    @contextmanager
    def leaving_room(self, place: str | int, need_bytes: int) -> Iterator[None]:
        """Leave so much room at ``place``, as ``make_room`` does, for what is written there in the block: meanwhile
        nothing is added that would take from it."""
        if not self._shares(place):
            yield
            return
        job = object()
        spare = self.make_room(place, need_bytes) - need_bytes
        with self._lock:
            self._beside[job] = spare
        try:
            yield
        finally:
            with self._lock:
                del self._beside[job]

    def _shares(self, place: str | int) -> bool:
        try:
            return bool(self._max_bytes) and os.stat(place).st_dev == os.stat(self._folder).st_dev
        except OSError:
            return False

    def _fits(self, size: int) -> bool:
        with self._lock:
            if any(spare < size for spare in self._beside.values()):
                return False
            for job in self._beside:
                self._beside[job] -= size
        return True

    def _account(self, added_bytes: int) -> None:
        with self._lock:
            self._unmeasured_bytes -= added_bytes
            if self._unmeasured_bytes < 0:
                self._evict()

    def _open(self, key: str) -> int | None:
        """Return a descriptor of the copy, if there is one and it is a plain file."""
        if not self._max_bytes:
            return None
        try:
            fd = os.open(self._path(key), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            return None
        if stat.S_ISREG(os.fstat(fd).st_mode):
            return fd
        os.close(fd)
        return None

    def _path(self, key: str) -> str:
        return f"{self._folder}/{check_object_key(key)}"

    def _touch(self, fd: int, used: float) -> None:
        now = self._clock.now().timestamp()
        if now - used > _TOUCH_AFTER_SECONDS:
            os.utime(fd, times=(now, now))

    def _files(self) -> list[_File]:
        found = []
        oldest_part = self._clock.now().timestamp() - _STALE_PART_SECONDS
        for folder, _, names in os.walk(self._folder):
            for name in names:
                path = f"{folder}/{name}"
                with suppress(OSError):
                    status = os.lstat(path)
                    if _PART_MARK in name and status.st_mtime < oldest_part:
                        os.unlink(path)
                    else:
                        found.append(_File(status.st_mtime, status.st_blocks * 512, path))
        return found

    def _evict(self) -> None:
        """Measure the folder, and make room where it is over the budget.

        Others may fill it too, so it is measured again after a tenth of the budget: with more processes than one, the
        budget may be exceeded by a tenth for each of the others.
        """
        files = self._files()
        total = sum(file.size for file in files)
        if total > self._max_bytes:
            total -= _remove_oldest(files, total - int(self._max_bytes * _KEEP_FRACTION))
        self._unmeasured_bytes = min(self._max_bytes - total, int(self._max_bytes * (1 - _KEEP_FRACTION)))


def _remove_oldest(files: list[_File], enough_bytes: int) -> int:
    """Remove what was not used for longest; return how many bytes that has freed."""
    freed = 0
    for file in sorted(files):
        if freed >= enough_bytes:
            break
        with suppress(OSError):
            os.unlink(file.path)
            freed += file.size
    return freed


def _read_all(fd: int, size: int) -> Buffer:
    data = bytearray(size)
    view = memoryview(data)
    filled = 0
    while filled < size:
        count = os.readv(fd, [view[filled:]])
        if count == 0:
            return view[:filled]
        filled += count
    return view
