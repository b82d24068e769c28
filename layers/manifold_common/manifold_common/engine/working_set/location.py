"""Where the working set of a session lies, and who may work on it.

*ephemeral*: a private folder in RAM for each session, in a folder of its installation's own, since others may use the
same RAM. *legacy*: the project's plaintext folder, shared by its user's sessions. Beside the working set (never inside)
stand its state, its lock, and a staging folder on the same file system.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from manifold_common.domain.arguments import member_of
from manifold_common.engine.working_set.folders import translate
from manifold_common.engine.working_set.owner import Owner, read_owner, write_new, write_owner
from manifold_common.engine.working_set.removal import remove_tree
from manifold_common.engine.working_set.retired import ASIDE, GONE, RetiredSets, SetAside
from manifold_common.errors import InvalidInput, SessionBusy, Unavailable
from manifold_common.ids import (
    DEFAULT_TENANT,
    IncarnationId,
    SessionId,
    TenantId,
    UserId,
    WorkingSetId,
    parse_session_id,
    parse_tenant_id,
    parse_user_id,
)
from manifold_common.ports.clock import Clock

_LOCK_POLL_SECONDS = 0.02


class WorkspaceMode(Enum):
    LEGACY = "legacy"
    EPHEMERAL = "ephemeral"


@dataclass(frozen=True, slots=True)
class Location:
    work: str
    """The plaintext folder."""
    meta: str
    """The folder beside it."""

    @property
    def session(self) -> tuple[TenantId, UserId, SessionId] | None:
        """Whose place it is in ephemeral mode, by its path; ``None`` where that names nobody."""
        tenant, user, session = self.meta.split("/")[-3:]
        try:
            return parse_tenant_id(tenant), parse_user_id(user), parse_session_id(session)
        except InvalidInput:
            return None

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

    def is_empty(self) -> bool:
        """Tell whether it holds nothing. One that cannot be read may hold something."""
        try:
            with os.scandir(self.work) as entries:
                return next(entries, None) is None
        except FileNotFoundError:
            return True
        except OSError:
            return False


class WorkingSetFolders:
    """Finds, locks and removes working sets.

    Args:
        workdir: holds the projects' folders in legacy mode.
        ram: holds the sessions' folders in ephemeral mode, perhaps of several installations.
        incarnation: whose working sets these are. Others are never touched.
        admit: raises while nobody may work on any.
    """

    def __init__(
        self,
        mode: WorkspaceMode,
        workdir: Path,
        ram: Path,
        *,
        clock: Clock,
        incarnation: IncarnationId,
        admit: Callable[[], None] = lambda: None,
    ) -> None:
        self.mode = mode = member_of(WorkspaceMode, mode, "mode")
        self.root = str(ram if mode is WorkspaceMode.EPHEMERAL else workdir)
        self._ram = str(ram)
        self.own = f"{self.root}/{incarnation}"
        """In ephemeral mode, the folder of this installation."""
        self.retired = RetiredSets(self.own, clock)
        self._incarnation = incarnation
        self._clock = clock
        self._admit = admit

    def locate(self, owner: Owner) -> Location:
        if self.mode is WorkspaceMode.EPHEMERAL:
            meta = _place_in(self.own, owner)
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
            write_owner(location.meta, owner, self._incarnation)
            if working_set is not None:
                write_new(location.id, working_set.encode("ascii"))
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
            SessionBusy: another process held it for the whole of ``timeout_seconds``. What ``admit`` raises.
        """
        self._admit()
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

    def left_behind(self, owner: Owner) -> Owner | None:
        """Return whose working set stands in the place of the owner's, if it is that of an earlier session of the same
        name, or of one on another project. Hold the lock. ``None`` in legacy mode, where folders are shared.

        One whose record was lost is the owner's.
        """
        if self.mode is WorkspaceMode.LEGACY:
            return None
        location = self.locate(owner)
        found = read_owner(location.meta, self._incarnation)
        if found is None and location.exists():
            write_owner(location.meta, owner, self._incarnation)
        if found is None or (found.project == owner.project and found.opened_at >= owner.opened_at):
            return None
        return found

    def wipe(self, location: Location) -> str | None:
        """Remove a working set and what stands beside it. Hold the lock.

        Nothing in legacy mode: there the folder is the user's, and its state says which generation it came from.

        Returns and raises as ``RetiredSets.remove``.
        """
        if self.mode is WorkspaceMode.LEGACY:
            return None
        left = self.retired.remove(location.meta)
        self._drop_empty_folders(location)
        return left

    def set_aside(self, location: Location, reason: str) -> SetAside:
        """Put a working set of ephemeral mode aside, whole. Hold the lock. Raises NoSpace, Unavailable."""
        done = self.retired.set_aside(location.meta, reason)
        self._drop_empty_folders(location)
        return done

    def _drop_empty_folders(self, location: Location) -> None:
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
        """Return the owners of the working sets of this installation on this machine."""
        if self.mode is WorkspaceMode.LEGACY:
            owners = {meta: read_owner(meta) for meta in _third_level(f"{self.root}/.state")}
        else:
            owners = {meta: read_owner(meta, self._incarnation) for meta in _third_level(self.own)}
        # A record that lies elsewhere than the set that it speaks of speaks of another's.
        return [owner for meta, owner in owners.items() if owner is not None and self.locate(owner).meta == meta]

    def in_ram(self) -> list[tuple[Owner, str]]:
        """Return this installation's working sets of ephemeral mode, each with its folder, whichever mode this is:
        other processes of this user may be in that one."""
        try:
            status = os.lstat(self._ram)
        except OSError:
            return []
        if status.st_uid != os.geteuid():
            return []
        own = f"{self._ram}/{self._incarnation}"
        sets = ((read_owner(meta, self._incarnation), meta) for meta in _third_level(own))
        return [(owner, meta) for owner, meta in sets if owner is not None and _place_in(own, owner) == meta]

    def ownerless(self) -> list[Location]:
        """Return the places of this installation that have no owner's record: half made, or what somebody broke."""
        if self.mode is WorkspaceMode.LEGACY:
            return []
        lost = [meta for meta in _third_level(self.own) if read_owner(meta, self._incarnation) is None]
        return [Location(f"{meta}/work", meta) for meta in lost]

    def others(self) -> list[tuple[str, int]]:
        """Return the folders beside this installation's that hold working sets, and how many each holds.

        They are of other installations, or of a release that had no folder for each. Neither is ever touched.
        """
        if self.mode is WorkspaceMode.LEGACY:
            return []
        found = []
        for folder in _folders(self.root):
            if folder != self.own:
                sessions = [
                    path for tenant in _folders(folder) for path in _folders(tenant)
                ]  # as older releases had it
                sessions += _third_level(folder)
                count = sum(os.path.isdir(f"{path}/work") for path in sessions)
                if count:
                    found.append((folder, count))
        return found

    @contextmanager
    def held(self, location: Location) -> Iterator[bool]:
        """Hold a place that is no owner's, if nobody else does; tell whether that is so."""
        self._admit()
        fd = _try_lock(location)
        try:
            yield fd is not None
        finally:
            if fd is not None:
                os.close(fd)


def _place_in(own: str, owner: Owner) -> str:
    return f"{own}/{owner.tenant}/{owner.user}/{owner.session}"


def _third_level(folder: str) -> list[str]:
    """Return the folders of all sessions: below their user's, below their tenant's."""
    tenants = [path for path in _folders(folder) if os.path.basename(path) not in (ASIDE, GONE)]
    return [session for tenant in tenants for user in _folders(tenant) for session in _folders(user)]


def _folders(folder: str) -> list[str]:
    """Return the folders in a folder, by name; none of one that is gone, as others may see to at any moment."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.path for entry in entries if entry.is_dir(follow_symlinks=False))
    except OSError:
        return []


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
            left = remove_tree(path)
            if left is not None:
                raise Unavailable(
                    f"what another session has left cannot be removed: {left}", hint="restart the process"
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
