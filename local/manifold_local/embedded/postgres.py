"""A private PostgreSQL server in a folder, shared by every process that uses the folder.

Promises: an acknowledged commit survives ``kill -9`` of everything; processes may come and go in any order and way;
the server stops a few seconds after its last user is gone, however that one went; only this user (and root) can
connect, over a socket in a private folder, and there is no port. Nothing outside the folder is changed.

The folder::

    data/          the database
    run/           the socket, mode 0700 (a short folder below /tmp instead when the path is too long for a socket)
    *.conf         written at each start
    server.log     starts, stops, crashes; at most 1 MiB, then server.log.1
    gate.lock      held while deciding to start or stop
    users.lock     shared by every user of the server
    server.lock    held by the server's processes
    keeper.lock    held by the program that stops the server when nobody is left
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from manifold_common.errors import CatalogUnavailable, ConfigError, ManifoldError, NoSpace

from manifold_local.embedded import postgres_cluster as cluster
from manifold_local.embedded import postgres_keeper as keeper
from manifold_local.embedded.filelock import FileLock
from manifold_local.embedded.postgres_account import Account, server_account

_SOCKET_PATH_LIMIT_BYTES = 103  # of sun_path on macOS; Linux allows 107
_SOCKET_NAME = ".s.PGSQL.5432"
_SOCKET_LOCK = ".s.PGSQL.5432.lock"
_PLAIN_PATH = re.compile(r"[A-Za-z0-9/._@+-]+\Z")  # what needs no quoting in a libpq connection string
_POLL_SECONDS = 0.005
_LEAVE_SECONDS = 60.0


class EmbeddedPostgres:
    """One process's share in the server of a folder. Use :func:`ensure_embedded` to get one."""

    def __init__(self, folder: Path, *, linger_seconds: float, start_timeout_seconds: float) -> None:
        self._folder = folder
        self._data = folder / "data"
        self._linger_seconds = linger_seconds
        self._start_timeout_seconds = start_timeout_seconds
        self._users: FileLock | None = None
        self.dsn = ""
        """Connection string; no secret is in it, because the server knows its users by their process."""

    def ensure_running(self) -> None:
        """Start the server unless it runs; join its users. May be called again after the server has crashed.

        Raises:
            CatalogUnavailable: it cannot be started; the message has the end of its log.
            ConfigError: the folder belongs to something else.
            NoSpace: the disk is full.
        """
        deadline = time.monotonic() + self._start_timeout_seconds
        _prepare_folder(self._folder)
        gate = self._lock(keeper.GATE)
        try:
            if not gate.wait_exclusive(self._start_timeout_seconds):
                raise CatalogUnavailable(
                    f"another process has been starting or stopping the database in {self._folder} for more than "
                    f"{self._start_timeout_seconds:g} seconds",
                    hint="look for hanging manifold processes, then try again",
                )
            if self._users is None:
                users = self._lock(keeper.USERS)
                if not users.wait_shared(_LEAVE_SECONDS):
                    users.close()
                    raise CatalogUnavailable(f"the lock {users.path} cannot be had", hint="try again")
                self._users = users
            try:
                self._start(deadline)
            except BaseException:
                self._leave()
                raise
        finally:
            gate.close()

    def close(self, *, stop_now: bool = False) -> None:
        """Leave. When nobody else is left, the server stops soon, or before this returns with ``stop_now``."""
        if self._users is None:
            return
        if not stop_now:
            self._leave()
            return
        gate, server = self._lock(keeper.GATE), self._lock(keeper.SERVER)
        try:
            if gate.wait_exclusive(_LEAVE_SECONDS) and _is_last(self._users):
                keeper.stop_server(str(self._data), server.fd)
        finally:
            self._leave()
            server.close()
            gate.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- under the gate -------------------------------------------------------------------------------------------

    def _start(self, deadline: float) -> None:
        server = self._lock(keeper.SERVER)
        launched_pid = 0
        log_start = cluster.log_bytes(self._folder)
        try:
            while True:
                if server.fd >= 0 and server.try_exclusive():
                    account = self._account()
                    self._refuse_foreign_server()
                    if not cluster.check_data(self._data):
                        cluster.create_data(self._folder, self._data, account, server.fd)
                    cluster.write_settings(self._folder, account)
                    sockets = _socket_folder(self._folder, account)
                    # Left by a killed server. PostgreSQL would look at their process ids, which others may have now.
                    for leftover in (self._data / "postmaster.pid", sockets / _SOCKET_NAME, sockets / _SOCKET_LOCK):
                        leftover.unlink(missing_ok=True)
                    launched_pid = cluster.launch(self._folder, self._data, sockets, account, server.fd)
                    server.close()  # now the server alone holds the lock
                if (ready := cluster.ready_sockets(self._data)) is not None:
                    break
                if launched_pid and not _is_alive(launched_pid):
                    raise cluster.start_failed(self._folder, log_start)
                if time.monotonic() >= deadline:
                    raise cluster.start_failed(self._folder, log_start)
                time.sleep(_POLL_SECONDS)
        finally:
            server.close()
        self.dsn = f"postgresql://{cluster.ROLE}@/{cluster.DATABASE}?host={quote(str(ready), safe='')}"
        self._ensure_keeper()

    def _account(self) -> Account:
        return server_account(self._data, (self._folder, cluster.binaries()))

    def _refuse_foreign_server(self) -> None:
        if keeper.postmaster_pid(str(self._data)) is not None:
            raise CatalogUnavailable(
                f"a PostgreSQL server that Manifold did not start is using {self._data}", hint="stop that server first"
            )

    def _ensure_keeper(self) -> None:
        lock = self._lock(keeper.KEEPER)
        try:
            if lock.try_exclusive():
                cluster.launch_keeper(self._folder, self._linger_seconds, lock.fd)
        finally:
            lock.close()

    def _leave(self) -> None:
        if self._users is not None:
            self._users.close()
            self._users = None

    def _lock(self, name: str) -> FileLock:
        try:
            return FileLock(self._folder / name)
        except OSError as error:
            raise _folder_error(self._folder, error) from error


