"""Several nodes on one catalog and one store, whose work can be stopped between any two of its calls.

The model is a plain dict for each generation. It follows the catalog's answers: what a statement has published counts
from that statement on, whatever becomes of whoever sent it.
"""

from __future__ import annotations

import itertools
import secrets
import shutil
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from manifold_common.adapters.keyfile.provider import FileKeyProvider
from manifold_common.adapters.memory.catalog import MemoryCatalog
from manifold_common.adapters.memory.object_store import MemoryObjectStore
from manifold_common.adapters.system.clock import SystemClock, SystemRandomness
from manifold_common.bootstrap import Manifold, assemble
from manifold_common.domain.conflict import Strategy
from manifold_common.engine.data_keys import ProjectKeys
from manifold_common.engine.pack_writer import PackWriter
from manifold_common.errors import (
    AlreadyExists,
    CommitConflict,
    ContentCollected,
    CorruptObject,
    KeyUnavailable,
    NotFound,
    SessionMoved,
    StoreUnavailable,
)
from manifold_common.ids import Generation, ProjectId, SessionId
from manifold_common.ports.catalog import Catalog
from manifold_common.ports.clock import Clock, Randomness
from manifold_common.ports.object_links import Link
from manifold_common.ports.object_store import ObjectStore

from tests.support.faulty_store import Crash, Fault, FaultyStore
from tests.support.garbage import TENANT
from tests.support.garbage_model import (
    INLINE_BYTES,
    Backup,
    Doing,
    Line,
    Session,
    Upload,
    applied,
)
from tests.support.manifold import RAM, settings_for
from tests.support.reachability import Reachability
from tests.support.steps import Steps, Stops, holding_others_up

_TO_THE_END = 1_000_000
PLAIN_NODE = "plain"
"""Of a deployment that does not encrypt new projects."""
_REMOVES = ("sweep", "upkeep")
"""Work that removes objects."""
_CHECKPOINTS = {"PROJECTS_MAINTENANCE_CHECKPOINT_COMMITS": "2"}
_GONE = (CommitConflict, ContentCollected, NotFound, AlreadyExists, SessionMoved, KeyUnavailable)
"""What work may end with when something else has come between."""


class NamedLinks:
    """Implements ObjectLinks. Clients here have the store itself."""

    def to_read(self, keys: Sequence[str], *, seconds: int) -> list[str]:
        return list(keys)

    def to_create(self, key: str, size: int, *, seconds: int) -> Link:
        return Link(key, {"Content-Length": str(size)})


