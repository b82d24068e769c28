"""A whole folder goes away: however deep, however closed its modes, and nothing behind a link.

Every folder found below is first moved up to the top, so that neither descriptors nor path lengths grow with depth.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_HANDLE = getattr(os, "O_PATH", 0) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_tree(folder: str) -> str | None:
    """Remove ``folder`` and all that is in it. Of a link or file of that name, only itself.

    Returns:
        ``None`` when it is gone; otherwise what could not be removed, and why. What can go is gone then, too.
    """
    try:
        if not stat.S_ISDIR(os.lstat(folder).st_mode):
            os.unlink(folder)
            return None
        _unlock(folder, None)
        root = os.open(folder, _FOLDER)
        try:
            _empty(root)
        finally:
            os.close(root)
        os.rmdir(folder)
    except FileNotFoundError:
        return None
    except OSError as error:
        return f"{folder}: {(error.strerror or type(error).__name__).lower()}"
    return None


def _empty(root: int) -> None:
    moved = 0
    waiting = _clear(root)
    mark = "~"
    while any(name.startswith(mark) for name in waiting):
        mark += "~"
    while waiting:
        name = waiting.pop()
        with suppress(OSError):
            fd = os.open(name, _FOLDER, dir_fd=root)
            try:
                for child in _clear(fd):
                    moved += 1
                    with suppress(OSError):
                        os.rename(child, f"{mark}{moved}", src_dir_fd=fd, dst_dir_fd=root)
                        waiting.append(f"{mark}{moved}")
            finally:
                os.close(fd)
            os.rmdir(name, dir_fd=root)


def _clear(fd: int) -> list[str]:
    """Remove the files of a folder; return its folders, open to us now."""
    folders = []
    with os.scandir(fd) as found:
        items = list(found)
    for item in items:
        with suppress(OSError):
            if item.is_dir(follow_symlinks=False):
                folders.append(item.name)
                _unlock(item.name, fd)
            else:
                os.unlink(item.name, dir_fd=fd)
    return folders


def _unlock(name: str, parent: int | None) -> None:
    """Give ourselves every right to a folder, whatever its mode. Never through a link."""
    with suppress(OSError):
        handle = os.open(name, _HANDLE, dir_fd=parent)
        try:
            os.chmod(f"/proc/self/fd/{handle}", 0o700)
        finally:
            os.close(handle)