def ensure_embedded(
    folder: Path, *, linger_seconds: float = 5.0, start_timeout_seconds: float = 90.0
) -> EmbeddedPostgres:
    """Return this process's share in the server of ``folder``, which is made and started if need be.

    Args:
        folder: absolute or relative; made with mode 0700. Its parent must exist.
        linger_seconds: how long the server outlives its last user.

    Raises:
        CatalogUnavailable, ConfigError, NoSpace: see :meth:`EmbeddedPostgres.ensure_running`.
    """
    server = EmbeddedPostgres(
        folder.absolute(), linger_seconds=linger_seconds, start_timeout_seconds=start_timeout_seconds
    )
    server.ensure_running()
    return server


def _is_last(users: FileLock) -> bool:
    """Tell, under the gate, whether nobody else uses the server. Gives up the shared lock."""
    users.release()
    if users.try_exclusive():
        return True
    # The keeper, which has waited for it, may have got the lock first. It holds it for an instant, and comes back only
    # through the gate; another user shares it.
    if not users.wait_shared(_LEAVE_SECONDS):
        return False
    users.release()
    return users.try_exclusive()


def _prepare_folder(folder: Path) -> None:
    try:
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:
            found = {entry.name for entry in os.scandir(folder)}
            if found and keeper.GATE not in found:
                raise ConfigError(
                    f"{folder} is not empty and was not made by Manifold",
                    hint="choose another WORKDIR, or move the folder away",
                ) from None
    except OSError as error:
        raise _folder_error(folder, error) from error


def _socket_folder(folder: Path, account: Account) -> Path:
    """Return a folder, owned by the server's account and closed to others, whose socket path is short enough."""
    _let_account_in(folder, account)
    sockets = folder / "run"
    path = str(sockets / _SOCKET_NAME)
    if len(os.fsencode(path)) > _SOCKET_PATH_LIMIT_BYTES or not _PLAIN_PATH.match(path):
        name = hashlib.blake2b(os.fsencode(folder.resolve()), digest_size=8).hexdigest()
        sockets = Path(tempfile.gettempdir(), f"manifold-pg-{account.uid}-{name}")
        if len(str(sockets / _SOCKET_NAME)) > _SOCKET_PATH_LIMIT_BYTES:
            sockets = Path("/tmp", sockets.name)  # noqa: S108 - its ownership is checked below
    try:
        sockets.mkdir(mode=0o700)
        os.chown(sockets, account.uid, account.gid)
    except FileExistsError:
        found = os.lstat(sockets)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != account.uid or found.st_mode & 0o077:
            raise CatalogUnavailable(
                f"{sockets} is needed for the database's socket, but it is not a private folder of {account.name}",
                hint="remove it",
            ) from None
    except OSError as error:
        raise CatalogUnavailable(
            f"the folder {sockets} for the database's socket cannot be made: {error.strerror}",
            hint="set TMPDIR to a folder that may be written to, or DATABASE_URL to a server of your own",
        ) from None
    return sockets


def _let_account_in(folder: Path, account: Account) -> None:
    """Let the server's account enter, but not list or change, a folder that root made."""
    found = folder.stat()
    if os.geteuid() == 0 and found.st_uid == 0:
        os.chown(folder, 0, account.gid)
        os.chmod(folder, 0o710)  # noqa: S103 - enter, for that one group


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        pass
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except OSError:
        return False
    return not os.path.isdir("/proc/self")


def _folder_error(folder: Path, error: OSError) -> ManifoldError:
    if error.errno == 28:
        return NoSpace(f"the disk of {folder} is full", hint="free some space, or choose another WORKDIR")
    return CatalogUnavailable(
        f"the folder {folder} of the embedded PostgreSQL cannot be used: {error.strerror}",
        hint="check its owner and permissions, choose another WORKDIR, or set DATABASE_URL",
    )
