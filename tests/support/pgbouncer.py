"""A real PgBouncer for tests, between a PostgreSQL server of theirs and whoever uses it.

The program is the one on PATH, or else Debian's packages, unpacked once into ``.pgbouncer`` of the checkout: that takes
``apt-get`` and ``dpkg``, and no rights. With ``MANIFOLD_TEST_POOLER=pgbouncer`` every database that a test asks for is
reached through one, in transaction mode (``tests/support/postgres.py``).
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest
from manifold_local.embedded.postgres_account import server_account
from manifold_local.embedded.stack.child import free_ports

ROOT = Path(__file__).parents[2]
_UNPACKED = ROOT / ".pgbouncer"
_PACKAGES = ("pgbouncer", "libevent-2.1-7", "libc-ares2")
_FETCH_SECONDS = 60
_START_SECONDS = 10.0
_ADMIN = "admin"

PoolMode = Literal["transaction", "session", "statement"]


def program() -> tuple[Path, dict[str, str]]:
    """Return PgBouncer and the environment that it needs; skips the test where it cannot be had."""
    found = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found:
        return Path(found), {}
    inside = _UNPACKED / "usr/sbin/pgbouncer"
    if not inside.exists():
        _fetch()
    (libraries,) = (_UNPACKED / "usr/lib").glob("*-linux-gnu")
    return inside, {"LD_LIBRARY_PATH": str(libraries)}


def _fetch() -> None:
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        pytest.skip("PgBouncer is not installed, and there is no apt-get to fetch it with")
    with tempfile.TemporaryDirectory(dir=ROOT, prefix=".pgbouncer-") as aside:
        fetched = subprocess.run(
            ["apt-get", "download", *_PACKAGES], cwd=aside, capture_output=True, timeout=_FETCH_SECONDS, check=False
        )
        packages = sorted(Path(aside).glob("*.deb"))
        if fetched.returncode or len(packages) != len(_PACKAGES):
            pytest.skip("PgBouncer is not installed, and its packages cannot be fetched")
        for package in packages:
            subprocess.run(["dpkg", "-x", package, f"{aside}/root"], check=True, timeout=_FETCH_SECONDS)
        if not _UNPACKED.exists():  # another run may have been faster
            os.rename(f"{aside}/root", _UNPACKED)


@dataclass
class PgBouncer:
    port: int
    process: subprocess.Popen[bytes]
    role: str

    def dsn(self, database: str) -> str:
        return f"postgresql://{self.role}@127.0.0.1:{self.port}/{database}?sslmode=disable"

    def admin(self, command: str) -> list[dict[str, Any]]:
        """Run a command of its console, such as ``SHOW POOLS``, ``RECONNECT``, ``PAUSE db``, ``KILL db``."""
        url = f"postgresql://{_ADMIN}@127.0.0.1:{self.port}/pgbouncer?sslmode=disable"
        with psycopg.Connection.connect(url, autocommit=True, cursor_factory=psycopg.ClientCursor) as console:
            cursor = console.execute(command)
            names = [column.name for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in (cursor.fetchall() if names else ())]

    def servers(self, database: str) -> list[dict[str, Any]]:
        """Return its connections to the server."""
        return [row for row in self.admin("SHOW SERVERS") if row["database"] == database]


@contextmanager
def running_pgbouncer(
    server_dsn: str, *, mode: PoolMode = "transaction", pool_size: int = 3, **more: str
) -> Iterator[PgBouncer]:
    """Run one in front of a server that is reached by a Unix socket.

    Args:
        more: further settings, such as ``max_client_conn="20"``.
    """
    parts = urlsplit(server_dsn)
    sockets = Path(parse_qs(parts.query)["host"][0])
    binary, environment = program()
    account = server_account(sockets.parent / "data", (sockets, binary.parent))
    (port,) = free_ports(1)
    settings = {
        "listen_addr": "127.0.0.1",
        "listen_port": port,
        "unix_socket_dir": "",
        "auth_type": "any",
        "admin_users": _ADMIN,
        "pool_mode": mode,
        "default_pool_size": pool_size,
        "max_client_conn": 500,
        "server_login_retry": 0.2,
        "log_connections": 0,
        "log_disconnections": 0,
        **more,
    }
    with tempfile.TemporaryDirectory(prefix="pgbouncer-") as folder:
        os.chmod(folder, 0o755)  # it runs as another account, and has no secrets
        file = Path(folder) / "pgbouncer.ini"
        lines = [f"[databases]\n* = host={sockets} user={parts.username}\n[pgbouncer]"]
        file.write_text("\n".join([*lines, *(f"{name} = {value}" for name, value in settings.items())]) + "\n")
        file.chmod(0o644)
        options = account.process_options()
        with open(Path(folder) / "log", "wb") as log:
            process = subprocess.Popen(
                account.command([str(binary), str(file)]),
                stdout=log,
                stderr=log,
                **{**options, "env": {**options["env"], **environment}},
            )
        try:
            _wait_until_up(port, process, Path(folder) / "log")
            yield PgBouncer(port, process, str(parts.username))
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()


def _wait_until_up(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.01)
        else:
            return
