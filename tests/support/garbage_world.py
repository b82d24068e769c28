"""What nodes do to projects that share content, what must hold meanwhile, and what must be left in the end."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.domain.conflict import Strategy
from manifold_common.domain.tree import FILE, chunk_ids
from manifold_common.engine.tree_log import Snapshot
from manifold_common.errors import (
    NotFound,
)
from manifold_common.format.layout import project_prefix
from manifold_common.ids import Generation, SessionId, TagName
from manifold_common.services.collection.condemned import Condemned
from manifold_common.services.projects.edits import Copy, Delete, Edit, Move, PutFile
from manifold_common.services.upkeep.superseded import Superseded
from manifold_common.shapes.intent import Intent
from manifold_common.shapes.requests import CheckoutRequest

from tests.support.garbage import TENANT, collector
from tests.support.garbage_model import (
    Change,
    Doing,
    Files,
    Line,
    Session,
    applied,
    between,
    mtime_ns,
)
from tests.support.garbage_nodes import PLAIN_NODE
from tests.support.garbage_upkeep import Upkeep
from tests.support.steps import Steps
from tests.support.work import look, new_project, reader

_MOST_ROUNDS = 8


class World(Upkeep):
    # --- projects -----------------------------------------------------------------------------------------------------

    def create(self, node: str = "a") -> Line:
        if node == PLAIN_NODE and node not in self.nodes:
            self.build(node, PROJECTS_ENCRYPT="false")
        line = Line(new_project(self.nodes[node], self.new_name("p")))
        self.lines.append(line)
        return line

    def edit(self, node: str, line: Line, edits: list[Edit], changes: Callable[[Files], Change],
             strategy: Strategy = Strategy.FAIL, *, stops: bool = False, fail_at: int = 0) -> Steps:  # fmt: skip
        run = self.nodes[node].edits.apply
        return self.do(
            "edit",
            lambda: run(LOCAL_PRINCIPAL, line.project, edits, Intent(strategy=strategy)),
            Doing(changes, strategy),
            stops,
            fail_at,
            node,
        )

    def put(self, node: str, line: Line, path: bytes, data: bytes, strategy: Strategy = Strategy.FAIL,
            *, stops: bool = False, fail_at: int = 0) -> Steps:  # fmt: skip
        edit = PutFile(path, reader(data), 0o644, mtime_ns(data))
        return self.edit(node, line, [edit], lambda _: {path: data}, strategy, stops=stops, fail_at=fail_at)

    def put_all(self, node: str, line: Line, files: Files) -> Steps:
        edits: list[Edit] = [PutFile(path, reader(data), 0o644, mtime_ns(data)) for path, data in files.items()]
        return self.edit(node, line, edits, lambda _: dict(files))

    def delete(self, node: str, line: Line, path: bytes, *, stops: bool = False) -> Steps | None:
        if path not in line.history[line.head]:
            return None
        return self.edit(node, line, [Delete(path)], lambda _: {path: None}, stops=stops)

    def move(self, node: str, line: Line, path: bytes, to: bytes, *, copy: bool = False, stops: bool = False
             ) -> Steps | None:  # fmt: skip
        if path not in line.history[line.head] or path == to:
            return None
        edit: Edit = Copy(path, to, True) if copy else Move(path, to, True)

        def changes(base: Files) -> Change:
            return {to: base[path]} if copy else {to: base[path], path: None}

        return self.edit(node, line, [edit], changes, stops=stops)

    def restore(self, node: str, line: Line, generation: int, *, stops: bool = False) -> Steps:
        run, old = self.nodes[node].edits.restore, line.history[generation]
        doing = Doing(lambda base: between(base, old))
        work = lambda: run(LOCAL_PRINCIPAL, line.project, Generation(generation))  # noqa: E731
        return self.do("restore", work, doing, stops, node=node)

    def fork(self, node: str, line: Line, generation: int, *, stops: bool = False, fail_at: int = 0) -> Steps:
        run, name = self.nodes[node].forks.fork, self.new_name("p")
        doing = Doing(lambda _: {}, fork=(line, generation))
        work = lambda: run(LOCAL_PRINCIPAL, line.project, name, Generation(generation))  # noqa: E731
        return self.do("fork", work, doing, stops, fail_at, node)

    def tag(self, node: str, line: Line, generation: int, name: str) -> None:
        self.at_once(node)
        tags = self.nodes[node].tags
        if name in line.tags:
            tags.remove(LOCAL_PRINCIPAL, line.project, TagName(name))
            del line.tags[name]
        tags.set(LOCAL_PRINCIPAL, line.project, TagName(name), Generation(generation))
        line.tags[name] = generation

    def untag(self, node: str, line: Line, name: str) -> None:
        self.nodes[node].tags.remove(LOCAL_PRINCIPAL, line.project, TagName(name))
        del line.tags[name]

    def checkpoint(self, node: str, line: Line, *, stops: bool = False) -> Steps:
        manifold = self.nodes[node]
        self.at_once(node)
        return self.do(
            "checkpoint", lambda: manifold.maintenance.checkpoint_if_due(TENANT, line.project), None, stops, node=node
        )

    # --- sessions -----------------------------------------------------------------------------------------------------

    def work(self, session: Session) -> Path:
        own = self.nodes[session.node].working_sets.folders.own
        return Path(own) / TENANT / LOCAL_PRINCIPAL.user / session.name / "work"

    def open(self, node: str, line: Line, generation: int) -> Session:
        self.at_once(node)
        name = SessionId(self.new_name("s"))
        request = CheckoutRequest(Generation(generation))
        self.nodes[node].sessions.checkout(LOCAL_PRINCIPAL, name, line.project, request)
        session = Session(name, line, node, generation, dict(line.history[generation]), generation)
        self.sessions.append(session)
        self.check_files(session)
        return session

    def write(self, session: Session, path: bytes, data: bytes | None) -> None:
        place = self.work(session) / os.fsdecode(path)
        if data is None:
            place.unlink(missing_ok=True)
        else:
            place.write_bytes(data)
            place.chmod(0o644)
            os.utime(place, ns=(mtime_ns(data), mtime_ns(data)))
        session.files = applied(session.files, {path: data})

    def commit(self, session: Session, strategy: Strategy = Strategy.FAIL, *, stops: bool = False) -> Steps:
        run = self.nodes[session.node].commits.commit
        changes = session.changes
        session.is_busy = True

        def after(result: Any, error: BaseException | None) -> None:
            session.is_busy = False
            if error is None and session.is_open:
                session.base = result.generation
                session.files = dict(session.line.history[session.base])
                session.pinned = session.base

        work = lambda: run(LOCAL_PRINCIPAL, session.name, Intent(strategy=strategy))  # noqa: E731
        doing = Doing(lambda _: changes, strategy, session.base, session)
        return self.do("commit", work, doing, stops, node=session.node, after=after)

    def save(self, session: Session, *, stops: bool = False) -> Steps:
        run = self.nodes[session.node].commits.save
        session.is_busy = True

        def after(_result: Any, _error: BaseException | None) -> None:
            session.is_busy = False

        work = lambda: run(LOCAL_PRINCIPAL, session.name)  # noqa: E731
        return self.do("save", work, Doing(lambda _: {}, session=session), stops, node=session.node, after=after)

    def check_out(self, session: Session, node: str) -> None:
        """Bring a session to the head, perhaps on another node."""
        if node != session.node and not session.is_saved:
            return
        self.at_once(node)
        line = session.line
        run = self.nodes[node].sessions.checkout
        run(LOCAL_PRINCIPAL, session.name, None, CheckoutRequest(strategy=Strategy.OURS))
        changes = session.changes
        session.node, session.base, session.pinned = node, line.head, line.head
        session.files = applied(line.history[line.head], changes)
        self.check_files(session)

    def end(self, session: Session, node: str) -> None:
        """Close a session, perhaps from a node where it is not."""
        self.at_once(node)
        self.nodes[node].sessions.close(LOCAL_PRINCIPAL, session.name)
        session.is_open = False

    def check_files(self, session: Session) -> None:
        found = {path: node.content for path, node in look(self.work(session)).items()}
        assert found == session.files, (session.name, sorted(found), sorted(session.files))

    # --- collection ---------------------------------------------------------------------------------------------------

    def collect(self, line: Line, generations: int, *, stops: bool = False, fail_at: int = 0) -> Steps:
        """Collect a family on a node that does nothing else. Args: ``generations``: so many of the newest are kept."""
        name = f"collector-{next(self._numbers)}"
        made = collector(self.build(name), generations=generations)
        leader = self.catalog.family_of(TENANT, line.project)

        def run() -> bool:
            self.retained[threading.get_ident()] = generations
            return made.collect(TENANT, leader)

        return self.do("collect", run, None, stops, fail_at, name, lambda *_: self.leaving.append(name))

    def verify(self, line: Line, *, stops: bool = False) -> Steps:
        """Look at everything that a project refers to, on a node that does nothing else."""
        name = f"verifier-{next(self._numbers)}"
        made = self.build(name).verify
        run = partial(made.run, LOCAL_PRINCIPAL, line.project)
        return self.do("verify", run, None, stops, 0, name, lambda *_: self.leaving.append(name))

    def sweep(self, *, stops: bool = False, fail_at: int = 0) -> Steps:
        name = f"sweeper-{next(self._numbers)}"
        context = self.build(name).context

        def run() -> int:
            return Superseded(context, -60.0).sweep() + Condemned(context, -60.0).sweep()

        return self.do("sweep", run, None, stops, fail_at, name, lambda *_: self.leaving.append(name))

    # --- what must hold -----------------------------------------------------------------------------------------------

    def needed(self) -> set[str]:
        return set().union(*(self.reachability.needed(TENANT, line.project) for line in self.lines))

    def reserved(self) -> set[str]:
        return set().union(*(self.reachability.reserved(TENANT, line.project) for line in self.lines))

    def condemned(self) -> set[str]:
        held = {line.project: self.catalog.holdings(TENANT, line.project).listed for line in self.lines}
        return {f"{project_prefix(TENANT, project)}/{one}" for project, listed in held.items() for one in listed}

    def check_nothing_needed_goes(self) -> None:
        needed = self.needed()
        assert needed <= self.keys(), ("removed", sorted(needed - self.keys()))
        for backup in self.backups:
            assert backup.needed <= self.keys(), ("a backup needs", sorted(backup.needed - self.keys()))
        held = needed | self.reserved()
        assert not held & self.condemned(), ("condemned", sorted(held & self.condemned()))

    def check_everything_reads(self) -> None:
        """Every kept generation reads byte for byte on a node that has nothing; others say that they were removed."""
        name = f"fresh-{next(self._numbers)}"
        fresh = self.build(name, is_watched=False)
        known: dict[bytes, bytes] = {}
        for line in self.lines:
            if not line.is_alive:
                continue
            for generation in range(1, line.head + 1):
                if generation in line.removed:
                    with pytest.raises(NotFound, match="removed by retention"):
                        fresh.history.snapshot(LOCAL_PRINCIPAL, line.project, Generation(generation))
                    continue
                snapshot = fresh.history.snapshot(LOCAL_PRINCIPAL, line.project, Generation(generation))
                assert read_files(fresh, snapshot, known) == line.history[generation], (line.project, generation)
            report = fresh.verify.run(LOCAL_PRINCIPAL, line.project, read_data=True)
            assert report.ok, report.problems
        for session in self.sessions:
            if session.is_open and session.draft is not None:
                base, files = session.draft
                found = read_files(fresh, self.draft_of(fresh, session), known)
                assert found == files or session.is_kept, (session.name, base)
        self.forget(name)

    def draft_of(self, manifold: Manifold, session: Session) -> Snapshot:
        context, view = manifold.context, self.catalog.view_session(TENANT, LOCAL_PRINCIPAL.user, session.name)
        row = view.session.draft
        base = context.log.load(TENANT, session.line.project, row.base.generation, commit=row.base.commit)
        draft = context.log.read_commit(TENANT, session.line.project, row)
        return base.with_changes(draft.changes, draft.places)

    def check_only_what_is_needed_stays(self, generations: int) -> None:
        """Collect until there is nothing to do, with everything old."""
        for steps in self.steps:
            self.finish(steps)
        self.check_nothing_needed_goes()
        self.check_everything_reads()
        self.sweep_uploads()
        for backup in list(self.backups):
            self.release(backup)
        for _ in range(_MOST_ROUNDS):
            self.sweep()
            leaders = {self.catalog.family_of(TENANT, line.project): line for line in self.lines}
            collections = [self.collect(line, generations) for line in leaders.values()]
            if not any(one.result for one in collections):
                break
        else:
            raise AssertionError("there is always something to collect")
        self.sweep()
        for line in self.lines:
            if line.is_alive:
                newest = range(max(1, line.head - generations + 1), line.head + 1)
                assert set(line.kept) == (self.pinned(line) - {0}) | set(newest)
            assert not line.is_purged or not self.catalog.holdings(TENANT, line.project).commits
        self.check_everything_reads()
        assert self.keys() == self.needed(), sorted(self.keys() ^ self.needed())
        assert not self.reserved()
        assert not self.condemned()


def read_files(manifold: Manifold, snapshot: Snapshot, known: dict[bytes, bytes]) -> Files:
    """Return every file of a tree. Args: ``known``: content that was read before, by chunk ids."""
    reader = manifold.context.block_reader(snapshot.tenant, snapshot.project)
    files = {}
    for path, entry in snapshot.tree.items():
        if entry.kind == FILE:
            if entry.content not in known:
                places = [(chunk, snapshot.places[chunk]) for chunk in chunk_ids(entry)]
                parts = [
                    memoryview(reader.read_one(place.block, {chunk: place}))[place.offset : place.offset + place.length]
                    for chunk, place in places
                ]
                known[entry.content] = b"".join(parts)
            files[path] = known[entry.content]
    return files
