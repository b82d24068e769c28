"""Stops the embedded PostgreSQL when nobody uses it any more; also the only place that knows how to stop it.

Run as a program beside each server, by its path, with nothing but the standard library. Every user of the server
holds a shared lock on ``users.lock``. The keeper waits for an exclusive one, which comes when the last user is gone,
whether it said goodbye or was killed. Before it stops the server it lingers, so that a row of short commands shares
one server. Deciding is done under ``gate.lock``, as is starting, so that the two never race.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import time

GATE, USERS, KEEPER, SERVER = "gate.lock", "users.lock", "keeper.lock", "server.lock"
_PATIENCE_SECONDS = ((signal.SIGINT, 30.0), (signal.SIGQUIT, 10.0))
"""Fast shutdown; then immediate shutdown, which loses nothing but makes the next start replay its log."""


def postmaster_pid(data: str) -> int | None:
    """Return the process id in ``postmaster.pid``, if that process really is the server of ``data``."""
    try:
        with open(os.path.join(data, "postmaster.pid"), encoding="utf-8", errors="replace") as file:
            pid = int(file.readline())
    except (OSError, ValueError):
        return None
    return pid if _works_in(pid, data) else None


def stop_server(data: str, server_fd: int) -> bool:
    """Stop the server of ``data`` and wait for the last of its processes.

    Args:
        server_fd: an open ``server.lock``; holding it exclusively means that no server process is left.

    Returns:
        Whether it is stopped. The lock is then held through ``server_fd``.
    """
    for number, patience_seconds in _PATIENCE_SECONDS:
        deadline = time.monotonic() + patience_seconds
        signalled = False
        while True:
            try:
                fcntl.flock(server_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                pass
            if not signalled and (pid := postmaster_pid(data)) is not None:
                try:
                    os.kill(pid, number)
                    signalled = True
                except ProcessLookupError:
                    pass
            if time.monotonic() >= deadline:
                break
            time.sleep(0.01)
    return False


def _works_in(pid: int, data: str) -> bool:
    if os.path.isdir("/proc/self"):
        try:
            return os.path.samefile(f"/proc/{pid}/cwd", data)
        except OSError:
            return False
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def _open(folder: str, name: str) -> int:
    return os.open(os.path.join(folder, name), os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)


def _watch(folder: str, linger_seconds: float, keeper_fd: int) -> None:
    gate, users, server = _open(folder, GATE), _open(folder, USERS), _open(folder, SERVER)
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
        stop_server(os.path.join(folder, "data"), server)
        os.close(keeper_fd)  # before the gate opens, so that the next starter sees that a new keeper is needed
        return


if __name__ == "__main__":
    _watch(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]))
