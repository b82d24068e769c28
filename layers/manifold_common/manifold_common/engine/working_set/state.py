"""What a working set was made from, kept beside it in a few bytes: the base, and what vouches for its files.

A file is taken as unchanged when its size and mtime are those of its entry in the base, its ctime is older than
``Trust.before_ns``, and its folder, with all above, is the very folder that stood there then. That is sound because at
that moment every such file equalled its entry, and since then the kernel has set ctime at every change of content, name
or attributes of the file; only a folder above can move without that, and then its inode is another one. Nobody can set
ctime, and the moment is read from the file system's own clock, so a server's clock that is off does no harm. Nothing
has to be remembered file by file. The exception are shared memory maps: tmpfs stamps a file when a page of it is first
mapped by a write, and not at all when it was mapped by a read. So what is written through a map may not be seen without
a look at the content, which callers can ask for, and which always happens before anything is replaced or removed.

Beside it stands the session's draft as this working set last had it, for a session that comes back here after it went
on elsewhere: what was durable then does not count as uncommitted work of this folder.

The state is derived: where it is missing or damaged, everything is compared by content. Beside it, while a step is
under way that changes working set and catalog, stands a note of that step, so that it can be finished after a crash.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from manifold_common.domain.history import Point
from manifold_common.domain.tree import Changes, Entry
from manifold_common.engine.tree_log import Snapshot
from manifold_common.engine.working_set.folders import translate
from manifold_common.ids import CommitId, Generation, ProjectId, TenantId

STATE_VERSION = 2
_TICK_POLL_SECONDS = 0.0005
_TICK_LIMIT_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Trust:
    """Which files need not be read to know that they are as in the base."""

    before_ns: int = 0
    """Those whose ctime is older than this ..."""
    exceptions: frozenset[bytes] = frozenset()
    """... but for these paths."""
    folders: Mapping[bytes, int] = field(default_factory=dict)
    """Inode of each folder at that moment. Files in any other folder are read."""


NO_TRUST = Trust()


@dataclass(frozen=True, slots=True)
class WorkingState:
    base: Snapshot
    trust: Trust = NO_TRUST
    scope: tuple[str, ...] = ()
    """Patterns of a sparse working set; empty for a whole one."""

    def trusted(self, *, checksum: bool) -> Trust:
        """Return what to go by in a scan; with ``checksum`` nothing, so that all content is compared."""
        return NO_TRUST if checksum else self.trust


class StoredState(msgspec.Struct, frozen=True):
    """A state as it stands in its file; the base is named, not held."""

    version: int
    tenant: TenantId
    project: ProjectId
    generation: Generation
    commit: CommitId | None
    trusted_before_ns: int
    exceptions: list[bytes] = field(default_factory=list)
    folders: dict[bytes, int] = field(default_factory=dict)
    scope: list[str] = field(default_factory=list)

    @property
    def base(self) -> Point:
        return Point(self.generation, self.commit)

    @property
    def trust(self) -> Trust:
        return Trust(self.trusted_before_ns, frozenset(self.exceptions), self.folders)


class Step(msgspec.Struct, frozen=True):
    """A step that a working set was in the middle of."""

    kind: Literal["commit", "move"]
    """``commit``: this commit was about to be published. ``move``: the files were being brought to this generation."""
    generation: Generation
    commit: CommitId | None
    strategy: str


class DurableChanges(msgspec.Struct, frozen=True):
    """What a draft makes of a generation."""

    generation: Generation
    upserts: dict[bytes, Entry]
    deletes: set[bytes]
    commit: CommitId | None = None
    """Of the generation. ``None`` at generation 0, and in a note of an earlier release."""

    @classmethod
    def of(cls, base: Point, changes: Changes) -> DurableChanges:
        return cls(base.generation, changes.upserts, changes.deletes, base.commit)

    @property
    def changes(self) -> Changes:
        return Changes(self.upserts, self.deletes)


_DURABLE = msgspec.msgpack.Decoder(DurableChanges)
_STATE = msgspec.msgpack.Decoder(StoredState)
_STEP = msgspec.msgpack.Decoder(Step)


def save_state(path: str, state: WorkingState) -> None:
    """Write the state aside and rename it. Raises OSError."""
    base = state.base
    data = msgspec.msgpack.encode(
        StoredState(
            version=STATE_VERSION,
            tenant=base.tenant,
            project=base.project,
            generation=base.head.generation,
            commit=base.head.commit,
            trusted_before_ns=state.trust.before_ns,
            exceptions=list(state.trust.exceptions),
            folders=dict(state.trust.folders),
            scope=list(state.scope),
        )
    )
    replace_file(path, data)


def save_step(path: str, step: Step) -> None:
    """Write the note of a step. Raises OSError."""
    replace_file(path, msgspec.msgpack.encode(step))


def load_step(path: str) -> Step | None:
    """Return the step that was under way, or ``None``."""
    try:
        with open(path, "rb") as file:
            return _STEP.decode(file.read())
    except (OSError, ValueError, msgspec.DecodeError):
        return None


def save_durable(path: str, durable: DurableChanges | None) -> None:
    """Write what is durable beyond the base; ``None``: nothing is. Raises OSError."""
    if durable is not None:
        replace_file(path, msgspec.msgpack.encode(durable))
        return
    with suppress(FileNotFoundError):
        os.unlink(path)


def load_durable(path: str) -> DurableChanges | None:
    """Return what is known to be durable beyond the base, or ``None``."""
    try:
        with open(path, "rb") as file:
            return _DURABLE.decode(file.read())
    except (OSError, ValueError, msgspec.DecodeError):
        return None


def replace_file(path: str, data: bytes) -> None:
    """Write a file aside and rename it. Raises OSError."""
    part = f"{path}~"
    try:
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with open(fd, "wb") as file:
            file.write(data)
        os.rename(part, path)
    except OSError:
        with suppress(OSError):
            os.unlink(part)
        raise


def load_state(path: str, tenant: TenantId, project: ProjectId) -> StoredState | None:
    """Return what is stored, or ``None`` when that cannot be used."""
    try:
        with open(path, "rb") as file:
            found = _STATE.decode(file.read())
    except (OSError, ValueError, msgspec.DecodeError):
        return None
    return found if (found.version, found.tenant, found.project) == (STATE_VERSION, tenant, project) else None


def file_clock_ns(folder: str) -> int:
    """Return what the file system of ``folder`` would now stamp a file with.

    Raises NoSpace, UnsafePath, Unavailable.
    """
    path = f"{folder}/clock"
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
        try:
            os.utime(fd)
            return os.fstat(fd).st_ctime_ns
        finally:
            os.close(fd)
    except OSError as error:
        raise translate(error, os.fsencode(path)) from None


def next_tick_ns(folder: str) -> int:
    """Wait until the file system's clock moves on (1 to 10 ms) and return it: every stamp given so far is older.

    Raises as ``file_clock_ns``.
    """
    begun = file_clock_ns(folder)
    deadline = time.monotonic() + _TICK_LIMIT_SECONDS
    now = begun
    while now <= begun and time.monotonic() < deadline:
        time.sleep(_TICK_POLL_SECONDS)
        now = file_clock_ns(folder)
    return now
