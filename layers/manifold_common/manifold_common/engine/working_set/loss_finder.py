"""Finds properties of files that no project keeps, while a scan looks at them."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable

from manifold_common.domain.losses import Loss, Losses

_ATTRIBUTES = ("user.", "security.capability", "system.posix_acl_")
"""How the names of attributes begin that somebody gave to a file; others, every file of a system has."""
_list_attributes: Callable[[int], list[str]] | None = getattr(os, "listxattr", None)  # where the system has them


class LossFinder:
    """Args: ``attributes``: look at extended attributes as well. That is one more call for each file, which is felt in
    a commit of many new files, while hardly anything in a working set has them.
    """

    def __init__(self, *, attributes: bool) -> None:
        self._attributes = attributes
        self.losses = Losses()
        self._linked: dict[tuple[int, int], tuple[bytes, bool]] = {}
        """Of files with several names, by device and inode: the first that is met, and whether it is to be told of."""

    def look(self, fd: int, path: bytes, status: os.stat_result, *, tell: bool) -> None:
        """Note what a file or folder has.

        Args:
            fd: its descriptor.
            tell: it is to be said; otherwise it counts only as what others are hard links to.
        """
        if status.st_nlink > 1 and stat.S_ISREG(status.st_mode):
            self._note_link((status.st_dev, status.st_ino), path, tell)
        if not tell:
            return
        self.losses.note_mode(path, stat.S_IMODE(status.st_mode))
        self.losses.note_time(path, status.st_mtime_ns)
        if self._attributes and any(name.startswith(_ATTRIBUTES) for name in _attributes(fd)):
            self.losses.note(Loss.ATTRIBUTES, path)

    def _note_link(self, identity: tuple[int, int], path: bytes, tell: bool) -> None:
        first, tell_first = self._linked.setdefault(identity, (path, tell))
        if path != first and (tell or tell_first):
            self.losses.note(Loss.HARD_LINKS, path if tell else first)


def _attributes(fd: int) -> list[str]:
    if _list_attributes is None:
        return []
    try:
        return _list_attributes(fd)
    except OSError:
        return []  # the file system has none
