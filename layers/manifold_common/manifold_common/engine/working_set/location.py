"""Where the working set of a session lies, and who may work on it.

*ephemeral*: a private folder in RAM for each session. *legacy*: the project's plaintext folder, shared by its user's
sessions. Beside the working set (never inside) stand its state, its lock, and a staging folder on the same file system.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path

import msgspec

from manifold_common.domain.access import Principal
from manifold_common.engine.working_set.folders import translate
from manifold_common.engine.working_set.removal import remove_tree
from manifold_common.errors import SessionBusy, Unavailable
from manifold_common.ids import DEFAULT_TENANT, ProjectId, SessionId, TenantId, UserId, WorkingSetId
from manifold_common.ports.clock import Clock

_LOCK_POLL_SECONDS = 0.02
_ID_CHARACTERS = 26


class WorkspaceMode(Enum):
    LEGACY = "legacy"
    EPHEMERAL = "ephemeral"


class Owner(msgspec.Struct, frozen=True):
    """Whose working set a folder holds."""

    tenant: TenantId
    user: UserId
    session: SessionId
    project: ProjectId
    opened_at: datetime
    """When the session was opened: its id may have been another one's before, which was closed."""

    @property
    def principal(self) -> Principal:
        return Principal(self.tenant, self.user)


_OWNER = msgspec.json.Decoder(Owner)


@dataclass(frozen=True, slots=True)
class Location:
    work: str
    """The plaintext folder."""
    meta: str
    """The folder beside it."""

    @property
    def state(self) -> str:
        return f"{self.meta}/state"

    @property
    def step(self) -> str:
        return f"{self.meta}/step"

    @property
    def durable(self) -> str:
        return f"{self.meta}/durable"

    @property
    def closed(self) -> str:
        return f"{self.meta}/closed"

    @property
    def id(self) -> str:
        return f"{self.meta}/id"

    @property
    def stage(self) -> str:
        return f"{self.meta}/stage"

    def exists(self) -> bool:
        return os.path.isdir(self.work)


class WorkingSets:
    """Finds, locks and removes working sets.

    Args:
        workdir: holds the projects' folders in legacy mode.
        ram: holds the sessions' folders in ephemeral mode.
    """

    def __init__(self, mode: WorkspaceMode, workdir: Path, ram: Path, *, clock: Clock) -> None:
        self.mode = mode
        self.root = str(ram if mode is WorkspaceMode.EPHEMERAL else workdir)
        self._clock = clock

    def locate(self, owner: Owner) -> Location:
        if self.mode is WorkspaceMode.EPHEMERAL:
            meta = f"{self.root}/{owner.tenant}/{owner.user}/{owner.session}"
            return Location(f"{meta}/work", meta)
        below = f"users/{owner.user}/projects/{owner.project}"
        if owner.tenant != DEFAULT_TENANT:
            below = f"tenants/{owner.tenant}/{below}"
        return Location(f"{self.root}/{below}", f"{self.root}/.state/{owner.tenant}/{owner.user}/{owner.project}")

    @contextmanager
    def building(self, owner: Owner, working_set: WorkingSetId | None) -> Iterator[str]:
        """Give an empty folder, which becomes the working set when the block ends well, all at once.

        Hold the lock. Raises NoSpace, Unavailable.

        Args:
            working_set: what it is called. ``None``: it is the project's only one, as in legacy mode.
        """
        location = self.locate(owner)
        folder = f"{location.meta}/building"
        try:
            remove_tree(folder)
            os.makedirs(folder, mode=0o700)
            _write_new(f"{location.meta}/owner", msgspec.json.encode(owner))
            if working_set is not None:
                _write_new(location.id, working_set.encode("ascii"))
            os.makedirs(os.path.dirname(location.work), mode=0o700, exist_ok=True)
        except OSError as error:
            raise translate(error, os.fsencode(location.work)) from None
        try:
            yield folder
            _move_folder(folder, location.work)
        except OSError as error:
            raise translate(error, os.fsencode(location.work)) from None
        finally:
            remove_tree(folder)

    @contextmanager
    def locked(self, owner: Owner, *, timeout_seconds: float) -> Iterator[Location]:
        """Hold a working set, among all processes of this machine.

        Raises:
            SessionBusy: another process held it for the whole of ``timeout_seconds``.
        """
        location = self.locate(owner)
        deadline = self._clock.monotonic() + timeout_seconds
        while True:
            fd = _try_lock(location)
            if fd is not None:
                break
            if self._clock.monotonic() >= deadline:
                raise SessionBusy(
                    f"another process is working on session '{owner.session}'",
                    hint="wait for it to finish, or use a session of your own",
                )
            self._clock.sleep(_LOCK_POLL_SECONDS)
        try:
            yield location
        finally:
            os.close(fd)

    def is_left_behind(self, owner: Owner) -> bool:
        """Tell whether what stands in the place of the owner's working set is that of an earlier session, of the same
        name, which was closed on another machine. Hold the lock. Never so in legacy mode, where folders are shared.
        """
        if self.mode is WorkspaceMode.LEGACY:
            return False
        found = _read_owner(self.locate(owner).meta)
        return found is not None and found.opened_at < owner.opened_at

    def wipe(self, location: Location) -> None:
        """Remove a working set and what stands beside it. Hold the lock.

        Nothing in legacy mode: there the folder is the user's, and its state says which generation it came from.
        """
        if self.mode is WorkspaceMode.LEGACY:
            return
        remove_tree(location.work)
        remove_tree(location.meta)
        user = os.path.dirname(location.meta)
        with suppress(OSError):
            os.rmdir(user)
            os.rmdir(os.path.dirname(user))

    def clear(self, kept: Sequence[Owner]) -> None:
        """Remove everything but these working sets: what was half made, lost its owner, or was put beside them.

        For a process that is alone on its machine. Nothing in legacy mode.

        Raises:
            Unavailable: something could not be removed.
        """
        if self.mode is WorkspaceMode.LEGACY:
            return
        wanted = {self.locate(owner).meta for owner in kept}
        above = {folder for path in wanted for folder in _folders_above(path, self.root)}
        _clear(self.root, wanted, above)

    def found(self) -> list[Owner]:
        """Return the owners of the working sets on this machine."""
        base = Path(self.root if self.mode is WorkspaceMode.EPHEMERAL else f"{self.root}/.state")
        owners = [_read_owner(str(file.parent)) for file in sorted(base.glob("*/*/*/owner"))]
        return [owner for owner in owners if owner is not None]


