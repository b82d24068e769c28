"""The working sets this process has open: locked while in use, their states kept in memory between uses."""

from __future__ import annotations

import logging
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from manifold_common.domain.access import Principal
from manifold_common.domain.history import Point
from manifold_common.domain.patience import patience
from manifold_common.domain.unknown import reopened
from manifold_common.engine.working_set.closed_folders import close_again
from manifold_common.engine.working_set.folders import translate
from manifold_common.engine.working_set.location import Location, WorkingSetFolders
from manifold_common.engine.working_set.owner import Owner, read_id
from manifold_common.engine.working_set.retired import SetAside
from manifold_common.engine.working_set.state import (
    DurableChanges,
    Step,
    StoredState,
    WorkingState,
    load_state,
    load_step,
    save_durable,
    save_state,
    save_step,
)
from manifold_common.ids import SessionId, TenantProject, WorkingSetId

_log = logging.getLogger(__name__)

_REMEMBERED = 32
_KNOWN_OWNERS = 4096


@dataclass(slots=True)
class OpenWorkingSet:
    """A working set that is locked."""

    owner: Owner
    location: Location
    state: WorkingState | None
    """``None`` when this process does not have it in memory."""
    stored: StoredState | None
    """As found on the disk; ``None`` when there is none that can be used."""
    step: Step | None = None
    """What it was in the middle of when its process ended."""
    id: WorkingSetId | None = None
    """``None``: it has no name of its own, as in legacy mode."""
    decided: list[bytes] = field(default_factory=list)
    """Paths on which a strategy has decided since it was opened."""
    kept: list[SessionId] = field(default_factory=list)
    """The sessions that keep what was dropped of it thereby."""

    @property
    def base(self) -> Point | None:
        """Where the state stands, as far as one is known."""
        if self.state is not None:
            return self.state.base.head.point
        return None if self.stored is None else self.stored.base


