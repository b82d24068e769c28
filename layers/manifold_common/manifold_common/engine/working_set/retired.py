"""Working sets that no longer belong to a session: about to be removed, or set aside.

Either way the whole folder is renamed away first, in one step: its place is free at once, and no failure leaves half of
it where a session would find it. What goes is removed after that, its owner's record last, and what cannot be removed
is tried again for as long as it is there. What is set aside stays as it was until somebody asks for its removal.

The folders begin with a dot, which no tenant's name does.
"""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from manifold_common.engine.working_set.folders import translate
from manifold_common.engine.working_set.owner import Owner, read_id, read_owner, write_new
from manifold_common.engine.working_set.removal import remove_tree
from manifold_common.errors import NotFound
from manifold_common.ids import WorkingSetId
from manifold_common.ports.clock import Clock

ASIDE, GONE = ".aside", ".gone"
_PATIENCE_SECONDS = 1.0
_PAUSE_SECONDS = 0.01
_STAMP = "%Y%m%dT%H%M%S"
_RENAMES = 100
_OTHERS_WERE_THERE = frozenset({errno.ENOENT, errno.EEXIST, errno.ENOTEMPTY})


class _Note(msgspec.Struct, frozen=True):
    reason: str
    at: datetime


_NOTE = msgspec.json.Decoder(_Note)


@dataclass(frozen=True, slots=True)
class SetAside:
    """A working set that was set aside."""

    name: str
    folder: str
    """The plaintext folder, as its session left it."""
    owner: Owner | None
    reason: str
    at: datetime


class RetiredSets:
    """Args: ``folder``: holds the working sets of one installation."""

    def __init__(self, folder: str, clock: Clock) -> None:
        self._clock = clock
        self._aside = f"{folder}/{ASIDE}"
        self._gone = f"{folder}/{GONE}"

    def remove(self, meta: str) -> str | None:
        """Remove a working set with what stands beside it. Hold its lock.

        Returns:
            ``None`` when it is gone; otherwise what is left, and why. ``remove_rest`` then goes on.

        Raises:
            NoSpace, Unavailable: it could not even be renamed, and is as it was.
        """
        return self._remove(_rename(meta, self._gone, f"set-{self._clock.now():{_STAMP}}"), _PATIENCE_SECONDS)

    def remove_rest(self) -> list[str]:
        """Try again to remove what could not be removed. Returns what is still left, and why."""
        return [reason for path in _entries(self._gone) if (reason := self._remove(path, 0)) is not None]

    def rest(self) -> list[str]:
        """Return the folders that are still being removed."""
        return list(_entries(self._gone))

    def set_aside(self, meta: str, reason: str) -> SetAside:
        """Put a working set where nobody works in it. Hold its lock. Raises NoSpace, Unavailable."""
        owner, now = read_owner(meta), self._clock.now()
        try:
            write_new(f"{meta}/aside", msgspec.json.encode(_Note(reason, now)))
        except OSError as error:
            raise translate(error, os.fsencode(meta)) from None
        path = _rename(meta, self._aside, f"{owner.session if owner else 'unknown'}-{now:{_STAMP}}")
        return SetAside(os.path.basename(path), f"{path}/work", owner, reason, now)

    def aside(self) -> list[SetAside]:
        """Return what is set aside, by name."""
        return [found for path in _entries(self._aside) if (found := _look(path)) is not None]

    def find(self, working_set: WorkingSetId) -> SetAside | None:
        """Return the working set of that name, if it is set aside."""
        for path in _entries(self._aside):
            if read_id(path) == working_set:
                return _look(path)
        return None

    def require(self, names: Iterable[str]) -> None:
        """Raises NotFound: nothing is set aside under one of these names."""
        there = {one.name for one in self.aside()}
        for name in names:
            if name not in there:
                raise NotFound(f"nothing is set aside as '{name}'", hint="'manifold leftovers list' shows what is")

    def drop(self, name: str) -> str | None:
        """Remove what was set aside under this name. Returns as ``remove``. Raises NotFound."""
        self.require([name])
        return self.remove(f"{self._aside}/{name}")

    def _remove(self, path: str, patience_seconds: float) -> str | None:
        """Remove the plaintext first, and the owner's record last. Others may put more in, or move what is there."""
        deadline = self._clock.monotonic() + patience_seconds
        while True:
            left = remove_tree(f"{path}/work") or remove_tree(path)
            if left is None:
                with suppress(OSError):
                    os.rmdir(os.path.dirname(path))
                return None
            if self._clock.monotonic() >= deadline:
                return left
            self._clock.sleep(_PAUSE_SECONDS)


def _rename(meta: str, to: str, name: str) -> str:
    """Rename a folder to one of its own in ``to``, called after ``name``."""
    for tries in itertools.count(1):
        try:
            os.makedirs(to, mode=0o700, exist_ok=True)
            for number in itertools.count(1):
                target = f"{to}/{name}" if number == 1 else f"{to}/{name}-{number}"
                with suppress(FileExistsError):
                    os.mkdir(target, mode=0o700)
                    break
            os.rename(meta, target)
        except OSError as error:
            # Others remove what is empty: ``to``, or the new folder, which a third one may then have made again.
            if error.errno in _OTHERS_WERE_THERE and tries < _RENAMES and os.path.isdir(meta):
                continue
            raise translate(error, os.fsencode(meta)) from None
        break
    return target


def _entries(folder: str) -> Iterator[str]:
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        names = []
    return (f"{folder}/{name}" for name in names)


def _look(path: str) -> SetAside | None:
    """Return ``None`` if it has gone meanwhile."""
    try:
        with open(f"{path}/aside", "rb") as file:
            note = _NOTE.decode(file.read())
    except (OSError, msgspec.MsgspecError):
        try:
            note = _Note("it is not known why", datetime.fromtimestamp(os.stat(path).st_mtime, UTC))
        except FileNotFoundError:
            return None
    return SetAside(os.path.basename(path), f"{path}/work", read_owner(path), note.reason, note.at)