def _move_folder(folder: str, target: str) -> None:
    """Rename a folder to a place below another one, which is a change of the folder too, also of one that is closed."""
    mode = stat.S_IMODE(os.stat(folder).st_mode)
    os.chmod(folder, mode | stat.S_IWUSR)
    os.rename(folder, target)
    os.chmod(target, mode)


def _folders_above(path: str, root: str) -> Iterator[str]:
    while path != root:
        path = os.path.dirname(path)
        yield path


def _clear(folder: str, wanted: Collection[str], above: Collection[str]) -> None:
    with os.scandir(folder) as entries:
        found = [entry.path for entry in entries]
    for path in found:
        if path in wanted:
            continue
        if path in above:
            _clear(path, wanted, above)
        else:
            remove_tree(path)
            if os.path.lexists(path):
                raise Unavailable(
                    f"{path} belongs to another session and cannot be removed", hint="restart the process"
                )


def _try_lock(location: Location) -> int | None:
    path = f"{location.meta}/lock"
    try:
        os.makedirs(location.meta, mode=0o700, exist_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        return None  # the folder was wiped at this very moment
    except OSError as error:
        raise translate(error, os.fsencode(location.meta)) from None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Whoever wiped the working set removed the lock file too: a lock on that file locks nothing.
        if os.path.samestat(os.fstat(fd), os.stat(path)):
            return fd
    except OSError:
        pass
    os.close(fd)
    return None


def read_id(location: Location) -> WorkingSetId | None:
    """Return what a working set is called, or ``None`` where that is not known."""
    try:
        with open(location.id, encoding="ascii") as file:
            return WorkingSetId(file.read(_ID_CHARACTERS))
    except (OSError, UnicodeDecodeError):
        return None


def _write_new(path: str, data: bytes) -> None:
    """Never through a link, nor into a file that has another name elsewhere."""
    with suppress(FileNotFoundError):
        os.unlink(path)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(fd, "wb") as file:
        file.write(data)


def _read_owner(meta: str) -> Owner | None:
    try:
        with open(f"{meta}/owner", "rb") as file:
            return _OWNER.decode(file.read())
    except (OSError, msgspec.MsgspecError):
        return None
