"""One host per WORKDIR. A lock ensures it, not a process id: it is released with the process, however that ended."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from manifold_common.errors import AlreadyExists, Denied, NoSpace, Unavailable

from manifold_local.accounts import me, owner_of
from manifold_local.embedded.filelock import FileLock

_NAME = ".host.lock"
_MAX_BYTES = 4096
_SETTLE_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class HostInfo:
    pid: int
    url: str
    """Where its API is; empty while it starts."""


def host_is_running(workdir: Path) -> HostInfo | None:
    """Return what is known of the host that runs on ``workdir``, or ``None``."""
    if not (workdir / _NAME).exists():
        return None
    try:
        lock = FileLock(workdir / _NAME)
    except OSError:
        return None
    try:
        if lock.wait_shared(0):
            return None
        found = _read(lock)
        if found.pid and not _is_alive(found.pid):
            # Written by a host that was killed; one that has just started is about to write its own.
            time.sleep(_SETTLE_SECONDS)
            found = _read(lock)
        return found
    finally:
        lock.close()


class HostLock:
    """Held for as long as the host runs.

    Raises:
        AlreadyExists: another host has it. Denied, NoSpace, Unavailable: WORKDIR cannot be used.
    """

    def __init__(self, workdir: Path) -> None:
        try:
            workdir.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(workdir / _NAME)
        except OSError as error:
            if isinstance(error, PermissionError):
                raise Denied(
                    f"{me()} may not run a host on {workdir}, where {_NAME} belongs to {owner_of(workdir / _NAME)}",
                    hint="run it as that account, or set WORKDIR to a folder of your own",
                ) from None
            kind = NoSpace if error.errno == 28 else Unavailable
            raise kind(
                f"{workdir} cannot be used: {error.strerror}", hint="set WORKDIR to a folder that you may write to"
            ) from None
        # Whoever asks whether a host runs holds the lock too, for a moment.
        if not self._lock.wait_exclusive(_SETTLE_SECONDS):
            other = _read(self._lock)
            self._lock.close()
            where = f" at {other.url}" if other.url else ""
            raise AlreadyExists(
                f"a host is running already on {workdir}{where} (process {other.pid})",
                hint="use that one, stop it, or set another WORKDIR",
            )
        self.tell("")

    def tell(self, url: str) -> None:
        """Write down where the API is."""
        data = json.dumps(asdict(HostInfo(os.getpid(), url))).encode()
        with suppress(OSError):
            os.ftruncate(self._lock.fd, 0)
            os.pwrite(self._lock.fd, data, 0)

    def is_in_place(self) -> bool:
        """Tell whether the path of WORKDIR still leads to the folder that is locked."""
        try:
            return os.path.samestat(os.stat(self._lock.path), os.fstat(self._lock.fd))
        except OSError:
            return False

    def close(self) -> None:
        self._lock.close()


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except ProcessLookupError:
        return False
    return True


def _read(lock: FileLock) -> HostInfo:
    try:
        found = json.loads(os.pread(lock.fd, _MAX_BYTES, 0))
        return HostInfo(int(found["pid"]), str(found["url"]))
    except (OSError, ValueError, KeyError, TypeError):
        return HostInfo(0, "")