class Nodes:
    def __init__(
        self,
        catalog: Catalog | None = None,
        store: ObjectStore | None = None,
        randomness: Randomness | None = None,
        **variables: str,
    ) -> None:
        """Args: ``variables``: settings by name."""
        self._inline, PackWriter.finish.__defaults__ = PackWriter.finish.__defaults__, (INLINE_BYTES,)
        self.folder = Path(tempfile.mkdtemp(prefix="manifold-garbage-", dir=RAM))
        self.clock, self.randomness = SystemClock(), randomness or SystemRandomness()
        self.catalog: Any = catalog or MemoryCatalog(clock=self.clock)
        self.store: Any = store or MemoryObjectStore(self.clock)
        self.variables = variables
        self.stores: dict[str, FaultyStore] = {}
        self.nodes: dict[str, Manifold] = {}
        self.lines: list[Line] = []
        self.sessions: list[Session] = []
        self.uploads: list[Upload] = []
        self.backups: list[Backup] = []
        self.steps: list[Steps] = []
        self.doing: dict[int, Doing] = {}
        self.retained: dict[int, int] = {}
        """By thread: how many of the newest generations its collection keeps."""
        self.failing: set[str] = set()
        """Nodes whose store is about to fail, or just did."""
        self.leaving: list[str] = []
        """Nodes that are done."""
        self._numbers, self._token = itertools.count(1), secrets.token_hex(4)
        for node in ("a", "b"):
            self.build(node)
        self.judge = self.build("judge", is_watched=False)
        self.reachability = Reachability(self.judge)

    def close(self) -> None:
        for one in self.steps:
            one.kill()
        for node in self.nodes.values():
            node.context.workers.close()
        shutil.rmtree(self.folder)
        PackWriter.finish.__defaults__ = self._inline

    def build(self, name: str, *, is_watched: bool = True, clock: Clock | None = None, **variables: str) -> Manifold:
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        store = self.stores[name] = FaultyStore(self.store)
        made = self.nodes[name] = assemble(
            settings_for(folder, folder / "ram", **{**_CHECKPOINTS, **self.variables, **variables}),
            catalog=Stops(self.catalog, self.seen) if is_watched else self.catalog,
            store=Stops(store) if is_watched else store,  # type: ignore[arg-type]
            providers={"file": FileKeyProvider(self.folder / "keystore", clock=self.clock, randomness=self.randomness)},
            clock=clock or self.clock,
            randomness=self.randomness,
            links=NamedLinks(),
        )
        begin = made.context.keys.begin

        def begin_alone(keys: ProjectKeys) -> None:
            with holding_others_up():
                begin(keys)

        made.context.keys.begin = begin_alone
        return made

    def new_name(self, kind: str) -> str:
        """Return a name that nothing had before, in this world or in another one on the same catalog."""
        return f"{kind}{next(self._numbers)}-{self._token}"

    def forget(self, name: str) -> None:
        self.nodes.pop(name).context.workers.close()
        del self.stores[name]
        shutil.rmtree(self.folder / name)

    def restart(self, name: str) -> None:
        """Have another process take the node's place."""
        self.nodes[name].context.workers.close()
        self.build(name)

    # --- what the catalog says ----------------------------------------------------------------------------------------

    def line(self, project: ProjectId) -> Line:
        return next(one for one in self.lines if one.project == project)

    def session(self, name: SessionId | None) -> Session | None:
        return next((one for one in self.sessions if one.name == name and one.is_open), None)

    def seen(self, call: str, args: tuple[Any, ...], answer: Any) -> None:
        """Follow what a statement has done."""
        doing = self.doing.get(threading.get_ident())
        if call == "read_plan" and doing is not None and doing.base is None and len(args) > 2 and args[2] is None:
            doing.base = answer.head.generation
        elif call == "publish_commit" and answer is not None:
            assert doing is not None
            self.published(self.line(args[0].project), args[0].commit.generation, doing, args[0].commit.session)
        elif call == "create_project" and doing is not None and doing.fork is not None:
            source, generation = doing.fork
            self.lines.append(Line(args[0].project, {0: {}, 1: source.history[generation]}))
        elif call == "save_draft":
            session = self.session(args[2])
            if session is not None:
                assert doing is not None
                session.draft = (args[3].generation - 1, dict(session.files))
        elif call == "drop_draft" and answer:
            if (session := self.session(args[2])) is not None:
                session.draft = None
        elif call == "open_session" and args[0].draft is not None:  # what a strategy has dropped
            line = self.line(args[0].project)
            base = args[0].base_generation
            before = dict(line.history[base])
            kept = Session(args[0].session, line, "", base, before, base, (base, {}), is_kept=True, is_left=True)
            self.sessions.append(kept)
        elif call == "close_session":
            if (session := self.session(args[2])) is not None:
                session.is_open = False
        elif call == "end_session" and answer:
            if (session := self.session(args[0].session)) is not None:
                session.is_open = False
        elif call == "move_session":
            if (session := self.session(args[2])) is not None:
                session.pinned = self.catalog.view_session(*args[:3]).session.base_generation
        elif call == "remove_generations" and answer:
            self.removed(self.line(args[1]), args[2])
        elif call == "purge_projects":
            for line in self.lines:
                line.is_purged |= (TENANT, line.project) in answer

    def published(self, line: Line, generation: int, doing: Doing, name: SessionId | None) -> None:
        assert generation == line.head + 1
        theirs, base = line.history[line.head], line.history[doing.base or 0]
        ours = doing.changes(base)
        if doing.strategy is Strategy.THEIRS:
            ours = {path: data for path, data in ours.items() if theirs.get(path) in (base.get(path), data)}
        line.history[generation] = applied(theirs, ours)
        if (session := self.session(name)) is not None:
            session.draft, session.pinned = None, generation

    def removed(self, line: Line, generations: list[Generation]) -> None:
        newest = self.retained[threading.get_ident()]
        for generation in generations:
            assert generation <= line.head - newest, (generation, line.head, newest)
            assert generation not in self.pinned(line), (generation, "is held")
            line.removed.add(int(generation))

    def pinned(self, line: Line) -> set[int]:
        held = set(line.tags.values())
        for session in self.sessions:
            if session.is_open and session.line is line:
                held.add(session.pinned)
                if session.draft is not None:
                    held.add(session.draft[0])
        return held

    # --- doing --------------------------------------------------------------------------------------------------------

    def do(self, name: str, work: Callable[[], object], doing: Doing | None, stops: bool, fail_at: int = 0,
           node: str = "", after: Callable[[Any, BaseException | None], None] | None = None) -> Steps:  # fmt: skip
        """Run work to its end, or (``stops``) until the first call, to go on later.

        Args:
            fail_at: which of its node's requests of the store fails; 0: none.
            after: told what has come of it.
        """
        store = self.stores.get(node)

        def run() -> object:
            me = threading.get_ident()
            if doing is not None:
                self.doing[me] = doing
            if fail_at and store is not None:
                store.plan(Fault("fail", at=fail_at))
                self.failing.add(node)
            result, error = None, None
            try:
                result = work()
            except BaseException as raised:
                error = raised
                raise
            finally:
                steps.may_fail |= node in self.failing
                self.doing.pop(me, None)
                if fail_at and store is not None:
                    store.revive()
                    self.failing.discard(node)
                if after is not None:
                    after(result, error)
            return result

        self.steps = [one for one in self.steps if not one.done]
        steps = Steps(name, run, node)
        self.steps.append(steps)
        if doing is not None and doing.session is not None:
            steps.was_cut_in = doing.session.base != doing.session.line.head  # by whoever has committed since
        self.go_on(steps, 1 if stops else _TO_THE_END)
        return steps

    def let_pass(self, node: str, me: Steps | None = None) -> None:
        """Have other work of a node go on, where it would hold up what comes next."""
        for one in self.steps:
            while one is not me and one.node == node and one.holds_others_up:
                self.go_on(one, 1)

    def at_once(self, node: str) -> None:
        """Something is about to be done from first to last, on a node whose store fails no more."""
        self.let_pass(node)
        for one in self.steps:
            one.was_cut_in = True
        self.stores[node].revive()
        self.failing.discard(node)

    def go_on(self, steps: Steps, calls: int) -> None:
        self.let_pass(steps.node, steps)
        for one in self.steps:
            one.was_cut_in |= one is not steps
            one.was_swept |= one is not steps and steps.name in _REMOVES
        before = set(self.failing)
        steps.go_on(calls)
        for one in self.steps:
            one.may_fail |= one.node in before | self.failing
        self.check_end(steps)

    def finish(self, steps: Steps) -> None:
        self.go_on(steps, _TO_THE_END)

    def kill(self, steps: Steps) -> None:
        steps.kill()
        self.check_end(steps)

    def check_end(self, steps: Steps) -> None:
        """Whatever was not killed, and had nothing come between, has to succeed."""
        while self.leaving:
            self.forget(self.leaving.pop())
        error = steps.error
        if not steps.done or error is None or isinstance(error, Crash):
            return
        if (steps.was_cut_in or steps.node == PLAIN_NODE) and isinstance(error, _GONE):
            return  # a node that does not encrypt learns by this that the project is encrypted by now
        if steps.was_swept and steps.name != "collect" and isinstance(error, CorruptObject):
            return  # a collector has to know damage from what another one has removed
        if isinstance(error, StoreUnavailable) and steps.may_fail:
            return
        raise error
