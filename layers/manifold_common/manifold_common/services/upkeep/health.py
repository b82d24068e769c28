"""The health of everything that Manifold depends on: each part on its own, in bounded time, and what its failure means.

Each part is looked at anew when somebody asks, so an answer is as old as the look took; who asks meanwhile is told what
that look finds. The exceptions are the sinks of
events: their state is what the relays have last found, and a sink that a process can check (Kafka) is checked as well.
Each answer says when the part was last seen to work, and how long it has been in its present state.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal, NamedTuple

from manifold_common.domain.disk_space import is_low, shown
from manifold_common.domain.panic import is_panic
from manifold_common.domain.patience import hurried
from manifold_common.domain.wording import plural, span
from manifold_common.engine.working_set.location import WorkspaceMode
from manifold_common.engine.working_set.working_sets import WorkingSets
from manifold_common.errors import CatalogUnavailable, ManifoldError
from manifold_common.ports.clock import Clock
from manifold_common.ports.key_provider import KeyProvider
from manifold_common.services.context import Context
from manifold_common.services.events.events import Events
from manifold_common.shapes.health import Dependency, State

CHECK_SECONDS = 5.0
_NOTES_SECONDS = 1.0
GUIDE = "docs/operations.md"


class Sighting(NamedTuple):
    """What is known of a part over time."""

    ok_at: datetime | None
    """When it was last seen to work; ``None``: not yet, by this process or by whoever else has noted it."""
    since: datetime | None
    """Since when it is in its state, as far as is known; ``None``: it was never used."""
    at: datetime | None
    """When that state was last observed; ``None``: never."""


Finding = tuple[State, str]


class Observation(NamedTuple):
    """A finding of other processes, with what they noted of it."""

    state: State
    detail: str
    seen: Sighting


class LastSeen:
    """What this process has seen of a part. Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._state: State | None = None
        self._ok_at: datetime | None = None
        self._since: datetime | None = None

    def note(self, state: State, now: datetime) -> Sighting:
        with self._lock:
            if state is State.OK:
                self._ok_at = now
            if state is not self._state:
                self._state, self._since = state, now
            return Sighting(self._ok_at, self._since, now)


