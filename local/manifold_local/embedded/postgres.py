"""A private PostgreSQL server in a folder, shared by every process that uses the folder.

Promises: an acknowledged commit survives ``kill -9`` of everything; processes may come and go in any order and way;
the server stops a few seconds after its last user is gone, however that one went; only this user (and root) can
connect, over a socket in a private folder, and there is no port. Nothing outside the folder is changed. The folder may
be moved at any time, also while the server runs. A copy of it is started only if it is whole.

The folder::

    data/          the database; in it manifold-place (where it is) and manifold-sums (how the last server left it)
    run/           the socket, mode 0700 (reached by a link below /tmp when the path is too long for a socket)
    *.conf         written at each start
    server.log     starts, stops, crashes; at most 1 MiB, then server.log.1
    gate.lock      held by the one that starts or stops the server; never by one that waits for it
    users.lock     shared by every user of the server
    server.lock    held by the server's processes; notes that it was stopped
    keeper.lock    held by the program that stops the server when nobody is left
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import stat
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from manifold_common.domain.own_server import OwnServer
from manifold_common.domain.wording import span
from manifold_common.errors import CatalogUnavailable, ConfigError, ManifoldError, NoSpace

from manifold_local.embedded import postgres_cluster as cluster
from manifold_local.embedded import postgres_keeper as keeper
from manifold_local.embedded.filelock import FileLock
from manifold_local.embedded.postgres_account import Account, server_account
from manifold_local.embedded.postgres_denied import denied
from manifold_local.embedded.postgres_place import require_whole

_SOCKET_PATH_LIMIT_BYTES = 103  # of sun_path on macOS; Linux allows 107
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
        self._folder_fd = -1
        """The folder itself, wherever it is by now; open for as long as ``_users`` is."""
        self.dsn = OwnServer()
        """Connection string; no secret is in it, because the server knows its users by their process."""

    def ensure_running(self) -> None:
        """Start the server unless it runs; join its users. May be called again after the server has crashed.

        Raises:
            CatalogUnavailable: it cannot be started; the message has the end of its log.
            Denied: this process may not use it.
            ConfigError: the folder belongs to something else. TornCopy: it is a copy that is not whole.
            NoSpace: the disk is full.
        """
        deadline = time.monotonic() + self._start_timeout_seconds
        if self._users is None:
            _prepare_folder(self._folder)
            self._folder_fd = _open_folder(self._folder)
        try:
            self._join(deadline)
        finally:
            if self._users is None:
                self._close_folder()

    def close(self, *, stop_now: bool = False) -> None:
        """Leave. When nobody else is left, the server stops soon, or before this returns with ``stop_now``."""
        if self._users is None:
            return
        try:
            if stop_now:
                self._stop_if_last(self._users)
        finally:
            self._leave()
            self._close_folder()

    def stop(self) -> bool:
        """Stop the server, though this process is none of its users. Returns whether none is left."""
        try:
            if not self._data.exists():
                return True
        except PermissionError as error:
            raise denied(self._folder, error) from error
        self._folder_fd = _open_folder(self._folder)
        users = self._lock(keeper.USERS)
        try:
            return users.wait_shared(_LEAVE_SECONDS) and self._stop_if_last(users)
        finally:
            users.close()
            self._close_folder()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _join(self, deadline: float) -> None:
        gate = self._lock(keeper.GATE)  # which marks the folder as ours, so it is the first file in it
        try:
            users = self._users or self._shared_users()
            try:
                self._require_place()
            except CatalogUnavailable:
                if self._users is None:
                    users.close()
                raise
            self._users = users
            try:
                self._start(gate, deadline)
            except BaseException:
                self._leave()
                raise
        except PermissionError as error:
            raise denied(self._folder, error) from error
        finally:
            gate.close()

    def _shared_users(self) -> FileLock:
        users = self._lock(keeper.USERS)
        if users.wait_shared(self._start_timeout_seconds):
            return users
        users.close()
        raise self._hangs("another process has been stopping the database")

    def _stop_if_last(self, users: FileLock) -> bool:
        gate, server = self._lock(keeper.GATE), self._lock(keeper.SERVER)
        try:
            return gate.wait_exclusive(_LEAVE_SECONDS) and _is_last(users) and self._stop(server)
        finally:
            server.close()
            gate.close()

    def _require_place(self) -> None:
        """Raises CatalogUnavailable: the path no longer leads to the folder."""
        try:
            moved = not os.path.samestat(os.stat(self._folder), os.fstat(self._folder_fd))
        except OSError:
            moved = True
        if moved:
            raise CatalogUnavailable(
                f"the folder {self._folder} was moved away while it was in use",
                hint="set WORKDIR to where it is now, and start again",
            )

    def _start(self, gate: FileLock, deadline: float) -> None:
        """Wait until the server serves; if none does, and nobody else sees to that, start it."""
        server = self._lock(keeper.SERVER)
        launched_pid = 0
        was_tended = False
        log_start = cluster.log_bytes(self._folder)
        try:
            account = server_account(self._data, (self._folder, cluster.binaries()))
            sockets = _reachable_sockets(self._folder, account)
            while True:
                if not launched_pid and gate.try_exclusive():
                    try:
                        launched_pid = self._tend(server, account, sockets)
                        was_tended = True
                    finally:
                        gate.release()
                state = cluster.look(self._data, sockets)
                if state is cluster.State.READY and (was_tended or not cluster.is_moved(self._data)):
                    break
                if launched_pid and (not _is_alive(launched_pid) or time.monotonic() >= deadline):
                    raise cluster.start_failed(self._folder, log_start)
                if time.monotonic() >= deadline:
                    raise self._hangs(
                        "the database has been starting"
                        if was_tended
                        else "another process has been starting or stopping the database"
                    )
                time.sleep(_POLL_SECONDS)
        finally:
            server.close()
        self.dsn = OwnServer(f"postgresql://{cluster.ROLE}@/{cluster.DATABASE}?host={quote(str(sockets), safe='')}")
        self._ensure_keeper()

    def _hangs(self, what: str) -> CatalogUnavailable:
        return CatalogUnavailable(
            f"{what} in {self._folder} for more than {span(self._start_timeout_seconds)}",
            hint=f"see {cluster.LOG} in the folder, look for hanging manifold and postgres processes, then try again",
        )

    # --- under the gate -------------------------------------------------------------------------------------------

    def _tend(self, server: FileLock, account: Account, sockets: Path) -> int:
        """Start a server where there is none, or none that can serve. Returns its process id; 0: there is one."""
        if not server.try_exclusive():
            state = cluster.look(self._data, sockets)
            if state is cluster.State.UNREACHABLE:
                stopped = self._stop(server)  # nobody could ever have reached it again
            elif state is cluster.State.READY and cluster.is_moved(self._data):
                stopped = self._stop_unused(server)
            else:
                stopped = False
            if not stopped:
                return 0
        pid = self._launch(server, account)
        server.close()  # now the server alone holds the lock
        return pid

    def _stop_unused(self, server: FileLock) -> bool:
        """Stop the server if this process is its only user, which it stays. Tell whether it was stopped."""
        assert self._users is not None
        try:
            return _is_last(self._users) and self._stop(server)
        finally:
            if not self._users.wait_shared(_LEAVE_SECONDS):
                raise CatalogUnavailable(f"the lock {self._users.path} cannot be had", hint="try again")

    def _launch(self, server: FileLock, account: Account) -> int:
        """Start a server; ``server`` is held exclusively. Returns its process id."""
        keeper.note_start(server.fd)
        if not cluster.check_data(self._data):
            cluster.create_data(self._folder, self._data, account, server.fd)
        cluster.write_settings(self._folder, account)
        data_fd = self._open_data()
        try:
            if keeper.postmaster_pid(data_fd) is not None:
                raise CatalogUnavailable(
                    f"a PostgreSQL server that Manifold did not start is using {self._data}",
                    hint="stop that server first",
                )
            require_whole(self._data, data_fd, account)
        finally:
            os.close(data_fd)
        run = _socket_folder(self._folder, account)
        # Left by a killed server. PostgreSQL would look at their process ids, which others may have now.
        for leftover in (self._data / "postmaster.pid", run / cluster.SOCKET, run / cluster.SOCKET_LOCK):
            leftover.unlink(missing_ok=True)
        return cluster.launch(self._folder, self._data, account, server.fd)

    def _stop(self, server: FileLock) -> bool:
        data_fd = self._open_data()
        try:
            return keeper.stop_server(data_fd, server.fd)
        finally:
            os.close(data_fd)

    def _open_data(self) -> int:
        try:
            return keeper.open_data(self._folder_fd)
        except OSError as error:
            raise _folder_error(self._folder, error) from error

    def _ensure_keeper(self) -> None:
        lock = self._lock(keeper.KEEPER)
        try:
            if lock.try_exclusive():
                cluster.launch_keeper(self._folder, self._folder_fd, self._linger_seconds, lock.fd)
        finally:
            lock.close()

    def _leave(self) -> None:
        if self._users is not None:
            self._users.close()
            self._users = None

    def _close_folder(self) -> None:
        if self._folder_fd >= 0:
            os.close(self._folder_fd)
            self._folder_fd = -1

    def _lock(self, name: str) -> FileLock:
        try:
            return FileLock(self._folder / name, within=self._folder_fd)
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
        CatalogUnavailable, ConfigError, Denied, TornCopy, NoSpace: see :meth:`EmbeddedPostgres.ensure_running`.
    """
    server = EmbeddedPostgres(
        folder.absolute(), linger_seconds=linger_seconds, start_timeout_seconds=start_timeout_seconds
    )
    server.ensure_running()
    return server


