"""Random work in two sessions on two nodes, against a model that is a plain dict for each generation.

The model knows nothing of packs, caches, states or drafts' objects: only which tree each generation has, which tree
each working set has and what it is based on, and what was saved last. ``MANIFOLD_TEST_WORKSPACE_SECONDS`` makes it
search for as long as that, with new examples each time.
"""

from __future__ import annotations

import itertools
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from manifold_common.adapters.keyfile.provider import FileKeyProvider
from manifold_common.adapters.memory.catalog import MemoryCatalog
from manifold_common.adapters.memory.object_store import MemoryObjectStore
from manifold_common.adapters.system.clock import SystemClock, SystemRandomness
from manifold_common.bootstrap import Manifold, assemble
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.domain.conflict import Strategy, rebase
from manifold_common.domain.paths import ROOT, to_text
from manifold_common.domain.tree import DIRECTORY, FILE, SYMLINK, Entry, Tree, apply, between
from manifold_common.engine.working_set.scope import Scope
from manifold_common.errors import CommitConflict, InvalidInput, NotFound, SessionMoved
from manifold_common.ids import DEFAULT_TENANT, Generation, SessionId
from manifold_common.services.projects.edits import Delete, Move, PutFile
from manifold_common.shapes.intent import Intent
from manifold_common.shapes.path import listed
from manifold_common.shapes.requests import CheckoutRequest

from tests.support.manifold import RAM, settings_for
from tests.support.work import look, new_project, reader

SECONDS = float(os.environ.get("MANIFOLD_TEST_WORKSPACE_SECONDS", "0"))

SESSIONS = st.sampled_from([SessionId("s1"), SessionId("s2")])
NODES = st.sampled_from(["a", "b"])
STRATEGIES = st.sampled_from(Strategy)
PATHS = st.lists(st.sampled_from([b"a", b"b", b"c"]), min_size=1, max_size=3).map(b"/".join)
CONTENTS = st.sampled_from([b"", b"one", b"two", b"6", b"x" * 50])
MODES = st.sampled_from([0o644, 0o755, 0o600])
SCOPES = st.sampled_from([(), (), ("/a",)])
_times = itertools.count(1_000_000_000_000_000_000, 1_000_000_007)


def on_disk(folder: Path) -> Tree:
    """Return a folder as the model sees it: times of folders do not count."""
    kinds = {"folder": DIRECTORY, "file": FILE, "link": SYMLINK}
    found = {}
    for path, node in look(folder).items():
        kind = kinds[node.kind]
        size = len(node.content) if kind == FILE else 0
        found[path] = Entry(kind, node.mode, node.mtime_ns, size, node.content)
    return found


def merged(base: Tree, ours: Tree, theirs: Tree, strategy: Strategy) -> tuple[Tree, list[bytes]]:
    """Return (theirs with our changes, conflicts)."""
    found = rebase(base, between(base, ours), between(base, theirs), strategy)
    tree = dict(theirs)
    apply(tree, found.changes)
    return tree, found.conflicts


@dataclass
class WorkingSet:
    base: int
    tree: Tree


@dataclass
class Session:
    scope: tuple[str, ...]
    base: int
    """Of the session's row: what a lost working set is built from, when there is no draft."""
    draft: WorkingSet | None = None
    sets: dict[str, WorkingSet] = field(default_factory=dict)
    """By node."""
    at: str = ""
    """The node where the session is. What was left behind on the other one must not change it."""
    durable: dict[str, WorkingSet | None] = field(default_factory=dict)
    """What the draft was when a node had it last. What is there beyond that is its own."""

    def visible(self, tree: Tree) -> Tree:
        return Scope(self.scope).select(tree)