@dataclass(slots=True)
class _Check:
    name: str
    look: Callable[[], Finding | Observation]
    without_it: str
    entry: str
    """The heading of the guide's entry, as its link."""
    needed: bool = True
    """Nothing works without it. Another part is ``DEGRADED`` at worst, also when the look at it hangs or dies."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    under_way: _Look | None = None
    """The look that runs: one that hangs is not joined by another thread."""
    last_seen: LastSeen = field(default_factory=LastSeen)


class Health:
    """Looks at the parts. Safe for several threads."""

    def __init__(
        self,
        context: Context,
        working_sets: WorkingSets,
        providers: Mapping[str, KeyProvider],
        events: Events,
        *,
        provider_in_use: str | None,
        cache_folder: Path,
        workdir: Path,
        hears_through: Literal["redis", "kafka"] | None,
        probes: Mapping[str, Callable[[], str]],
        doubt: str | None = None,
    ) -> None:
        """
        Args:
            hears_through: how this node hears of others, if it does.
            probes: by the names of sinks: looks at one from here, and returns what is wrong, or nothing.
        """
        self._clock = context.clock
        root = str(working_sets.folders.root)
        self._checks = [
            _Check(
                "postgres",
                lambda: _of(*context.catalog.health()),
                "nothing: projects are neither read nor changed",
                "postgresql",
            ),
            _Check(
                "object store",
                lambda: _of(*context.store.health()),
                "lists of projects and commits, warm sessions, and what the cache holds",
                "object-store",
            ),
        ]
        for name, provider in providers.items():
            look = _key_look(context, name, provider)
            in_use = name == provider_in_use
            self._checks.append(
                _Check(f"keys ({name})", look, "projects whose key is in memory", "encryption-errors", needed=in_use)
            )
        if working_sets.folders.mode is WorkspaceMode.EPHEMERAL:
            self._checks += [
                _Check("RAM folder", lambda: _folder(root), "everything but sessions", "ram-folder"),
                _Check("cache", lambda: _folder(str(cache_folder)), "everything, more slowly", "cache", needed=False),
            ]
        else:
            off = State.OFF, "not used: working sets are plain folders"
            self._checks += [
                _Check("working folder", lambda: _folder(root), "everything but sessions", "working-folder"),
                _Check("cache", lambda: off, "everything", "cache"),
            ]
        disk = "reading; what is kept below WORKDIR cannot be added to"
        self._checks.append(_Check("disk", lambda: _folder(str(workdir)), disk, "disk", needed=False))
        self._checks.append(
            _Check("encryption", lambda: _encryption(context), "everything", "encryption-switched-on-later")
        )
        if doubt is not None:
            finding = State.DEGRADED, f"{doubt}: nothing is changed until 'manifold adopt' was run"
            self._checks.append(_Check("installation", lambda: finding, "reading", "a-copy-that-changes-nothing"))
        if hears_through is not None:
            without = "everything; what other nodes commit is fetched when it is asked for"
            self._checks.append(_Check("redis", _redis_look(context, hears_through), without, "redis", needed=False))
        if events.sinks:
            without = "everything; events are delivered later"
            self._checks.append(_Check("events", lambda: _backlog(events), without, "kafka-and-events", needed=False))
        for sink in events.sinks:
            look_at_sink = _sink_look(context, events, sink, probes.get(sink))
            without = "everything; its events are delivered later"
            self._checks.append(_Check(sink, look_at_sink, without, "kafka-and-events", needed=False))

    def look(self, within_seconds: float = CHECK_SECONDS) -> list[Dependency]:
        """Look at every part at once. Never raises, and takes hardly longer than ``within_seconds``."""
        deadline = self._clock.monotonic() + within_seconds
        looks = [_look_at(check, self._clock) for check in self._checks]
        return [look.result(deadline, within_seconds) for look in looks]


def _look_at(check: _Check, clock: Clock) -> _Look:
    """Return the look that is under way, or a new one."""
    with check.lock:
        if check.under_way is None:
            check.under_way = _Look(check, clock)
        return check.under_way


class _Look:
    """One check under way, in a thread of its own, for all who ask meanwhile."""

    def __init__(self, check: _Check, clock: Clock) -> None:
        self._check = check
        self._clock = clock
        self._begun = clock.monotonic()
        self._done = threading.Event()
        self._finding: Finding | Observation = (State.FAILED, "")
        self._seconds = 0.0
        threading.Thread(target=self._run, name=f"health-{check.name}", daemon=True).start()

    def result(self, deadline: float, within_seconds: float) -> Dependency:
        """Return what it finds until ``deadline``, and within so much of its beginning: nobody waits for one that
        hangs."""
        check = self._check
        if self._done.wait(max(0.0, min(deadline, self._begun + within_seconds) - self._clock.monotonic())):
            found, seconds = self._finding, self._seconds
        else:
            seconds = self._clock.monotonic() - self._begun
            found = State.FAILED, f"no answer within {span(seconds)}"
        if not check.needed and found[0] is State.FAILED:
            found = State.DEGRADED, found[1]
        if isinstance(found, Observation):
            state, detail, seen = found
        else:
            state, detail = found
            seen = check.last_seen.note(state, self._clock.now())
        return Dependency(
            name=check.name,
            state=state,
            latency_ms=round(seconds * 1000, 2),
            last_ok_at=seen.ok_at,
            since=seen.since,
            observed_at=seen.at,
            detail=detail,
            without_it=check.without_it,
            see=f"{GUIDE}#{check.entry}",
        )

    def _run(self) -> None:
        try:
            self._finding = self._check.look()
        except ManifoldError as error:
            self._finding = State.FAILED, str(error)
        except BaseException as error:
            # The text of a foreign error may hold a secret; its type does not.
            self._finding = State.FAILED, f"it cannot be looked at ({type(error).__name__})"
            if not (isinstance(error, Exception) or is_panic(error)):
                raise
        finally:
            self._seconds = self._clock.monotonic() - self._begun
            with self._check.lock:
                self._check.under_way = None
            self._done.set()


def _key_look(context: Context, name: str, provider: KeyProvider) -> Callable[[], Finding]:
    def look() -> Finding:
        state, detail = _of(*provider.health())
        count, first_seconds, last_seconds = context.keys.in_memory(name)
        if state is not State.FAILED or not count:
            return state, detail
        now = context.clock.now()
        first, last = (f"{now + timedelta(seconds=left):%H:%M:%S}" for left in (first_seconds, last_seconds))
        until = last if first == last else f"{first} to {last}"
        return State.DEGRADED, f"{detail}; the keys of {plural(count, 'project')} are in memory until {until} UTC"

    return look


def _redis_look(context: Context, hears_through: str) -> Callable[[], Finding]:
    if hears_through != "redis":
        return lambda: (State.OFF, "not used: commits of other nodes are heard of through Kafka")
    return lambda: _of(*context.generations.health())


def _sink_look(
    context: Context, events: Events, sink: str, probe: Callable[[], str] | None
) -> Callable[[], Observation]:
    """Tell what deliveries have found, and a look from here. One that fails is believed, whichever it is."""
    last_seen = LastSeen()

    def noted() -> tuple[bool, str, Sighting]:
        try:
            with hurried(_NOTES_SECONDS):
                (status,) = events.sink_status(sink)
        except CatalogUnavailable:
            return False, "what deliveries have found cannot be told without the database", Sighting(None, None, None)
        seen = Sighting(status.ok_at, status.since, _latest(status.ok_at, status.failed_at))
        return status.state in ("ok", "unused"), status.detail, seen

    def look() -> Observation:
        trouble = probe() if probe is not None else ""
        works, detail, seen = noted()
        if probe is None:
            return Observation(State.OK if works else State.DEGRADED, detail, seen)
        probed = last_seen.note(State.DEGRADED if trouble else State.OK, context.clock.now())
        if trouble:
            probed = probed._replace(ok_at=_latest(probed.ok_at, seen.ok_at))
            return Observation(State.DEGRADED, f"{trouble}; {detail}", probed)
        if works or seen.at is None:
            return Observation(State.OK if works else State.DEGRADED, f"it answers; {detail}", probed)
        return Observation(State.DEGRADED, detail, seen)

    return look


def _latest(*moments: datetime | None) -> datetime | None:
    return max((moment for moment in moments if moment is not None), default=None)


def _of(ok: bool, detail: str, _: float, trouble: str = "") -> Finding:
    """Args: ``trouble``: what does not work, although it answers."""
    if not ok:
        return State.FAILED, detail
    return (State.DEGRADED, f"{detail}; {trouble}") if trouble else (State.OK, detail)


def _encryption(context: Context) -> Finding:
    """Tell whether anything that should be encrypted is not."""
    if not context.keys.encrypts:
        return State.OFF, "new projects are not encrypted; those that are stay so"
    plain = context.catalog.count_plain_projects()
    if not plain:
        return State.OK, "everything is encrypted"
    some = "1 project holds" if plain == 1 else f"{plain} projects hold"
    return State.OK, f"what is new is encrypted; {some} content from before that, in the clear"


def _backlog(events: Events) -> Finding:
    """Tell whether events reach the sinks."""
    backlog = events.backlog()
    if backlog.parked_streams:
        return State.DEGRADED, f"{plural(backlog.parked_streams, 'stream')} parked: see 'manifold events list'"
    detail = f"{backlog.waiting} waiting" + (f"; {backlog.trouble}" if backlog.trouble else "")
    return (State.DEGRADED if backlog.late else State.OK), detail


def _folder(folder: str) -> Finding:
    """Tell whether a folder is there, can be written to, and has room."""
    if not os.access(folder, os.W_OK | os.X_OK):
        return State.FAILED, f"{folder} is missing, or cannot be written to"
    status = os.statvfs(folder)
    free, whole = status.f_bavail * status.f_frsize, status.f_blocks * status.f_frsize
    if status.f_files and not status.f_favail:
        return State.DEGRADED, f"{folder} has no room for another file (no inodes left)"
    return (State.DEGRADED if is_low(free, whole) else State.OK), shown(free, whole)
