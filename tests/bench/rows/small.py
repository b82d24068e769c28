"""Small changes to a large project."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.ids import Generation, ProjectId, SessionId
from manifold_common.services.projects.edits import PutFile

from tests.bench import corpus, rivals
from tests.bench.measure import Samples, Watch, side_by_side, timed
from tests.bench.result import Row
from tests.bench.rows.bulk import IN_PROCESS, imported_project
from tests.bench.stage import Node, Stage
from tests.support.postgres_proxy import PostgresProxy

_CHANGED = 10
_LONG_HISTORY = 1000


@dataclass
class Desk:
    """A session of a project, and the paths in it that are edited."""

    node: Node
    session: SessionId
    folder: Path
    files: list[tuple[str, bytes]]

    @classmethod
    def at(cls, stage: Stage, node: Node, project: ProjectId, name: str) -> Desk:
        out = node.manifold.sessions.checkout(LOCAL_PRINCIPAL, SessionId(name), project)
        return cls(node, SessionId(name), Path(out.path), stage.files)

    def edit(self, number: int) -> None:
        corpus.edit_files(self.folder, corpus.some_paths(self.files, _CHANGED, number), number)

    def commit(self) -> Watch:
        with timed() as watch:
            done = self.node.manifold.commits.commit(LOCAL_PRINCIPAL, self.session)
        if done.modified != _CHANGED:
            raise RuntimeError(f"the commit has {done.modified} changes instead of {_CHANGED}")
        return watch

    def edit_and_commit(self, number: int) -> Watch:
        self.edit(number)
        return self.commit()


def refresh(stage: Stage) -> Row:
    row = Row("refresh", "Refresh after another node changed 10 of 10,000 files")
    here, there = stage.node(), stage.node()
    project = imported_project(stage, there, "refresh")
    writer = Desk.at(stage, there, project, "refresh-writer")
    session = SessionId("refresh-reader")
    here.manifold.sessions.checkout(LOCAL_PRINCIPAL, session, project)
    samples = Samples(IN_PROCESS)
    requests: list[int] = []
    for number in range(stage.times(21, 7)):
        writer.edit_and_commit(number)
        before = here.store.total_requests
        with timed(samples):
            here.manifold.sessions.checkout(LOCAL_PRINCIPAL, session)
        requests.append(here.store.total_requests - before)
    row.samples = [samples]
    row.at_most("in process <= 50 ms", samples.median * 1000, 50, "ms")
    row.at_most("requests to the store <= commits missed (1) + 1", max(requests), 2, "")
    stage.drop(here)
    stage.drop(there)
    return row


def commit_ten(stage: Stage) -> Row:
    row = Row("commit10", "Commit of 10 changed files among 10,000")
    node = stage.node()
    project = imported_project(stage, node, "commit10")
    desk = Desk.at(stage, node, project, "commit10")
    git = rivals.Git(stage.fresh("git"), stage.source)
    git.first_commit()
    puts: list[int] = []
    requests: list[int] = []

    def manifold(number: int) -> Watch:
        desk.edit(number)
        node.store.reset()
        taken = desk.commit()
        puts.append(node.store.requests["put"])
        requests.append(node.store.total_requests)
        return taken

    def command(number: int) -> float:
        desk.edit(5000 + number)
        return stage.command(node.environ, "commit", "commit10")

    def other(number: int) -> float:
        corpus.edit_files(git.folder, corpus.some_paths(stage.files, _CHANGED, number), number)
        return git.commit()

    times, rival = stage.times(31, 9), "git add -A, git commit"
    found = side_by_side({IN_PROCESS: (manifold, times), rival: (other, times)})
    whole = side_by_side({"manifold commit": (command, stage.times(5, 1))})
    row.samples = [*found.values(), *whole.values()]
    row.at_most("manifold in process / git <= 1.5", found[IN_PROCESS].median / found[rival].median, 1.5)
    row.exactly("PUTs = 1", max(puts), 1)
    row.exactly("requests to the store = 1", max(requests), 1)
    row.exactly("database round trips = 1", _round_trips(stage, project), 1)
    shutil.rmtree(git.folder)
    stage.drop(node)
    return row


def _round_trips(stage: Stage, project: ProjectId) -> int:
    """Count, on the wire, what one commit asks of the database. Not timed: the counting relay costs time."""
    with PostgresProxy(stage.dsn) as proxy:
        node = stage.node(dsn=proxy.dsn)
        desk = Desk.at(stage, node, project, "commit10-counted")
        counts: list[int] = []
        for number in range(5):
            desk.edit(9000 + number)
            before = proxy.round_trips
            desk.commit()
            counts.append(proxy.round_trips - before)
        stage.drop(node)
    return max(counts[-2:])  # the first ones also open a connection, and prepare their statement on it


def history(stage: Stage) -> Row:
    length = stage.times(_LONG_HISTORY, 200)
    row = Row("history", f"Commit of 10 files: commit {length:,} against commit 10")
    node = stage.node()
    young, old = imported_project(stage, node, "young"), imported_project(stage, node, "old")
    for number in range(9):
        _put(node, young, number)
    for number in range(length - 1):
        _put(node, old, number)
    desks = [Desk.at(stage, node, young, "young"), Desk.at(stage, node, old, "old")]
    names = ["from commit 10 on", f"from commit {length:,} on"]
    found = side_by_side(
        {name: (desk.edit_and_commit, stage.times(21, 7)) for name, desk in zip(names, desks, strict=True)}
    )
    row.samples = list(found.values())
    first, last = (found[name].median for name in names)
    row.at_most(f"commit {length:,} / commit 10 <= 1.2", last / first, 1.2)
    stage.drop(node)
    row.notes += [
        f"cold checkout of the {length:,} commits: {_cold(stage, old):.2f} s without a checkpoint, "
        f"{_checkpointed(stage, old):.2f} s with one"
    ]
    return row


def _put(node: Node, project: ProjectId, number: int) -> None:
    content = memoryview(b"edit %d\n" % number)
    parts = [content]

    def read(into: memoryview) -> int:
        if not parts:
            return 0
        part = parts.pop()
        into[: len(part)] = part
        return len(part)

    node.manifold.edits.apply(LOCAL_PRINCIPAL, project, [PutFile(b"notes-%d" % (number % 20), read)])


def _cold(stage: Stage, project: ProjectId) -> float:
    node = stage.node()
    with timed() as watch:
        node.manifold.sessions.checkout(LOCAL_PRINCIPAL, None, project)
    stage.drop(node)
    return watch.seconds


def _checkpointed(stage: Stage, project: ProjectId) -> float:
    node = stage.node()
    if not node.manifold.maintenance.checkpoint_if_due(LOCAL_PRINCIPAL.tenant, project):
        raise RuntimeError("no checkpoint was due")
    found = node.manifold.projects.get(LOCAL_PRINCIPAL, project)
    if found.generation < Generation(10):
        raise RuntimeError("the history is too short")
    stage.drop(node)
    return _cold(stage, project)