class Workspace(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="manifold-workspace-", dir=RAM))
        self.clock = SystemClock()
        self.catalog = MemoryCatalog(clock=self.clock)
        self.store = MemoryObjectStore(self.clock)
        self.nodes: dict[str, Manifold] = {}
        self.history: list[Tree] = [{}]
        self.sessions: dict[SessionId, Session] = {}

    def teardown(self) -> None:
        try:
            if self.nodes:
                self.everything_that_was_committed_can_be_read()
        finally:
            for node in self.nodes.values():
                node.context.workers.close()
            shutil.rmtree(self.folder)

    def build(self, name: str) -> Manifold:
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        randomness = SystemRandomness()
        return assemble(
            settings_for(folder, folder / "ram", PROJECTS_MAINTENANCE_CHECKPOINT_COMMITS="2"),
            catalog=self.catalog,
            store=self.store,
            providers={"file": FileKeyProvider(self.folder / "keystore", clock=self.clock, randomness=randomness)},
            clock=self.clock,
            randomness=randomness,
        )

    @initialize()
    def begin(self) -> None:
        self.nodes = {name: self.build(name) for name in ("a", "b")}
        self.project = new_project(self.nodes["a"])

    # --- what is expected ---------------------------------------------------------------------------------------------

    def work(self, node: str, session: SessionId) -> Path:
        return (
            Path(self.nodes[node].working_sets.folders.own) / DEFAULT_TENANT / LOCAL_PRINCIPAL.user / session / "work"
        )

    def found(self, node: str, session: SessionId) -> tuple[Session, WorkingSet] | None:
        known = self.sessions.get(session)
        return (known, known.sets[node]) if known and node in known.sets else None

    @property
    def head(self) -> int:
        return len(self.history) - 1

    @invariant()
    def working_sets_are_as_expected(self) -> None:
        for session, known in self.sessions.items():
            for node, expected in known.sets.items():
                assert on_disk(self.work(node, session)) == expected.tree, (session, node)

    def everything_that_was_committed_can_be_read(self) -> None:
        fresh = self.build("fresh")
        self.nodes["fresh"] = fresh
        for generation in range(self.head, -1, -1):
            out = self.folder / f"out-{generation}"
            fresh.transfer.export(LOCAL_PRINCIPAL, self.project, out, Generation(generation))
            assert on_disk(out) == self.history[generation], generation
        report = fresh.verify.run(LOCAL_PRINCIPAL, self.project, read_data=True)
        assert report.ok, report.problems
        assert report.generation == self.head

    # --- work in a session ------------------------------------------------------------------------------------------

    def edit(self, node: str, session: SessionId, path: bytes, change: Callable[[Path], None]) -> None:
        known = self.found(node, session)
        if known is None or (known[0].scope and not path.startswith(b"a")):
            return
        work = self.work(node, session)
        change(work / os.fsdecode(path))
        known[1].tree = on_disk(work)

    @rule(node=NODES, session=SESSIONS, path=PATHS, content=CONTENTS, mode=MODES, sneaky=st.booleans())
    def write(self, node: str, session: SessionId, path: bytes, content: bytes, mode: int, sneaky: bool) -> None:
        """Write a file; when ``sneaky``, so that its time stays what it was."""

        def change(place: Path) -> None:
            clear_way(place)
            before = next(_times)
            if sneaky and place.is_file() and not place.is_symlink():
                before = place.stat().st_mtime_ns
            clear(place)
            place.write_bytes(content)
            place.chmod(mode)
            os.utime(place, ns=(before, before))

        self.edit(node, session, path, change)

    @rule(node=NODES, session=SESSIONS, path=PATHS, content=CONTENTS)
    def overwrite(self, node: str, session: SessionId, path: bytes, content: bytes) -> None:
        """Write into a file that is there, in place."""

        def change(place: Path) -> None:
            if place.is_file() and not place.is_symlink() and not any(up.is_symlink() for up in place.parents):
                place.write_bytes(content)

        self.edit(node, session, path, change)

    @rule(node=NODES, session=SESSIONS, path=PATHS, other=PATHS)
    def link(self, node: str, session: SessionId, path: bytes, other: bytes) -> None:
        def change(place: Path) -> None:
            clear_way(place)
            clear(place)
            place.symlink_to(os.fsdecode(other))

        self.edit(node, session, path, change)

    @rule(node=NODES, session=SESSIONS, path=PATHS, mode=st.sampled_from([0o755, 0o700]))
    def make_folder(self, node: str, session: SessionId, path: bytes, mode: int) -> None:
        def change(place: Path) -> None:
            clear_way(place / "below")
            place.chmod(mode)

        self.edit(node, session, path, change)

    @rule(node=NODES, session=SESSIONS, path=PATHS)
    def remove(self, node: str, session: SessionId, path: bytes) -> None:
        def change(place: Path) -> None:
            if not any(up.is_symlink() for up in place.parents):
                clear(place)

        self.edit(node, session, path, change)

    @rule(node=NODES, session=SESSIONS, path=PATHS, other=PATHS)
    def rename(self, node: str, session: SessionId, path: bytes, other: bytes) -> None:
        def change(place: Path) -> None:
            destination = self.work(node, session) / os.fsdecode(other)
            movable = os.path.lexists(place) and not any(up.is_symlink() for up in place.parents)
            apart = not f"{destination}/".startswith(f"{place}/") and not f"{place}/".startswith(f"{destination}/")
            if movable and apart and (not self.sessions[session].scope or other.startswith(b"a")):
                clear_way(destination)
                clear(destination)
                if os.path.lexists(place):
                    place.rename(destination)

        self.edit(node, session, path, change)

    # --- sessions -----------------------------------------------------------------------------------------------------

    @rule(node=NODES, session=SESSIONS, scope=SCOPES, strategy=STRATEGIES, back=st.sampled_from([0, 0, 0, 1, 2]))
    def check_out(self, node: str, session: SessionId, scope: tuple[str, ...], strategy: Strategy, back: int) -> None:
        """Open a session, or bring it to the head, or to a generation ``back`` from it."""
        target = max(0, self.head - back)
        known = self.sessions.get(session)
        patterns = scope if known is None else ()
        conflicts: list[bytes] = []
        if known is None:
            known = self.sessions[session] = Session(scope, target, at=node)
            known.sets[node] = WorkingSet(target, known.visible(self.history[target]))
        else:
            standing = known.draft or WorkingSet(known.base, known.visible(self.history[known.base]))
            if node not in known.sets:
                self.arrive(known, node, standing)
            elif known.at != node:
                left = known.durable.get(node)
                base = left.tree if left else known.visible(self.history[known.sets[node].base])
                tree, conflicts = merged(base, known.sets[node].tree, standing.tree, strategy)
                if not conflicts or strategy is not Strategy.FAIL:
                    self.arrive(known, node, WorkingSet(standing.base, tree))
            here = known.sets[node]
            if here.base != target and known.at == node:
                base, theirs = known.visible(self.history[here.base]), known.visible(self.history[target])
                tree, conflicts = merged(base, here.tree, theirs, strategy)
                if not conflicts or strategy is not Strategy.FAIL:
                    known.sets[node] = WorkingSet(target, tree)
                    known.base = target
        run = self.nodes[node].sessions.checkout
        generation = Generation(target) if back else None
        request = CheckoutRequest(generation, patterns, strategy)
        if conflicts and strategy is Strategy.FAIL:
            with pytest.raises(CommitConflict) as caught:
                run(LOCAL_PRINCIPAL, session, self.project, request)
            assert caught.value.paths == list(map(to_text, conflicts))
        else:
            done = run(LOCAL_PRINCIPAL, session, self.project, request)
            assert (done.generation, done.head_generation) == (target, self.head)
            assert done.path == str(self.work(node, session))

    def arrive(self, known: Session, node: str, work: WorkingSet) -> None:
        """The session is at ``node`` now, with this in its working set, of which the draft is durable."""
        known.at, known.sets[node] = node, WorkingSet(work.base, dict(work.tree))
        known.durable[node] = known.draft

    @rule(node=NODES, session=SESSIONS, strategy=STRATEGIES)
    def commit(self, node: str, session: SessionId, strategy: Strategy) -> None:
        found = self.found(node, session)
        run = self.nodes[node].commits.commit
        if found is None:
            if not self.work(node, session).exists():  # it may, where another node closed the session
                with pytest.raises(NotFound):
                    run(LOCAL_PRINCIPAL, session)
            return
        known, here = found
        if known.at != node:
            with pytest.raises(SessionMoved):
                run(LOCAL_PRINCIPAL, session, Intent(strategy=strategy))
            return
        base = self.history[here.base]
        visible = known.visible(base)
        ours = {path: entry for path, entry in base.items() if path not in visible} | here.tree
        tree, conflicts = merged(base, ours, self.history[-1], strategy)
        request = Intent(strategy=strategy)
        if here.tree == visible:
            done = run(LOCAL_PRINCIPAL, session, request)
            assert (done.commit, done.generation) == (None, here.base)
            known.draft = known.durable[node] = None
            return
        if conflicts and strategy is Strategy.FAIL:
            with pytest.raises(CommitConflict) as caught:
                run(LOCAL_PRINCIPAL, session, request)
            assert caught.value.paths == list(map(to_text, conflicts))
            known.draft = known.durable[node] = WorkingSet(here.base, dict(here.tree))
            return
        done = run(LOCAL_PRINCIPAL, session, request)
        if tree != self.history[-1]:
            self.history.append(tree)
        assert (done.generation, done.rebased) == (self.head, here.base != self.head - (done.commit is not None))
        assert done.conflicts == listed(conflicts)
        known.draft = known.durable[node] = None
        known.base = self.head
        known.sets[node] = WorkingSet(self.head, known.visible(tree))

    @rule(node=NODES, session=SESSIONS)
    def save(self, node: str, session: SessionId) -> None:
        found = self.found(node, session)
        if found is None:
            return
        known, _ = found
        if known.at != node:
            with pytest.raises(SessionMoved):
                self.nodes[node].commits.save(LOCAL_PRINCIPAL, session)
            return
        saved = self.nodes[node].commits.save(LOCAL_PRINCIPAL, session)
        self.saved(known, node)
        assert (saved.draft is None) == (known.draft is None)

    def saved(self, known: Session, node: str) -> None:
        here = known.sets[node]
        changed = here.tree != known.visible(self.history[here.base])
        known.draft = known.durable[node] = WorkingSet(here.base, dict(here.tree)) if changed else None

    @rule(node=NODES)
    def save_all(self, node: str) -> None:
        """The host's safety flush."""
        self.nodes[node].maintenance.save_drafts()
        for known in self.sessions.values():
            if node in known.sets and known.at == node:
                self.saved(known, node)

    @rule(node=NODES, session=SESSIONS)
    def status(self, node: str, session: SessionId) -> None:
        found = self.found(node, session)
        if found is None:
            return
        known, here = found
        shown = self.nodes[node].sessions.status(LOCAL_PRINCIPAL, session)
        base = known.visible(self.history[here.base])
        assert shown.answer.base_generation == here.base
        assert {one.path for one in shown.differences} - {ROOT} == between(base, here.tree).paths()

    @rule(node=NODES, session=SESSIONS)
    def lose_ram(self, node: str, session: SessionId) -> None:
        found = self.found(node, session)
        if found is not None:
            shutil.rmtree(self.work(node, session).parent)
            del found[0].sets[node]
            found[0].durable.pop(node, None)

    @rule(node=NODES, session=SESSIONS)
    def close(self, node: str, session: SessionId) -> None:
        self.nodes[node].sessions.close(LOCAL_PRINCIPAL, session)
        if self.sessions.pop(session, None) is not None:
            assert not self.work(node, session).exists()

    # --- others, and what goes on behind ------------------------------------------------------------------------------

    @rule(node=NODES, path=PATHS, content=CONTENTS)
    def put(self, node: str, path: bytes, content: bytes) -> None:
        tree, at = dict(self.history[-1]), next(_times)
        above = [path[:cut] for cut in range(len(path)) if path[cut : cut + 1] == b"/"]
        before = tree.get(path)
        wrong = any(up in tree and tree[up].kind != DIRECTORY for up in above)
        edit = PutFile(path, reader(content), mtime_ns=at)
        if wrong or (before is not None and before.kind == DIRECTORY):
            with pytest.raises(InvalidInput):
                self.nodes[node].edits.apply(LOCAL_PRINCIPAL, self.project, [edit])
            return
        for up in above:
            tree.setdefault(up, Entry(DIRECTORY, 0o755, 0, 0, b""))
        mode = before.mode if before is not None and before.kind == FILE else 0o644
        tree[path] = Entry(FILE, mode, at, len(content), content)
        done = self.nodes[node].edits.apply(LOCAL_PRINCIPAL, self.project, [edit])
        self.history.append(tree)
        assert done.generation == self.head

    @rule(node=NODES, path=PATHS)
    def delete(self, node: str, path: bytes) -> None:
        apply_edits = self.nodes[node].edits.apply
        edits = [Delete(path, recursive=True)]
        if path not in self.history[-1]:
            with pytest.raises(NotFound):
                apply_edits(LOCAL_PRINCIPAL, self.project, edits)
            return
        apply_edits(LOCAL_PRINCIPAL, self.project, edits)
        self.history.append({p: e for p, e in self.history[-1].items() if not is_in(p, path)})

    @precondition(lambda self: len(self.history[-1]) > 0)
    @rule(node=NODES, data=st.data())
    def move(self, node: str, data: st.DataObject) -> None:
        tree = self.history[-1]
        source = data.draw(st.sampled_from(sorted(tree)))
        target = b"moved-%d" % next(_times)
        self.nodes[node].edits.apply(LOCAL_PRINCIPAL, self.project, [Move(source, target)])
        self.history.append(
            {(target + p[len(source) :] if is_in(p, source) else p): entry for p, entry in tree.items()}
        )

    @rule(node=NODES, back=st.integers(1, 3))
    def restore(self, node: str, back: int) -> None:
        old = max(0, self.head - back)
        done = self.nodes[node].edits.restore(LOCAL_PRINCIPAL, self.project, Generation(old))
        assert done.commit is not None or self.history[old] == self.history[-1]
        if done.commit is not None:
            self.history.append(self.history[old])
        assert done.generation == self.head

    @rule(node=NODES)
    def write_checkpoint(self, node: str) -> None:
        self.nodes[node].maintenance.write_checkpoints()

    @rule(node=NODES)
    def restart(self, node: str) -> None:
        """The process ends and another takes its place: what it had in memory is gone, RAM and cache are not."""
        self.nodes[node].context.workers.close()
        self.nodes[node] = self.build(node)
        self.nodes[node].maintenance.sweep_working_sets()

    @rule(node=NODES)
    def lose_cache(self, node: str) -> None:
        cache = self.nodes[node].settings.projects.workspace.cache_dir
        for path in cache.rglob("*"):
            if path.is_file():
                path.unlink()


