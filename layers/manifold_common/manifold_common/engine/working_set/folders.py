"""Folders opened step by step, so that no path ever passes through a symbolic link.

``open("a/b/c")`` follows links in ``a`` and ``a/b``. Here each folder is opened by its name in its parent's descriptor
with ``O_NOFOLLOW``: where a link was planted, opening fails, and nothing outside the root is reached.
"""

from __future__ import annotations

import errno
import os
from collections import OrderedDict

from manifold_common.domain.paths import ROOT, to_display
from manifold_common.errors import NoSpace, Unavailable, UnsafePath

_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_FOLDERS = 64


def open_root(folder: str | os.PathLike[str]) -> int:
    """Return a descriptor of the root folder. Raises UnsafePath when it is a link or no folder."""
    try:
        return os.open(folder, _FLAGS)
    except OSError as error:
        raise translate(error, os.fsencode(folder)) from None


class Folders:
    """Open folders below one root, by path. For one thread; close it, or use it as a context manager.

    Args:
        root: a descriptor of the root folder, which stays the caller's.
    """

    def __init__(self, root: int) -> None:
        self._root = root
        self._open: OrderedDict[bytes, int] = OrderedDict()

    def __enter__(self) -> Folders:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for fd in self._open.values():
            os.close(fd)
        self._open.clear()

    def get(self, path: bytes) -> int:
        """Return the descriptor of the folder ``path``, valid until the next call. Raises OSError."""
        missing: list[bytes] = []
        nearest = path
        while nearest != ROOT and nearest not in self._open:
            missing.append(nearest)
            nearest = nearest.rpartition(b"/")[0]
        fd = self._root
        if nearest != ROOT:
            fd = self._open[nearest]
            self._open.move_to_end(nearest)
        for folder in reversed(missing):
            fd = os.open(folder.rpartition(b"/")[2], _FLAGS, dir_fd=fd)
            self._open[folder] = fd
            if len(self._open) > _OPEN_FOLDERS:
                os.close(self._open.popitem(last=False)[1])
        return fd

    def split(self, path: bytes) -> tuple[int, bytes]:
        """Return (descriptor of the parent folder, name). Raises OSError."""
        parent, _, name = path.rpartition(b"/")
        return self.get(parent), name

    def forget(self, path: bytes) -> None:
        """Close the folder ``path`` and those below it, before it is removed or replaced."""
        below = path + b"/"
        for known in [known for known in self._open if known == path or known.startswith(below)]:
            os.close(self._open.pop(known))


def translate(error: OSError, path: bytes) -> NoSpace | UnsafePath | Unavailable:
    """Return the error of ours that says what the system refused at ``path``."""
    shown = to_display(path)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NoSpace(
            f"no space left while writing {shown!r}",
            hint="make room, raise the size of the tmpfs, or check out fewer paths with --path",
            path=shown,
        )
    if error.errno in (errno.ELOOP, errno.ENOTDIR):
        return UnsafePath(
            f"{shown!r} was not touched: a link or a file stands where a folder should be",
            hint="remove the link from the working set, then try again",
            path=shown,
        )
    if error.errno == errno.ENAMETOOLONG:
        return UnsafePath(f"the name {shown!r} is too long for this file system", path=shown)
    return Unavailable(f"{shown!r}: {error.strerror}", hint="check the folder's owner and permissions", path=shown)
