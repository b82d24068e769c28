"""A folder whose disk is full, from a write that the test chooses."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

_ROOM_TAKERS = ("open", "mkdir", "symlink", "write", "pwrite")


@dataclass
class FullDisk:
    """Attributes: ``writes``: what would have taken room below the folder so far, granted or not."""

    folder: str
    full_from: int
    """The number, from 1, of the first write that finds no room; so do all after it."""
    writes: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, name: str, args: tuple[Any, ...], dir_fd: int | None) -> None:
        """Raises OSError when there is no room for this call."""
        if name == "open" and not (len(args) > 1 and args[1] & os.O_CREAT):
            return
        if not _where(args[1] if name == "symlink" else args[0], dir_fd).startswith(self.folder):
            return
        with self.lock:
            self.writes += 1
            full = self.writes >= self.full_from
        if full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _where(target: Any, dir_fd: int | None) -> str:
    if isinstance(target, int):
        return os.readlink(f"/proc/self/fd/{target}")
    folder = os.getcwd() if dir_fd is None else os.readlink(f"/proc/self/fd/{dir_fd}")
    return os.path.join(folder, os.fsdecode(target))


@contextmanager
def full_disk(monkeypatch: pytest.MonkeyPatch, folder: Path, full_from: int) -> Iterator[FullDisk]:
    """While this lasts, calls of ``os`` that need room below ``folder`` fail with ENOSPC from the given one on.

    For every user, unlike a small tmpfs, and at a step that can be chosen. Reading, renaming and removing go on.
    """
    disk = FullDisk(os.path.realpath(folder), full_from)

    def watched(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, dir_fd: int | None = None, **more: Any) -> Any:
            disk.take(name, args, dir_fd)
            if dir_fd is not None:
                more["dir_fd"] = dir_fd
            return real(*args, **more)

        return call

    with monkeypatch.context() as patch:
        for name in _ROOM_TAKERS:
            patch.setattr(os, name, watched(name, getattr(os, name)))
        yield disk