def is_in(path: bytes, folder: bytes) -> bool:
    """Tell whether ``path`` is ``folder`` or below it."""
    return path == folder or path.startswith(folder + b"/")


def clear(place: Path) -> None:
    """Remove whatever stands there."""
    if place.is_symlink() or place.is_file():
        place.unlink()
    elif place.is_dir():
        shutil.rmtree(place)


def clear_way(place: Path) -> None:
    """Make the folders above, in the place of whatever is no folder. The working set itself stays."""
    missing = []
    for up in place.parents:
        if up.name == "work":
            break
        missing.append(up)
    for up in reversed(missing):
        if not up.is_dir() or up.is_symlink():
            clear(up)
            up.mkdir()
            up.chmod(stat.S_IRWXU | stat.S_IRGRP | stat.S_IXGRP | stat.S_IROTH | stat.S_IXOTH)


ORDINARY = settings(
    max_examples=150,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
    report_multiple_bugs=False,
    derandomize=not SECONDS,  # what was found once is a test of its own by then
    phases=[Phase.generate] if SECONDS else [Phase.generate, Phase.shrink],
)


def test_any_sequence_of_work_ends_as_the_model_says() -> None:
    run_state_machine_as_test(Workspace, settings=ORDINARY)
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        run_state_machine_as_test(Workspace, settings=settings(ORDINARY, max_examples=50, stateful_step_count=60))
