"""A note of each server that runs for this user, so that a command in any shell finds its installation.

The notes lie in a folder of the user's own that nobody else can write to or read. Nothing is looked for in the current
folder or above it: a tree that somebody was given may hold anything, also what looks like an installation.

A note is locked for as long as its server runs: one that can be locked is left from a server that was killed.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import stat
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from manifold_common.settings import runtime_folder

from manifold_local.embedded.filelock import FileLock
from manifold_local.handover import Handover

_SUFFIX = ".json"
_MAX_BYTES = 1 << 20
_OF_OTHERS = 0o077

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RunningServer:
    url: str
    handover: Handover

    @property
    def workdir(self) -> str:
        return self.handover.variables["WORKDIR"]


@contextmanager
def noted(server: RunningServer) -> Iterator[None]:
    """Have commands of this user find a server, for the time being. Where there is no place for the note, they do not.

    Its file appears when it is complete and locked.
    """
    name = f"{secrets.token_hex(8)}{_SUFFIX}"
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(_folder(make=True))
            lock = FileLock(Path(f"{name}.new"), within=folder)
            stack.callback(lock.close)
            if not lock.try_exclusive():
                raise OSError("somebody has locked it")
            os.pwrite(lock.fd, json.dumps(asdict(server)).encode(), 0)
            os.rename(f"{name}.new", name, src_dir_fd=folder, dst_dir_fd=folder)
            stack.callback(_remove, name, folder)
        except OSError as error:
            _log.info("commands without WORKDIR will not find this server: %s", error)
        yield


def running_servers() -> list[RunningServer]:
    """Return this user's servers that run, by folder."""
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(_folder(make=False))
        except OSError:
            return []
        found = [_look(name, folder) for name in os.listdir(folder) if name.endswith(_SUFFIX)]
    return sorted((server for server in found if server is not None), key=lambda server: server.workdir)


def _look(name: str, folder: int) -> RunningServer | None:
    try:
        lock = FileLock(Path(name), within=folder)
    except OSError:
        return None
    try:
        if lock.wait_shared(0):
            _remove(name, folder)
            return None
        content = json.loads(os.pread(lock.fd, _MAX_BYTES, 0))
        server = RunningServer(content["url"], Handover(**content["handover"]))
        return server if server.workdir else None
    except (OSError, ValueError, KeyError, TypeError):  # of another release
        return None
    finally:
        lock.close()


def _remove(name: str, folder: int) -> None:
    with suppress(OSError):
        os.unlink(name, dir_fd=folder)


@contextmanager
def _folder(*, make: bool) -> Iterator[int]:
    """Yield the open folder of the notes. Raises OSError: there is none that is this user's alone."""
    path = _place()
    if make:
        path.mkdir(mode=0o700, exist_ok=True)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = os.fstat(fd)
        if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & _OF_OTHERS:
            raise PermissionError(f"{path} is not this user's alone")
        yield fd
    finally:
        os.close(fd)


def _place() -> Path:
    for given in (runtime_folder(), f"/run/user/{os.geteuid()}"):
        if given and os.path.isabs(given) and _is_own(given):
            return Path(given) / "manifold"
    return Path(tempfile.gettempdir()) / f"manifold-{os.geteuid()}"


def _is_own(folder: str) -> bool:
    """Tell whether a folder is this user's, to write to: after ``su`` the variable is still that of another."""
    try:
        return os.stat(folder).st_uid == os.geteuid() and os.access(folder, os.W_OK | os.X_OK)
    except OSError:
        return False
