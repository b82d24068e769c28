"""Locks between processes that vanish with the process that held them, however it ended.

They are ``flock`` locks, which belong to an open file: a killed process lets go at once, and a child that inherits
the open file goes on holding the lock.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

_POLL_SECONDS = 0.01


class FileLock:
    """One open lock file. Two instances exclude each other even within a process."""

    def __init__(self, path: Path, *, within: int | None = None) -> None:
        """
        Args:
            within: the file's folder, where that is open already; it may have been moved since.
        """
        self.path = path
        name = path if within is None else path.name
        self.fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600, dir_fd=within)
        if os.geteuid() == 0:
            # Root may lend a hand in a folder of somebody else, who must be able to open the file later.
            owner = path.parent.stat() if within is None else os.fstat(within)
            os.fchown(self.fd, owner.st_uid, owner.st_gid)

    def try_exclusive(self) -> bool:
        return self._try(fcntl.LOCK_EX)

    def wait_exclusive(self, timeout_seconds: float) -> bool:
        return self._wait(fcntl.LOCK_EX, timeout_seconds)

    def wait_shared(self, timeout_seconds: float) -> bool:
        return self._wait(fcntl.LOCK_SH, timeout_seconds)

    def release(self) -> None:
        fcntl.flock(self.fd, fcntl.LOCK_UN)

    def close(self) -> None:
        """Let go, unless a child process has inherited the open file."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def _try(self, mode: int) -> bool:
        try:
            fcntl.flock(self.fd, mode | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _wait(self, mode: int, timeout_seconds: float) -> bool:
        deadline = time.monotonic() + timeout_seconds
        while not self._try(mode):
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLL_SECONDS)
        return True
