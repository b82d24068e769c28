"""Walking and making folders below a root without ever passing through a symbolic link.

A link planted inside the store could lead a read or a write anywhere on the machine. So each folder is opened by its
bare name relative to the one above it, with O_NOFOLLOW; the path of the root itself is the operator's and may have
links.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_REMEMBERED_FOLDERS = 10_000


def open_folder(root_fd: int, parts: Sequence[str]) -> int:
    """Return a descriptor of the folder ``parts`` below ``root_fd``, which stays open.

    Raises:
        OSError: ENOENT (a part is absent, or is a file: nothing can be below it), ELOOP (a part is a link), and others.
    """
    fd = os.dup(root_fd)
    for part in parts:
        fd = _step(fd, part)
    return fd


def _step(fd: int, part: str) -> int:
    try:
        return os.open(part, _FOLDER, dir_fd=fd)
    except NotADirectoryError:
        is_link = stat.S_ISLNK(os.stat(part, dir_fd=fd, follow_symlinks=False).st_mode)
        code = errno.ELOOP if is_link else errno.ENOENT
        raise OSError(code, os.strerror(code), part) from None
    finally:
        os.close(fd)


class DurableFolders:
    """Makes folders so that they survive a crash, whoever made them first.

    A folder found to exist may have been made a moment ago by another process that has not yet made its entry
    durable. So the entry of each folder is synced once by this process, however it came to be. Thread-safe.
    """

    def __init__(self) -> None:
        self._synced: set[tuple[int, int]] = set()

    def open(self, root_fd: int, parts: Sequence[str]) -> int:
        """Return a descriptor of the folder ``parts`` below ``root_fd``, made (mode 0700) where it is absent.

        Raises:
            OSError: as the system says.
        """
        fd = os.dup(root_fd)
        for part in parts:
            fd = self._step(fd, part)
        return fd

    def _step(self, fd: int, part: str) -> int:
        made = False
        try:
            try:
                child = os.open(part, _FOLDER, dir_fd=fd)
            except FileNotFoundError:
                made = _make(fd, part)
                child = os.open(part, _FOLDER, dir_fd=fd)
            try:
                facts = os.fstat(child)
                identity = (facts.st_dev, facts.st_ino)
                if made or identity not in self._synced:
                    os.fsync(fd)
                    if len(self._synced) >= _REMEMBERED_FOLDERS:
                        self._synced.clear()
                    self._synced.add(identity)
            except BaseException:
                os.close(child)
                raise
            return child
        finally:
            os.close(fd)


def _make(fd: int, part: str) -> bool:
    try:
        os.mkdir(part, 0o700, dir_fd=fd)
    except FileExistsError:
        return False
    return True


def make_root(path: str) -> None:
    """Make the folder ``path`` and those above it (mode 0700) where absent, durably.

    Raises:
        OSError: as the system says.
    """
    if os.path.isdir(path):
        return
    above = os.path.dirname(path)
    if above != path:
        make_root(above)
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        if not os.path.isdir(path):
            raise
    sync_folder(above)


def sync_folder(path: str) -> None:
    """Make the entries of the folder ``path`` durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
