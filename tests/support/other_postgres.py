"""A PostgreSQL of another version than the embedded one: with ``MANIFOLD_TEST_POSTGRES``, the folder of its programs.

It runs as the embedded one does (as another account for root, by a Unix socket), but as it comes: its own settings for
planning, JIT and durability are a server's defaults.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import psycopg
from manifold_local.embedded.postgres_account import server_account

_ROLE = "manifold"
_SECONDS = 60.0
_SETTINGS = """\
listen_addresses = ''
unix_socket_permissions = 0700
max_connections = 100
shared_buffers = 32MB
fsync = on
"""


def programs() -> Path | None:
    """Return the folder of its programs, where another version was asked for."""
    named = os.environ.get("MANIFOLD_TEST_POSTGRES")
    return Path(named) if named else None


class OtherPostgres:
    """Runs until it is closed. ``dsn`` names an empty database."""

    def __init__(self, folder: Path, binaries: Path) -> None:
        self._folder, self._binaries = folder, binaries
        folder.mkdir()
        self._account = server_account(folder / "data", (folder, binaries))
        sockets = folder / "run"
        for made in (folder, sockets, folder / "data"):
            made.mkdir(mode=0o700, exist_ok=True)
            shutil.chown(made, self._account.uid, self._account.gid)
        self._run("initdb", "-D", str(folder / "data"), "-U", _ROLE, "--auth=trust", "--encoding=UTF8", "--locale=C")
        (folder / "data/postgresql.conf").write_text(f"{_SETTINGS}unix_socket_directories = '{sockets}'\n")
        self.dsn = f"postgresql://{_ROLE}@/{_ROLE}?host={quote(str(sockets), safe='')}"
        self._process: subprocess.Popen[bytes] | None = None
        self.ensure_running(database="postgres")
        with psycopg.connect(self.dsn.replace(f"/{_ROLE}?", "/postgres?"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {_ROLE}")

    def ensure_running(self, *, database: str = _ROLE) -> None:
        if self._process is not None and self._process.poll() is None:
            return
        command = [str(self._binaries / "postgres"), "-D", str(self._folder / "data")]
        with open(self._folder / "server.log", "ab") as log:
            self._process = subprocess.Popen(
                self._account.command(command), stdout=log, stderr=log, **self._account.process_options()
            )
        deadline = time.monotonic() + _SECONDS
        while True:
            with suppress(psycopg.OperationalError):
                psycopg.connect(self.dsn.replace(f"/{_ROLE}?", f"/{database}?")).close()
                return
            assert self._process.poll() is None, (self._folder / "server.log").read_text()
            assert time.monotonic() < deadline, (self._folder / "server.log").read_text()
            time.sleep(0.05)

    def close(self, *, stop_now: bool = True) -> None:
        if stop_now and self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(_SECONDS)

    def _run(self, program: str, *arguments: str) -> None:
        command = self._account.command([str(self._binaries / program), *arguments])
        done = subprocess.run(command, capture_output=True, check=False, **self._account.process_options())
        assert done.returncode == 0, done.stderr.decode()
