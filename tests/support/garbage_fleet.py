"""Processes that write, fork, collect, work on jobs, over a store that fails, and are killed and replaced at random.

In the end all that somebody was told of has to be there, and whatever a rule keeps; nothing else may be in the store.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from multiprocessing.synchronize import Event
from typing import Any

from manifold_common.adapters.system.clock import SystemClock
from manifold_common.bootstrap import Manifold
from manifold_common.bootstrap.jobs import makers
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.domain.garbage import Rules
from manifold_common.errors import AlreadyExists, ContentCollected, ManifoldError, NotFound, StoreUnavailable
from manifold_common.format.layout import project_prefix
from manifold_common.services.collection.collector import Collector
from manifold_common.services.collection.compaction import Compaction
from manifold_common.services.collection.condemned import Condemned
from manifold_common.services.collection.purge import Purge
from manifold_common.services.collection.retention import Retention
from manifold_common.services.jobs.worker import JobWorker
from manifold_common.services.upkeep.superseded import Superseded

from tests.support.garbage_load import HEADER_BYTES, Journal, Place, content, read_journals
from tests.support.garbage_writers import Forker, Writer, recover, write
from tests.support.reachability import Reachability
from tests.support.work import cat

TENANT = LOCAL_PRINCIPAL.tenant
KEPT_GENERATIONS = 3
GRACE_SECONDS = 3.0
"""What is condemned, and generations, stay for so long: a plan is read within that time. New objects have no grace."""
EVERYTHING_IS_OLD = -60.0
COLLECTORS_FAIL = 0.001
_CLAIM_SECONDS = 2.0
_PURGED_SHARE = 0.1
_MOST_ROUNDS = 10
_MORE_SECONDS = 60.0
_LIVES_SECONDS = [0.1, 2.0, 5.0, 10.0]
"""How long processes live once they are at work, about."""


# --- what collects ----------------------------------------------------------------------------------------------------


def collect(place: Place, name: str, seed: int, ready: Event) -> None:
    """Collect again and again, until killed."""
    place.wipe(name)
    manifold, journal, dice = place.node(name, COLLECTORS_FAIL), Journal(place.folder, name), random.Random(seed)
    count_settled(manifold, journal)
    ready.set()
    while True:
        families = []
        with failures_noted(journal):
            families = manifold.context.catalog.fork_families(limit=1000)
        for family in families:
            with failures_noted(journal):
                journal.note("collected", done=collector(manifold, GRACE_SECONDS).collect(*family))
            with failures_noted(journal):
                journal.note("swept", removed=sweep(manifold, GRACE_SECONDS))
        with failures_noted(journal):
            if dice.random() < _PURGED_SHARE:
                journal.note("purged", projects=Purge(manifold.context, 0).sweep())
            manifold.resumable_uploads.sweep()


def work_on_jobs(place: Place, name: str, seed: int, ready: Event) -> None:
    """Start collections and verifications, and work on them, until killed."""
    place.wipe(name)
    manifold, journal, dice = place.node(name, COLLECTORS_FAIL), Journal(place.folder, name), random.Random(seed)
    count_settled(manifold, journal)
    manifold.__dict__["collector"] = collector(manifold, GRACE_SECONDS)
    worker = JobWorker(manifold.context, makers(manifold), lease_seconds=_CLAIM_SECONDS)
    kinds: list[tuple[str, dict[str, object]]] = [("collect", {}), ("verify", {"read_data": True}), ("verify", {})]
    ready.set()
    while True:
        with failures_noted(journal), suppress(AlreadyExists):
            manifold.jobs.start(LOCAL_PRINCIPAL, *dice.choice(kinds), only_new=True)
        with failures_noted(journal):
            finished = worker.run(["collect", "verify"])
            journal.note("worked on jobs", items=finished)
            if not finished:
                time.sleep(0.1)


@contextmanager
def failures_noted(journal: Journal) -> Iterator[None]:
    try:
        yield
    except (StoreUnavailable, ContentCollected, NotFound) as error:
        journal.note("collection failed", code=error.code)
    except ManifoldError as error:
        journal.note("wrong", code=error.code, act="collect", message=error.message)


def count_settled(manifold: Manifold, journal: Journal) -> None:
    settle = manifold.context.catalog.settle

    def counted(tenant: Any, family: Any, cleared: Any, condemned: Any) -> bool:
        done = settle(tenant, family, cleared, condemned)
        journal.note("settled" if done else "overtaken", cleared=len(cleared), condemned=len(condemned))
        return done

    manifold.context.catalog.settle = counted  # type: ignore[method-assign]


def collector(manifold: Manifold, grace_seconds: float) -> Collector:
    context = manifold.context
    rules = Rules(KEPT_GENERATIONS, 0, timedelta(seconds=grace_seconds))
    return Collector(context, Retention(context, rules), Compaction(context, 50), EVERYTHING_IS_OLD)


def sweep(manifold: Manifold, grace_seconds: float) -> int:
    context = manifold.context
    return Superseded(context, grace_seconds).sweep() + Condemned(context, grace_seconds).sweep()


def collect_all(manifold: Manifold) -> None:
    """Collect what is there until nothing is left to do. Fails where there always is."""
    families = manifold.context.catalog.fork_families(limit=1000)
    for _ in range(_MOST_ROUNDS):
        sweep(manifold, EVERYTHING_IS_OLD)
        if not any([collector(manifold, EVERYTHING_IS_OLD).collect(*family) for family in families]):  # noqa: C419
            return
    raise AssertionError("there is always something to collect")


# --- all of it --------------------------------------------------------------------------------------------------------


@dataclass
class Totals:
    counted: Counter[str] = field(default_factory=Counter)
    wrong: list[dict[str, Any]] = field(default_factory=list)
    kills: Counter[str] = field(default_factory=Counter)


def _has_gone_on(place: Place) -> bool:
    """Tell whether anything was condemned yet: on a busy machine that may take a while."""
    return any(line["what"] == "settled" and line["condemned"] for line in read_journals(place.folder))


@dataclass(frozen=True)
class _Role:
    """Args: ``run``: called with the place, the name, a seed, what it sets when it is at work, and ``more``."""

    kind: str
    number: int
    run: Callable[..., None]
    more: tuple[Any, ...] = ()


@dataclass
class _Running:
    process: Any
    ready: Event
    lives_seconds: float
    end: float | None = None

    def is_over(self) -> bool:
        if self.end is None and self.ready.is_set():
            self.end = time.monotonic() + self.lives_seconds
        return self.end is not None and time.monotonic() > self.end


def run(
    place: Place, *, seconds: float, writers: int = 2, collectors: int = 2, workers: int = 1, seed: int = 0
) -> Totals:
    """Have it all go on for so long, and look at what is left. Fails where anything is not as it should be."""
    dice, kills = random.Random(seed), Counter[str]()
    first = place.node("first")
    first.projects.create(LOCAL_PRINCIPAL, "first")
    first.close()
    fork = multiprocessing.get_context("forkserver")
    fork.set_forkserver_preload([__name__])
    roles = [
        *(_Role("writer", number, write, (Writer,)) for number in range(writers)),
        _Role("forker", 0, write, (Forker,)),
        *(_Role("collector", number, collect) for number in range(collectors)),
        *(_Role("worker", number, work_on_jobs) for number in range(workers)),
    ]
    running: dict[_Role, _Running] = {}
    until = time.monotonic() + seconds
    while time.monotonic() < until or (time.monotonic() < until + _MORE_SECONDS and not _has_gone_on(place)):
        for role in roles:
            if role not in running:
                ready = fork.Event()
                args = (place, f"{role.kind}{role.number}", dice.randrange(1 << 30), ready, *role.more)
                made = fork.Process(target=role.run, args=args, daemon=True)
                made.start()
                running[role] = _Running(made, ready, dice.choice(_LIVES_SECONDS) * (0.5 + dice.random()))
        time.sleep(0.02)
        for role, one in list(running.items()):
            assert one.process.is_alive(), f"a {role.kind} has ended by itself"
            if one.is_over():
                _kill(one.process)
                kills[role.kind] += 1
                del running[role]
    for role, one in running.items():
        _kill(one.process)
        kills[role.kind] += 1
    return judged(place, writers, Totals(kills=kills))


def _kill(process: Any) -> None:
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()


# --- what is left -----------------------------------------------------------------------------------------------------


@dataclass
class Told:
    """What somebody was told of."""

    files: dict[str, dict[int, dict[str, int]]] = field(default_factory=dict)
    """Of each project and generation: those that were committed."""
    may_be_gone: set[str] = field(default_factory=set)
    """Projects that somebody was about to delete."""


class Later(SystemClock):
    """At which every upload is over."""

    def now(self) -> datetime:
        return super().now() + timedelta(days=30)


def judged(place: Place, writers: int, totals: Totals) -> Totals:
    told = _read(place, totals)
    for number in range(writers):
        last = Writer(place, f"writer{number}", 0, fails=0.0)
        recover(last)
        last.close()
    _count(place, totals)
    for name in ("judge", "judge of what is left"):  # each with empty caches
        judge = place.node(name.replace(" ", "-"))
        try:
            assert judge.context.catalog.count_damaged() == 0, "a verification has found damage"
            look_at(judge, told)
            if name == "judge":
                _give_up_all_that_can_be(place, judge)
                totals.counted["projects"], totals.counted["objects left"] = check_store(judge)
        finally:
            judge.close()
    return totals


def _read(place: Place, totals: Totals) -> Told:
    told = Told()
    for line in read_journals(place.folder):
        if line["what"] == "committed":
            told.files.setdefault(line["project"], {})[line["generation"]] = line["files"]
        elif line["what"] == "about to delete":
            told.may_be_gone.add(line["project"])
    return told


def _count(place: Place, totals: Totals) -> None:
    for line in read_journals(place.folder):
        what = line.pop("what")
        if what == "wrong":
            totals.wrong.append(line)
        if what in ("settled", "swept"):
            totals.counted.update({f"objects {key}": value for key, value in line.items()})
        if not what.startswith("about to"):
            name = f"{what} {line['code']} {line.get('act', '')}".strip() if "code" in line else what
            totals.counted[name] += 1


def _give_up_all_that_can_be(place: Place, judge: Manifold) -> None:
    """End uploads and sessions, purge what is deleted, and collect."""
    for row in judge.sessions.all(LOCAL_PRINCIPAL):
        judge.sessions.close(LOCAL_PRINCIPAL, row.session)
    later = place.node("later", clock=Later())
    later.resumable_uploads.sweep()
    later.close()
    Purge(judge.context, -1).sweep()
    collect_all(judge)
    sweep(judge, EVERYTHING_IS_OLD)


def check_store(judge: Manifold) -> tuple[int, int]:
    """What is needed is there, and nothing else. Returns how many projects and objects there are."""
    context = judge.context
    families = context.catalog.fork_families(limit=1000)
    members = [one.project for family in families for one in context.catalog.fork_family(*family)]
    stored = {one.key for project in members for one in context.store.list(project_prefix(TENANT, project))}
    reachability = Reachability(judge)
    needed = set().union(*(reachability.needed(TENANT, project) for project in members))
    assert not needed - stored, ("gone", sorted(needed - stored))
    assert not stored - needed, ("left", sorted(stored - needed))
    return len(members), len(stored)


def look_at(judge: Manifold, told: Told) -> None:
    """Every file of every generation has the content that it says; those that were committed, the one that was told."""
    known: dict[bytes, int] = {}
    projects = [one.id for one in judge.projects.page(LOCAL_PRINCIPAL)]
    assert told.files.keys() - set(projects) <= told.may_be_gone
    for project in projects:
        assert (report := judge.verify.run(LOCAL_PRINCIPAL, project, read_data=True)).ok, report.problems
        commits = judge.history.log(LOCAL_PRINCIPAL, project, limit=1000)
        expected = told.files.get(project, {})
        head = max((one.generation for one in commits), default=0)
        assert head >= max(expected, default=0), (project, "a commit that was acknowledged is not there")
        newest = {one for one in expected if one > head - KEPT_GENERATIONS}
        assert newest <= {one.generation for one in commits}, (project, "one of the newest generations is gone")
        for commit in commits:
            snapshot = judge.history.snapshot(LOCAL_PRINCIPAL, project, commit.generation)
            found = {}
            for path, entry in snapshot.tree.items():
                if path:
                    if entry.content not in known:
                        data = cat(judge, project, path, commit.generation)
                        known[entry.content] = int.from_bytes(data[:HEADER_BYTES], "big")
                        assert data == content(known[entry.content]), (project, commit.generation, path)
                    found[path.decode()] = known[entry.content]
            files = expected.get(commit.generation, {})
            assert files.items() <= found.items(), (project, commit.generation)