class WorkingSets:
    """
    Args:
        was_ended: tells whether the session that a working set belongs to is known to have ended.
        is_open: tells whether that session is open.
        holds_work: tells whether the working set of a session that has ended holds what was saved nowhere.
    """

    def __init__(
        self,
        folders: WorkingSetFolders,
        *,
        lock_timeout_seconds: float,
        was_ended: Callable[[Owner], bool] = lambda _: False,
        is_open: Callable[[Owner], bool] = lambda _: True,
        holds_work: Callable[[OpenWorkingSet], bool] = lambda _: True,
    ) -> None:
        self.folders = folders
        self._was_ended = was_ended
        self._is_open = is_open
        self._holds_work = holds_work
        self._timeout_seconds = lock_timeout_seconds
        self._states: OrderedDict[str, tuple[tuple[int, int], WorkingState]] = OrderedDict()
        self._owners: OrderedDict[tuple[Principal, SessionId], Owner] = OrderedDict()
        self._lock = threading.Lock()

    def know(self, owner: Owner) -> None:
        """Remember which project a session works on."""
        with self._lock:
            self._owners[(owner.principal, owner.session)] = owner
            while len(self._owners) > _KNOWN_OWNERS:
                self._owners.popitem(last=False)

    def forget(self, owner: Owner) -> None:
        """Look up again, next time, which project the session works on."""
        with self._lock:
            self._owners.pop((owner.principal, owner.session), None)

    def known(self, principal: Principal, session: SessionId) -> Owner | None:
        with self._lock:
            return self._owners.get((principal, session))

    def bases(self) -> dict[TenantProject, Point]:
        """Return the projects of the working sets in memory, with the newest point that one stands on."""
        with self._lock:
            bases = [state.base for _, state in self._states.values()]
        found: dict[TenantProject, Point] = {}
        for base in sorted(bases, key=lambda base: base.head.generation):
            found[base.tenant, base.project] = base.head.point
        return found

    @contextmanager
    def open(self, owner: Owner, *, timeout_seconds: float | None = None) -> Iterator[OpenWorkingSet]:
        """Lock a working set and load its state.

        What another session of that name left there goes first: it is removed if that session has ended and nothing in
        it is unsaved, and else set aside; so it is if nobody knows of that session, as after the catalog was restored.

        Raises SessionBusy: another process has it, or the session was opened anew since the caller looked it up.
        """
        wait = patience(self._timeout_seconds) if timeout_seconds is None else timeout_seconds
        while True:
            with self.folders.locked(owner, timeout_seconds=wait) as location:
                earlier = self.folders.left_behind(owner)
                if earlier is None:
                    close_again(location)
                    yield self._opened(owner, location)
                    return
                if earlier.opened_at > owner.opened_at and self._is_open(earlier):
                    self.forget(owner)
                    raise reopened(owner.session)
                left = self._opened(earlier, location)  # which goes away, and with it the lock
                reason = f"another session '{owner.session}' is open, and the one that had this is not known"
                if self._was_ended(earlier):
                    if not self._holds_work(left):
                        self.wipe(left)
                        continue
                    reason = ended_elsewhere(owner.session)
                done = self.set_aside(left, reason)
                _log.warning("a working set was set aside as %s: %s", done.name, done.reason)

    def _opened(self, owner: Owner, location: Location) -> OpenWorkingSet:
        state, stored = self._load(owner, location)
        return OpenWorkingSet(owner, location, state, stored, load_step(location.step), read_id(location.meta))

    def begin(self, opened: OpenWorkingSet, step: Step) -> None:
        """Note a step that is about to change more than one thing. Raises NoSpace, Unavailable."""
        try:
            save_step(opened.location.step, step)
        except OSError as error:
            raise translate(error, os.fsencode(opened.location.step)) from None

    def settle(self, opened: OpenWorkingSet) -> None:
        """Forget the step: it is done, or did not happen."""
        opened.step = None
        with suppress(FileNotFoundError):
            os.unlink(opened.location.step)

    def keep(self, opened: OpenWorkingSet, state: WorkingState) -> None:
        """Write the new state, which ends a step. Raises NoSpace, Unavailable: the old state, and the note of the
        step, are then still there."""
        path = opened.location.state
        try:
            save_state(path, state)
            stamp = _stamp(path)
        except OSError as error:
            raise translate(error, os.fsencode(path)) from None
        opened.state = state
        self.settle(opened)
        with self._lock:
            self._states[path] = (stamp, state)
            while len(self._states) > _REMEMBERED:
                self._states.popitem(last=False)

    def note_durable(self, opened: OpenWorkingSet, durable: DurableChanges | None) -> None:
        """Keep in mind what is durable beyond the base, as well as that can be done."""
        with suppress(OSError):
            save_durable(opened.location.durable, durable)

    def wipe(self, opened: OpenWorkingSet) -> str | None:
        """Remove the working set. Returns what could not be removed yet, and why. Raises NoSpace, Unavailable."""
        self._let_go(opened)
        return self.folders.wipe(opened.location)

    def set_aside(self, opened: OpenWorkingSet, reason: str) -> SetAside:
        """Put the working set where no session works in it. Raises NoSpace, Unavailable."""
        self._let_go(opened)
        return self.folders.set_aside(opened.location, reason)

    def _let_go(self, opened: OpenWorkingSet) -> None:
        with self._lock:
            self._states.pop(opened.location.state, None)
            self._owners.pop((opened.owner.principal, opened.owner.session), None)
        opened.state = opened.stored = opened.id = None

    def _load(self, owner: Owner, location: Location) -> tuple[WorkingState | None, StoredState | None]:
        path = location.state
        try:
            stamp = _stamp(path)
        except OSError:
            return None, None
        with self._lock:
            known = self._states.get(path)
        if known is not None and known[0] == stamp:
            return known[1], None
        return None, load_state(path, owner.tenant, owner.project)


def ended_elsewhere(session: SessionId) -> str:
    """Return why a working set is set aside that holds what was saved nowhere."""
    return f"session '{session}' has ended elsewhere, without what was changed here"


def went_on_elsewhere(session: SessionId) -> str:
    """Return why a working set is set aside that its session has left, and that was changed since."""
    return f"session '{session}' went on elsewhere, without what was changed here"


def _stamp(path: str) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_mtime_ns, status.st_ino
