"""A process that does one piece of work and is killed in the middle of it, at a step the test chooses.

Steps are counted over everything that leaves a trace: calls of the object store, calls of the catalog, and changes of
files (by the interpreter's own audit events). ``SIGKILL`` gives nothing a chance to clean up, as a power cut does.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manifold_common.adapters.filesystem.object_store import FilesystemObjectStore
from manifold_common.adapters.keyfile.provider import FileKeyProvider
from manifold_common.adapters.postgres.catalog import PostgresCatalog
from manifold_common.adapters.system.clock import SystemClock, SystemRandomness
from manifold_common.bootstrap import Manifold, assemble
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.ids import Generation, ProjectId
from manifold_common.shapes.intent import Intent

from tests.support.manifold import settings_for
from tests.support.work import S1

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.crash.victim"])
_FILE_EVENTS = frozenset(
    {"os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.symlink", "os.chmod", "os.utime", "os.truncate"}
)


@dataclass(frozen=True)
class Place:
    """Where a Manifold keeps its things."""

    folder: Path
    ram: Path
    dsn: str


@dataclass(frozen=True)
class Kill:
    """Before (or after) the ``at``-th step of a kind: ``store``, ``catalog`` or ``files``."""

    kind: str
    at: int
    after: bool = False


@dataclass(frozen=True)
class Job:
    name: str
    project: ProjectId


class _Counter:
    def __init__(self, kill: Kill | None) -> None:
        self._kill = kill
        self._lock = threading.Lock()
        self.counts = {"store": 0, "catalog": 0, "files": 0}
        self.on = False

    def begin(self, kind: str) -> int:
        """Count a step, and die before it if it is the one. Returns its number, 0 while nothing is counted."""
        if not self.on:
            return 0
        with self._lock:
            self.counts[kind] += 1
            number = self.counts[kind]
        self._die_at(Kill(kind, number))
        return number

    def end(self, kind: str, number: int) -> None:
        """Die after the step if it is the one."""
        self._die_at(Kill(kind, number, after=True))

    def _die_at(self, step: Kill) -> None:
        if step == self._kill:
            os.kill(os.getpid(), signal.SIGKILL)


class _Watched:
    """Counts the calls of another object's methods."""

    def __init__(self, inner: Any, kind: str, counter: _Counter) -> None:
        self._inner, self._kind, self._counter = inner, kind, counter

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not callable(found):
            return found

        def call(*args: Any, **more: Any) -> Any:
            number = self._counter.begin(self._kind)
            result = found(*args, **more)
            self._counter.end(self._kind, number)
            return result

        return call


def build(place: Place, counter: _Counter | None = None) -> Manifold:
    clock, randomness = SystemClock(), SystemRandomness()
    catalog: Any = PostgresCatalog(place.dsn, clock=clock)
    store: Any = FilesystemObjectStore(place.ram / "store", clock=clock, randomness=randomness)
    if counter is not None:
        catalog, store = _Watched(catalog, "catalog", counter), _Watched(store, "store", counter)
    return assemble(
        settings_for(place.folder, place.ram / "ram"),
        catalog=catalog,
        store=store,
        providers={"file": FileKeyProvider(place.folder / "keystore", clock=clock, randomness=randomness)},
        clock=clock,
        randomness=randomness,
    )


def _import(manifold: Manifold, project: ProjectId, place: Place) -> None:
    manifold.transfer.import_folder(LOCAL_PRINCIPAL, project, place.folder / "source")


JOBS: dict[str, Callable[[Manifold, ProjectId, Place], object]] = {
    "import": _import,
    "commit": lambda m, project, _: m.commits.commit(LOCAL_PRINCIPAL, S1, Intent("work")),
    "save": lambda m, project, _: m.commits.save(LOCAL_PRINCIPAL, S1),
    "checkout": lambda m, project, _: m.sessions.checkout(LOCAL_PRINCIPAL, S1, project),
    "restore": lambda m, project, _: m.edits.restore(LOCAL_PRINCIPAL, project, Generation(1)),
    "fork": lambda m, project, _: m.forks.fork(LOCAL_PRINCIPAL, project, "copy"),
    "close": lambda m, project, _: m.sessions.close(LOCAL_PRINCIPAL, S1),
}


def _work(job: Job, place: Place, kill: Kill | None, told: Any) -> None:
    counter = _Counter(kill)

    def watch(event: str, args: tuple[Any, ...]) -> None:
        if event in _FILE_EVENTS or (event == "open" and isinstance(args[2], int) and args[2] & os.O_CREAT):
            counter.begin("files")

    sys.addaudithook(watch)
    manifold = build(place, counter)
    counter.on = True
    JOBS[job.name](manifold, job.project, place)
    counter.on = False
    told.send(counter.counts)
    told.close()
    manifold.close()


def run(job: Job, place: Place, kill: Kill | None = None) -> dict[str, int] | None:
    """Do the job in a process of its own. Returns its steps by kind, or ``None`` when it was killed."""
    here, there = _CONTEXT.Pipe(duplex=False)
    process = _CONTEXT.Process(target=_work, args=(job, place, kill, there))
    process.start()
    there.close()
    try:
        counts: dict[str, int] | None = here.recv()
    except EOFError:
        counts = None
    process.join()
    if counts is None and process.exitcode != -signal.SIGKILL:
        raise AssertionError(f"{job.name} ended with {process.exitcode}")
    process.close()
    here.close()
    return counts
