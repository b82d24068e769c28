"""The real host process, with settings of its own: encrypted, working sets in RAM."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from manifold_local.host_lock import host_is_running

from tests.support.cli import EXECUTABLE
from tests.support.stack import NewStack


def status_kib(pid: int, field: str) -> int:
    """Return what Linux says of a process's memory: ``VmRSS`` is what it holds, ``VmHWM`` the most it ever held."""
    match = re.search(rf"{field}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert match
    return int(match[1])


class Host:
    """A host process on a port of its own."""

    def __init__(self, workdir: Path, ram: Path, **variables: str) -> None:
        self.workdir = workdir
        self.variables = variables
        self.clients: list[httpx.Client] = []
        environ = {key: value for key, value in os.environ.items() if key in ("PATH", "HOME", "LANG")}
        environ |= {
            "WORKDIR": str(workdir),
            "XDG_RUNTIME_DIR": str(workdir.parent),
            "SERVER_PORT": "0",
            "SERVER_SHUTDOWN_SECONDS": "10",
            "PROJECTS_ENCRYPT": "true",
            "PROJECTS_WORKSPACE_MODE": "ephemeral",
            "PROJECTS_WORKSPACE_TMPFS_DIR": str(ram),
            **variables,
        }
        self.process = subprocess.Popen(
            [EXECUTABLE, "up"], env=environ, cwd=workdir.parent, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def ready(self, workdir: Path | None = None) -> httpx.Client:
        """Wait until the host serves, and return a client."""
        deadline = time.monotonic() + 90
        while (found := host_is_running(workdir or self.workdir)) is None or not found.url:
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert httpx.get(f"{found.url}/readyz", timeout=30).status_code == 200
        self.clients.append(httpx.Client(base_url=found.url, timeout=30))
        return self.clients[-1]

    def stop(self, sign: signal.Signals = signal.SIGTERM) -> tuple[int, str, str]:
        """Return (exit code, stdout, stderr)."""
        self.process.send_signal(sign)
        out, err = self.process.communicate(timeout=40)
        return self.process.returncode, out, err

    def status_kib(self, field: str) -> int:
        return status_kib(self.process.pid, field)


MakeHost = Callable[..., Host]


@pytest.fixture
def make_host(tmp_path: Path, ram_folder: Path, empty_postgres_dsn: str, new_stack: NewStack) -> Iterator[MakeHost]:
    """Return a function that starts a host; all of a test share one WORKDIR, RAM folder and database.

    With ``embedded=True`` the host brings a database of its own.
    """
    made: list[Host] = []
    stack = new_stack()

    def make(*, embedded: bool = False, **variables: str) -> Host:
        database = {} if embedded else {"DATABASE_URL": empty_postgres_dsn}
        made.append(Host(tmp_path / "work", ram_folder / "ram", **{**database, **stack, **variables}))
        return made[-1]

    yield make
    for host in made:
        for client in host.clients:
            client.close()
        if host.process.poll() is None:
            host.process.kill()
        host.process.communicate()
