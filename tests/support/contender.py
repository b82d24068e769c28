"""A process that edits and commits one project in a session of its own, beside others that do the same.

Each round it writes files that are its own, and now and then some that all share. Where a commit is refused it decides
in one of three ways. It reports everything it was told, for the test to hold against a model.
"""

from __future__ import annotations

import multiprocessing
import random
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from pathlib import Path

from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.domain.conflict import Strategy
from manifold_common.errors import CommitConflict
from manifold_common.ids import ProjectId, SessionId
from manifold_common.shapes.intent import Intent
from manifold_common.shapes.requests import CheckoutRequest

from tests.crash.victim import Place, build
from tests.support.work import check_out, look

OURS = CheckoutRequest(strategy=Strategy.OURS)
SHARED = tuple(f"shared/{number}" for number in range(4))

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.crash.victim"])

Files = dict[str, bytes]
Edits = dict[str, bytes | None]
"""What files become; ``None``: removed."""


@dataclass(frozen=True)
class Made:
    """A commit that was acknowledged."""

    name: str
    """Its message."""
    base: int
    generation: int
    edits: Edits
    strategy: Strategy
    decided: list[str]
    """Paths on which the strategy decided."""
    is_commit: bool
    """False when nothing was left to change."""


@dataclass(frozen=True)
class Refused:
    """A commit that was a conflict."""

    base: int
    head: int
    edits: Edits
    paths: list[str]
    was_kept: bool
    """Whether the work became the session's draft."""


@dataclass
class Report:
    made: list[Made] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    base: int = 0
    """Where the working set stands in the end."""
    files: Files = field(default_factory=dict)
    """What is in it."""


@dataclass(frozen=True)
class Task:
    number: int
    rounds: int
    seed: int
    place: Place
    project: ProjectId


class _Contender:
    def __init__(self, task: Task, manifold: Manifold) -> None:
        self._task = task
        self._manifold = manifold
        self._rng = random.Random(task.seed)
        self._session = SessionId(f"contender-{task.number}")
        self._work = check_out(manifold, task.project, self._session)
        self.report = Report(base=manifold.sessions.view(LOCAL_PRINCIPAL, self._session).session.base_generation)

    def run(self) -> None:
        for number in range(self._task.rounds):
            edits = self._edit(number)
            name = f"{self._task.number}/{number}"
            while not self._commit(name, edits, Strategy.FAIL):
                choice = self._rng.choice(("ours", "theirs", "merge"))
                if choice != "merge":
                    self._commit(name, edits, Strategy(choice))
                    break
                done = self._manifold.sessions.checkout(LOCAL_PRINCIPAL, self._session, request=OURS)
                self.report.base = done.generation
        self.report.files = files_in(self._work)

    def _edit(self, number: int) -> Edits:
        rng, mine = self._rng, f"own/{self._task.number}"
        edits: Edits = {f"{mine}/{number}": rng.randbytes(rng.choice((10, 5000, 100_000)))}
        if number and rng.random() < 0.5:
            edits[f"{mine}/{number - 1}"] = None if rng.random() < 0.3 else rng.randbytes(100)
        if rng.random() < 0.4:
            for path in rng.sample(SHARED, rng.randint(1, 2)):
                there = (self._work / path).exists()
                edits[path] = None if there and rng.random() < 0.2 else rng.randbytes(1000)
        edits = {path: data for path, data in edits.items() if data is not None or (self._work / path).exists()}
        for path, data in edits.items():
            if data is None:
                (self._work / path).unlink()
            else:
                (self._work / path).parent.mkdir(parents=True, exist_ok=True)
                (self._work / path).write_bytes(data)
        return edits

    def _commit(self, name: str, edits: Edits, strategy: Strategy) -> bool:
        report = self.report
        try:
            done = self._manifold.commits.commit(LOCAL_PRINCIPAL, self._session, Intent(name, strategy=strategy))
        except CommitConflict as conflict:
            head = conflict.details["head_generation"]
            draft = self._manifold.sessions.view(LOCAL_PRINCIPAL, self._session).session.draft
            report.refused.append(Refused(report.base, head, edits, conflict.paths, draft is not None))
            return False
        decided = [path.path for path in done.conflicts]
        is_commit = done.commit is not None
        report.made.append(Made(name, report.base, done.generation, edits, strategy, decided, is_commit))
        report.base = done.generation
        return True


def files_in(folder: Path) -> Files:
    return {path.decode(): node.content for path, node in look(folder).items() if node.kind == "file"}


def _contend(task: Task, start: Barrier, told: Connection) -> None:
    manifold = build(task.place)
    try:
        contender = _Contender(task, manifold)
        start.wait(60)
        contender.run()
    finally:
        manifold.close()
    told.send(contender.report)
    told.close()


def contend(tasks: list[Task]) -> list[Report]:
    """Run each task in a process of its own, all at the same time."""
    start = CONTEXT.Barrier(len(tasks))
    running = []
    for task in tasks:
        here, there = CONTEXT.Pipe(duplex=False)
        process = CONTEXT.Process(target=_contend, args=(task, start, there))
        process.start()
        there.close()
        running.append((process, here))
    reports = []
    for process, here in running:
        try:
            reports.append(here.recv())
        except EOFError:
            raise AssertionError("a process ended without a report; its error is on stderr") from None
        finally:
            process.join()
            here.close()
            process.close()
    return reports
