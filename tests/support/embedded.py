"""Embedded PostgreSQL servers for tests: made in memory, looked at from outside, gone afterwards."""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from manifold_local.embedded.postgres import EmbeddedPostgres, ensure_embedded

from tests.support.waiting import wait_until

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become other users")
needs_proc = pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks at processes in /proc")


@contextmanager
def private_place() -> Iterator[Path]:
    """Yield a new folder, in memory if possible, since making and stopping a database flushes it to the disk."""
    in_memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=in_memory, prefix="mpg-") as name:
        try:
            yield Path(name)
        finally:
            # Keepers first: what is killed cannot be stopped in order, and they would write down how it was left.
            for find in (_keepers_below, _servers_below):
                for pid in find(name):
                    kill(pid)
            wait_until(lambda: not _keepers_below(name) and not _servers_below(name))


@contextmanager
def server_place() -> Iterator[Path]:
    """Yield a place for one server that is not there yet; whatever still runs in it is gone afterwards."""
    with private_place() as place:
        yield place / "pg"


@contextmanager
def made_server() -> Iterator[Path]:
    """Yield the folder of a server that has run before, and was stopped."""
    with private_place() as place:
        start(place / "pg").close(stop_now=True)
        wait_until(lambda: is_stopped(place / "pg"))
        yield place / "pg"


def copy(source: Path, target: Path) -> None:
    subprocess.run(["cp", "-a", str(source), str(target)], check=True)


def start(folder: Path, linger_seconds: float = 0.0) -> EmbeddedPostgres:
    return ensure_embedded(folder, linger_seconds=linger_seconds)


def query(dsn: str, statement: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


def postmaster(folder: Path) -> int:
    return int((folder / "data/postmaster.pid").read_text().split()[0])


def postgres_processes(folder: Path) -> dict[int, int]:
    """Return the living processes of the folder's server, each with the user it runs as."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if os.readlink(entry / "cwd") == str(folder / "data"):
                    found[int(entry.name)] = psutil.Process(int(entry.name)).uids().effective
            except (OSError, psutil.NoSuchProcess):
                continue
    return found


def keepers(folder: Path) -> list[int]:
    found = []
    for process in psutil.process_iter(["cmdline"]):
        arguments = process.info["cmdline"] or []
        if str(folder) in arguments and any(part.endswith("postgres_keeper.py") for part in arguments):
            found.append(process.pid)
    return found


def _keepers_below(place: str) -> list[int]:
    found = []
    for process in psutil.process_iter(["cmdline"]):
        arguments = process.info["cmdline"] or []
        if any(part.endswith("postgres_keeper.py") for part in arguments) and any(
            part.startswith(place + "/") for part in arguments
        ):
            found.append(process.pid)
    return found


def _servers_below(place: str) -> list[int]:
    return [
        process.pid
        for process in psutil.process_iter(["cwd", "name"])
        if process.info["name"] == "postgres" and (process.info["cwd"] or "").startswith(place + "/")
    ]


def server_processes(folder: Path) -> list[int]:
    return [*postgres_processes(folder), *keepers(folder)]


def kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def is_stopped(folder: Path) -> bool:
    return not server_processes(folder)


USER = """
import sys, time
from pathlib import Path
from manifold_local.embedded.postgres import ensure_embedded
server = ensure_embedded(Path(sys.argv[1]), linger_seconds=float(sys.argv[2]))
print(server.dsn, flush=True)
sys.stdin.read()
server.close()
"""


def other_process(folder: Path, linger_seconds: float = 0.0) -> subprocess.Popen[str]:
    """Start a process that uses the server until its standard input ends."""
    user = subprocess.Popen(
        [sys.executable, "-c", USER, str(folder), str(linger_seconds)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert user.stdout is not None
    assert user.stdout.readline().startswith("postgresql://")
    return user


def end(user: subprocess.Popen[str], *, by_kill: bool = False) -> None:
    if by_kill:
        user.kill()
    if user.returncode is None:
        user.communicate()


def python_for(account: str | int) -> list[str]:
    """Return the command that runs Python as an ordinary user, which may not be able to enter root's folders."""
    group = pwd.getpwnam(account).pw_gid if isinstance(account, str) else account
    become = ["setpriv", f"--reuid={account}", f"--regid={group}", "--clear-groups"]
    search_path = os.pathsep.join(path for path in sys.path if path)
    for interpreter in (sys.executable, "/usr/bin/python3"):
        command = [*become, "env", f"PYTHONPATH={search_path}", interpreter]
        imports = [*command, "-c", "import psycopg, manifold_local.embedded.postgres"]
        if subprocess.run(imports, capture_output=True, check=False).returncode == 0:
            return command
    pytest.skip("there is no Python of this version that an ordinary user may run")
