"""Stops the embedded PostgreSQL when nobody uses it any more; also the only place that knows how to stop it.

Run as a program beside each server, by its path, with nothing but the standard library. Every user of the server
holds a shared lock on ``users.lock``. The keeper waits for an exclusive one, which comes when the last user is gone,
whether it said goodbye or was killed. Before it stops the server it lingers, so that a row of short commands shares
one server. Deciding is done under ``gate.lock``, as is starting, so that the two never race.

Folders are named by what is open, never by their path: they may be moved, or even removed, while the server runs. Once
it has ended, sums of its files are left behind, by which a whole copy of them can be told from one that was torn.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import signal
import sys
import time
from collections.abc import Iterator

GATE, USERS, KEEPER, SERVER = "gate.lock", "users.lock", "keeper.lock", "server.lock"
SUMS = "manifold-sums"
"""In the data folder: a line for each file, as the last server left it: digest, size, time of change (ns), path."""
_PATIENCE_SECONDS = ((signal.SIGINT, 30.0), (signal.SIGQUIT, 10.0))
"""Fast shutdown; then immediate shutdown, which loses nothing but makes the next start replay its log."""
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_WITHOUT_SUM = ("manifold-", "postmaster.")
_STOPPED = b"stopped\n"
"""In ``server.lock``: the server was stopped and its sums are written; whoever comes later leaves the folder alone."""
_LOG_FOLDER = "pg_wal"
"""Not summed: a start that misses a part of it that it needs fails by itself."""


def open_data(folder_fd: int) -> int:
    """Return a descriptor of the data folder. Raises OSError."""
    return os.open("data", _FOLDER, dir_fd=folder_fd)


def postmaster_pid(data_fd: int) -> int | None:
    """Return the process id in ``postmaster.pid``, if that process really is the server of this data folder."""
    try:
        with open(os.open("postmaster.pid", _READ, dir_fd=data_fd), encoding="utf-8", errors="replace") as file:
            pid = int(file.readline())
    except (OSError, ValueError):
        return None
    return pid if _works_in(pid, data_fd) else None


def stop_server(data_fd: int, server_fd: int) -> bool:
    """Stop the server of a data folder and wait for the last of its processes.

    Args:
        server_fd: an open ``server.lock``; holding it exclusively means that no server process is left.

    Returns:
        Whether it is stopped. The lock is then held through ``server_fd``.
    """
    is_removed = os.fstat(data_fd).st_nlink == 0
    for number, patience_seconds in _PATIENCE_SECONDS:
        if is_removed and number == signal.SIGINT:
            continue  # there is nothing to write back to
        deadline = time.monotonic() + patience_seconds
        signalled = False
        while True:
            try:
                fcntl.flock(server_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pass
            else:
                if os.pread(server_fd, len(_STOPPED), 0) != _STOPPED:
                    _note_sums(data_fd)
                    os.pwrite(server_fd, _STOPPED, 0)
                return True
            if not signalled and (pid := postmaster_pid(data_fd) or _first_process_in(data_fd)) is not None:
                try:
                    os.kill(pid, number)
                    signalled = True
                except ProcessLookupError:
                    pass
            if time.monotonic() >= deadline:
                break
            time.sleep(0.01)
    return False


def note_start(server_fd: int) -> None:
    """Say that the data folder is about to change; ``server.lock`` is held exclusively."""
    os.ftruncate(server_fd, 0)


def is_as_left(data_fd: int) -> bool:
    """Tell whether every file is, byte by byte, as the last server left it."""
    noted = _noted_sums(data_fd)
    try:
        found = {path: _digest(data_fd, path) for path in _files(data_fd)}
    except OSError:
        return False
    return bool(noted) and found == {path: digest for path, (digest, _, _) in noted.items()}


def _note_sums(data_fd: int) -> None:
    """Write the sums down, durably. A file that has not changed since the last time is not read again."""
    before, lines = _noted_sums(data_fd), []
    with contextlib.suppress(OSError):
        for path in _files(data_fd):
            now = os.stat(path, dir_fd=data_fd)
            digest, *then = before.get(path, ("", 0, 0))
            if then != [now.st_size, now.st_mtime_ns]:
                digest = _digest(data_fd, path)
            lines.append(f"{digest} {now.st_size} {now.st_mtime_ns} {path}\n")
        owner, aside = os.fstat(data_fd), f"{SUMS}.new"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(aside, dir_fd=data_fd)
        fd = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=data_fd)
        with open(fd, "w", encoding="utf-8") as file:
            if os.geteuid() == 0:
                os.fchown(fd, owner.st_uid, owner.st_gid)
            file.writelines(lines)
            file.flush()
            os.fsync(fd)
        os.replace(aside, SUMS, src_dir_fd=data_fd, dst_dir_fd=data_fd)


def _noted_sums(data_fd: int) -> dict[str, tuple[str, int, int]]:
    try:
        with open(os.open(SUMS, _READ, dir_fd=data_fd), encoding="utf-8") as file:
            rows = [line.rstrip("\n").split(" ", 3) for line in file]
        return {path: (digest, int(size), int(changed)) for digest, size, changed, path in rows}
    except (OSError, ValueError):
        return {}


def _files(data_fd: int) -> Iterator[str]:
    for folder, folders, names, _ in os.fwalk(".", dir_fd=data_fd):
        if folder == ".":
            folders[:] = [name for name in folders if name != _LOG_FOLDER]
        for name in names:
            if folder != "." or not name.startswith(_WITHOUT_SUM):
                yield os.path.join(folder, name)[2:]


def _digest(data_fd: int, path: str) -> str:
    with open(os.open(path, _READ, dir_fd=data_fd), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _works_in(pid: int, data_fd: int) -> bool:
    if os.path.isdir("/proc/self"):
        try:
            return os.path.samestat(os.stat(f"/proc/{pid}/cwd"), os.fstat(data_fd))
        except OSError:
            return False
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def _first_process_in(data_fd: int) -> int | None:
    """Return the process that all others that work in this folder come from: its server, if the file that names it has
    been removed together with the folder."""
    try:
        found = [int(name) for name in os.listdir("/proc") if name.isdigit() and _works_in(int(name), data_fd)]
    except OSError:
        return None
    return next((pid for pid in sorted(found) if _parent_of(pid) not in found), None)


def _parent_of(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return int(file.read().rpartition(")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return 0


def open_all(folder_fd: int) -> list[int]:
    """Return what a keeper of this folder has to be given, opened anew: gate, users, server, data. Raises OSError."""
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
    return [*(os.open(name, flags, dir_fd=folder_fd) for name in (GATE, USERS, SERVER)), open_data(folder_fd)]


def _watch(linger_seconds: float, keeper: int, gate: int, users: int, server: int, data: int) -> None:
    while True:
        fcntl.flock(users, fcntl.LOCK_EX)
        fcntl.flock(users, fcntl.LOCK_UN)
        time.sleep(linger_seconds)
        fcntl.flock(gate, fcntl.LOCK_EX)
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            fcntl.flock(gate, fcntl.LOCK_UN)
            continue
        stop_server(data, server)
        os.close(keeper)  # before the gate opens, so that the next starter sees that a new keeper is needed
        return


if __name__ == "__main__":
    _, _, _seconds, *_descriptors = sys.argv  # the folder's path comes first, for people to see
    _watch(float(_seconds), *map(int, _descriptors))
