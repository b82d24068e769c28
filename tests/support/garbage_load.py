"""Processes that commit, fork, save, tag and delete, while others collect what they leave and are killed at random.

Every file says which content it is, so that any generation proves itself. What a writer was told of is on record. In
the end all that is kept has to be readable, and nothing else may be in the store.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from manifold_common.adapters.system.clock import SystemClock, SystemRandomness
from manifold_common.bootstrap import Manifold, assemble, build_catalog, build_key_providers, build_store
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.domain.garbage import Rules
from manifold_common.errors import (
    CommitConflict,
    ContentCollected,
    ManifoldError,
    NotFound,
    QuotaExceeded,
    StoreUnavailable,
)
from manifold_common.format.layout import project_prefix
from manifold_common.ids import Generation, ProjectId, SessionId, TagName
from manifold_common.services import publish
from manifold_common.services.collection.collector import Collector
from manifold_common.services.collection.compaction import Compaction
from manifold_common.services.collection.condemned import Condemned
from manifold_common.services.collection.retention import Retention
from manifold_common.services.projects.edits import Copy, Delete, Edit, PutFile, reading
from manifold_common.services.upkeep.superseded import Superseded
from manifold_common.settings import load_settings

from tests.support.reachability import Reachability
from tests.support.work import cat

TENANT = LOCAL_PRINCIPAL.tenant
KEPT_GENERATIONS = 3
GRACE_SECONDS = 3.0
"""What is condemned, and generations, stay for so long: a plan is read within that time. New objects have no grace."""
EVERYTHING_IS_OLD = -60.0
MOST_PROJECTS = 8
SLOTS, CONTENTS = 6, 24
PACKED_SHARE = 0.15
COLLECTORS_FAIL, WRITERS_FAIL = 0.001, 0.003
_HEADER = 8
_MOST_ROUNDS = 10


def content(number: int) -> bytes:
    """Return content that says which it is. Some is more than travels inside a commit object."""
    size = (2 << 20) + 70_000 if number % CONTENTS < CONTENTS * PACKED_SHARE else 200 + 300 * (number % CONTENTS)
    return number.to_bytes(_HEADER, "big") + random.Random(number).randbytes(size)


@dataclass(frozen=True)
class Place:
    """Where the servers are, and the folder for everything else. Args: ``variables``: settings of the store."""

    dsn: str
    folder: Path
    variables: dict[str, str] = field(default_factory=dict)

    def node(self, name: str, fails: float = 0.0) -> Manifold:
        clock, randomness = SystemClock(), SystemRandomness()
        environ = {
            "WORKDIR": str(self.folder),
            "PROJECTS_ENCRYPT": "true",
            "PROJECTS_WORKSPACE_MODE": "ephemeral",
            "PROJECTS_WORKSPACE_TMPFS_DIR": str(self.folder / f"ram-{name}"),
            "PROJECTS_WORKSPACE_CACHE_DIR": str(self.folder / f"cache-{name}"),
            **self.variables,
        }
        settings = load_settings(environ=environ, cwd=self.folder)
        store = build_store(settings, clock, randomness)
        return assemble(
            settings,
            catalog=build_catalog(settings, self.dsn, clock),
            store=Unsure(store, fails) if fails else store,  # type: ignore[arg-type]
            providers=build_key_providers(settings, clock, randomness),
            clock=clock,
            randomness=randomness,
        )

    def wipe(self, name: str) -> None:
        for one in (f"ram-{name}", f"cache-{name}"):
            shutil.rmtree(self.folder / one, ignore_errors=True)


class Unsure:
    """A store of whose requests some fail, before or after they have done their work."""

    def __init__(self, inner: Any, share: float) -> None:
        self._inner, self._share, self._dice = inner, share, random.Random()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name not in ("put", "get", "get_ranges", "head", "delete"):
            return found

        def call(*args: Any, **kwargs: Any) -> Any:
            if self._dice.random() < self._share:
                raise StoreUnavailable(f"{name} failed, as planned")
            answer = found(*args, **kwargs)
            if self._dice.random() < self._share:
                raise StoreUnavailable(f"the answer to {name} was lost, as planned")
            return answer

        return call


class Journal:
    """What a process was told of, line by line."""

    def __init__(self, path: Path) -> None:
        self._file = open(path, "a", buffering=1)  # noqa: SIM115

    def note(self, what: str, **more: object) -> None:
        self._file.write(json.dumps({"what": what, **more}) + "\n")


def read_journals(folder: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(folder.glob("*.journal")):
        for line in path.read_text().splitlines():
            with suppress(ValueError):  # the last one of a process that was killed
                yield json.loads(line)


# --- writers ----------------------------------------------------------------------------------------------------------


class Writer:
    """Changes only files of its own name, so that no two conflict."""

    def __init__(self, place: Place, name: str, seed: int) -> None:
        self.place, self.name, self.dice = place, name, random.Random(seed)
        self.manifold = place.node(name, WRITERS_FAIL)
        self.journal = Journal(place.folder / f"{name}.journal")
        self.number = 0

    def run(self, until: float) -> None:
        acts: list[tuple[Callable[[ProjectId], None], int]] = [
            (self.put, 20), (self.drop, 12), (self.copy, 3), (self.restore, 2), (self.work, 6), (self.fork, 1),
            (self.tag, 2), (self.remove, 1),
        ]  # fmt: skip
        while time.monotonic() < until:
            (act,) = self.dice.choices([one for one, _ in acts], [weight for _, weight in acts])
            project = self.dice.choice(self.projects())
            try:
                act(project)
            except (ContentCollected, CommitConflict, NotFound, StoreUnavailable, QuotaExceeded) as error:
                self.journal.note("refused", code=error.code, act=act.__name__)
            except ManifoldError as error:
                self.journal.note("wrong", code=error.code, act=act.__name__, message=error.message, project=project)
        self.manifold.close()

    def projects(self) -> list[ProjectId]:
        return [one.id for one in self.manifold.projects.page(LOCAL_PRINCIPAL)]

    def slot(self) -> bytes:
        return f"{self.name}-{self.dice.randrange(SLOTS)}".encode()

    def generation(self, project: ProjectId) -> Generation:
        """Return one of the newest. Raises NotFound: there is none."""
        found = self.manifold.history.log(LOCAL_PRINCIPAL, project, limit=8)
        if not found:
            raise NotFound("it is empty")
        return self.dice.choice(found).generation

    def apply(self, project: ProjectId, edits: list[Edit], files: dict[bytes, int]) -> None:
        done = self.manifold.edits.apply(LOCAL_PRINCIPAL, project, edits)
        self.committed(project, done.generation if done.commit else None, files)

    def committed(self, project: ProjectId, generation: int | None, files: dict[bytes, int]) -> None:
        if generation is not None:
            named = {path.decode(): number for path, number in files.items()}
            self.journal.note("committed", project=project, generation=generation, files=named)

    def put(self, project: ProjectId) -> None:
        files = {self.slot(): self.dice.randrange(CONTENTS) for _ in range(self.dice.choice([1, 1, 3]))}
        self.apply(project, [PutFile(path, reading(content(one))) for path, one in files.items()], files)

    def drop(self, project: ProjectId) -> None:
        self.apply(project, [Delete(self.slot())], {})

    def copy(self, project: ProjectId) -> None:
        source, destination = self.dice.sample(range(SLOTS), 2)
        paths = [f"{self.name}-{slot}".encode() for slot in (source, destination)]
        self.apply(project, [Copy(*paths, True)], {})

    def restore(self, project: ProjectId) -> None:
        generation = self.generation(project)
        done = self.manifold.edits.restore(LOCAL_PRINCIPAL, project, generation, [self.slot()])
        self.committed(project, done.generation if done.commit else None, {})

    def work(self, project: ProjectId) -> None:
        """Work in a session for a while; leave it, save it, or commit it."""
        self.number += 1
        session = SessionId(f"{self.name}-s{self.number}")
        folder = Path(self.manifold.sessions.checkout(LOCAL_PRINCIPAL, session, project).path)
        try:
            for _ in range(self.dice.randint(1, 3)):
                files = {self.slot(): self.dice.randrange(CONTENTS)}
                for path, number in files.items():
                    (folder / path.decode()).write_bytes(content(number))
                if self.dice.random() < 0.4:
                    self.manifold.commits.save(LOCAL_PRINCIPAL, session)
                    self.journal.note("saved")
                    time.sleep(self.dice.random() / 5)
                if self.dice.random() < 0.7:
                    done = self.manifold.commits.commit(LOCAL_PRINCIPAL, session)
                    self.committed(project, done.generation if done.commit else None, files)
        finally:
            self.manifold.sessions.close(LOCAL_PRINCIPAL, session)

    def fork(self, project: ProjectId) -> None:
        if len(self.projects()) < MOST_PROJECTS:
            self.number += 1
            generation = self.generation(project)
            made = self.manifold.forks.fork(LOCAL_PRINCIPAL, project, f"{self.name}-f{self.number}", generation)
            self.journal.note("forked", project=made.id)

    def tag(self, project: ProjectId) -> None:
        name = TagName(f"{self.name}-{self.dice.randrange(2)}")
        with suppress(NotFound):
            self.manifold.tags.remove(LOCAL_PRINCIPAL, project, name)
        self.manifold.tags.set(LOCAL_PRINCIPAL, project, name, self.generation(project))

    def remove(self, project: ProjectId) -> None:
        if len(self.projects()) > MOST_PROJECTS // 2:
            self.manifold.projects.delete(LOCAL_PRINCIPAL, project)
            self.journal.note("deleted")


def write(place: Place, name: str, seed: int, seconds: float) -> None:
    renewed = publish.renewed
    writer = Writer(place, name, seed)

    def counted(*args: Any) -> Any:
        try:
            found = renewed(*args)
        except ContentCollected:
            writer.journal.note("had to store anew")
            raise
        writer.journal.note("brought to the present")
        return found

    publish.renewed = counted
    writer.run(time.monotonic() + seconds)


# --- collectors -------------------------------------------------------------------------------------------------------


def collect(place: Place, name: str) -> None:
    """Collect again and again, until killed."""
    place.wipe(name)
    manifold, journal = place.node(name, COLLECTORS_FAIL), Journal(place.folder / f"{name}.journal")
    count_settled(manifold, journal)
    while True:
        for family in manifold.context.catalog.fork_families(limit=1000):
            with failures_noted(journal):
                journal.note("collected", done=collector(manifold, GRACE_SECONDS).collect(*family))
            with failures_noted(journal):
                journal.note("swept", removed=sweep(manifold, GRACE_SECONDS))


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
    counted: Counter[str]
    wrong: list[dict[str, Any]]
    kills: int = 0


def run(place: Place, *, seconds: float, writers: int = 2, collectors: int = 2, seed: int = 0) -> Totals:
    """Have it all go on for so long, and look at what is left. Fails where anything is not as it should be."""
    dice = random.Random(seed)
    first = place.node("first")
    first.projects.create(LOCAL_PRINCIPAL, "first")
    first.close()
    fork = multiprocessing.get_context("forkserver")
    fork.set_forkserver_preload([__name__])
    busy = [
        fork.Process(target=write, args=(place, f"w{number}", dice.randrange(1 << 30), seconds))
        for number in range(writers)
    ]
    for one in busy:
        one.start()
    kills, until = 0, time.monotonic() + seconds
    running = {}
    while any(one.is_alive() for one in busy):
        for number in range(collectors):
            if number not in running:
                kills += 1
                made = fork.Process(target=collect, args=(place, f"c{number}"), daemon=True)
                made.start()
                running[number] = (made, time.monotonic() + dice.choice([0.5, 1.0, 2.0, 5.0]) + dice.random())
        time.sleep(0.02)
        for number, (process, end) in list(running.items()):
            if time.monotonic() > end or not process.is_alive():
                assert process.is_alive(), "a collector has ended by itself"
                os.kill(process.pid or 0, signal.SIGKILL)
                process.join()
                del running[number]
        assert time.monotonic() < until + 120, "a writer does not end"
    for process, _ in running.values():
        process.kill()
        process.join()
    assert [one.exitcode for one in busy] == [0] * writers
    return judged(place, kills)


def judged(place: Place, kills: int) -> Totals:
    counted, wrong = Counter[str](), []
    told: dict[str, dict[int, dict[str, int]]] = {}
    for line in read_journals(place.folder):
        what = line.pop("what")
        if what == "wrong":
            wrong.append(line)
        elif what == "committed":
            told.setdefault(line["project"], {})[line["generation"]] = line["files"]
        if what in ("settled", "swept"):
            counted.update({f"objects {key}": value for key, value in line.items()})
        counted[f"{what} {line['code']} {line.get('act', '')}".strip() if "code" in line else what] += 1
    judge = place.node("judge")
    try:
        look_at(judge, told)
        context = judge.context
        collect_all(judge)
        sweep(judge, EVERYTHING_IS_OLD)
        families = context.catalog.fork_families(limit=1000)
        members = [one.project for family in families for one in context.catalog.fork_family(*family)]
        stored = {one.key for project in members for one in context.store.list(project_prefix(TENANT, project))}
        reachability = Reachability(judge)
        needed = set().union(*(reachability.needed(TENANT, project) for project in members))
        assert not needed - stored, ("gone", sorted(needed - stored))
        assert not stored - needed, ("left", sorted(stored - needed))
        look_at(judge, told)
    finally:
        judge.close()
    counted["projects"], counted["objects left"] = len(members), len(stored)
    return Totals(counted, wrong, kills)


def look_at(judge: Manifold, told: dict[str, dict[int, dict[str, int]]]) -> None:
    """Every file of every generation has the content that it says; those that were committed, the one that was told."""
    known: dict[bytes, int] = {}
    for project in [one.id for one in judge.projects.page(LOCAL_PRINCIPAL)]:
        assert (report := judge.verify.run(LOCAL_PRINCIPAL, project, read_data=True)).ok, report.problems
        for commit in judge.history.log(LOCAL_PRINCIPAL, project, limit=1000):
            snapshot = judge.history.snapshot(LOCAL_PRINCIPAL, project, commit.generation)
            found = {}
            for path, entry in snapshot.tree.items():
                if path:
                    if entry.content not in known:
                        data = cat(judge, project, path, commit.generation)
                        known[entry.content] = int.from_bytes(data[:_HEADER], "big")
                        assert data == content(known[entry.content]), (project, commit.generation, path)
                    found[path.decode()] = known[entry.content]
            expected = told.get(project, {}).get(commit.generation, {})
            assert expected.items() <= found.items(), (project, commit.generation)