def stop_embedded(folder: Path) -> bool:
    """Stop the server of ``folder``, if there is one. Returns whether none is left: not while somebody uses it.

    Raises:
        CatalogUnavailable, Denied: the folder cannot be used.
    """
    server = EmbeddedPostgres(folder.absolute(), linger_seconds=0, start_timeout_seconds=_LEAVE_SECONDS)
    return server.stop()


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


def _open_folder(folder: Path) -> int:
    try:
        return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise _folder_error(folder, error) from error


def _socket_folder(folder: Path, account: Account) -> Path:
    """Make the folder of the server's socket, owned by the server's account and closed to others."""
    _let_account_in(folder, account)
    run = folder / cluster.SOCKET_FOLDER
    _make_private(run, account)
    return run


def _reachable_sockets(folder: Path, account: Account) -> Path:
    """Return a folder with the socket in it, or with a link to the socket, whose path a client can use."""
    run = folder / cluster.SOCKET_FOLDER
    path = str(run / cluster.SOCKET)
    if len(os.fsencode(path)) <= _SOCKET_PATH_LIMIT_BYTES and _PLAIN_PATH.match(path):
        return run
    name = hashlib.blake2b(os.fsencode(folder.resolve()), digest_size=8).hexdigest()
    links = Path(tempfile.gettempdir(), f"manifold-pg-{account.uid}-{name}")
    if len(str(links / cluster.SOCKET)) > _SOCKET_PATH_LIMIT_BYTES:
        links = Path("/tmp", links.name)  # noqa: S108 - its ownership is checked below
    _make_private(links, account)
    link = links / cluster.SOCKET
    try:
        if not link.is_symlink() or os.readlink(link) != path:
            aside = links / f"link-{secrets.token_hex(4)}"
            aside.symlink_to(path)
            os.replace(aside, link)
    except OSError as error:
        raise CatalogUnavailable(
            f"{link}, by which the database's socket is reached, cannot be made: {error.strerror}",
            hint=f"remove {links}, and try again",
        ) from None
    return links


def _make_private(folder: Path, account: Account) -> None:
    """Make a folder that is the account's alone; accept one that is."""
    try:
        folder.mkdir(mode=0o700)
        os.chown(folder, account.uid, account.gid)
    except FileExistsError:
        found = os.lstat(folder)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != account.uid or found.st_mode & 0o077:
            raise CatalogUnavailable(
                f"{folder} is needed for the database's socket, but it is not a private folder of {account.name}",
                hint="remove it",
            ) from None
    except OSError as error:
        raise CatalogUnavailable(
            f"the folder {folder} for the database's socket cannot be made: {error.strerror}",
            hint="set TMPDIR to a folder that may be written to, or DATABASE_URL to a server of your own",
        ) from None


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
    if isinstance(error, PermissionError):
        return denied(folder, error)
    if error.errno == 28:
        return NoSpace(f"the disk of {folder} is full", hint="free some space, or choose another WORKDIR")
    return CatalogUnavailable(
        f"the folder {folder} of the embedded PostgreSQL cannot be used: {error.strerror}",
        hint="choose another WORKDIR, or set DATABASE_URL",
    )
