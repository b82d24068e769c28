"""Collection of garbage among everything else that goes on at once, against a plain model of what can be read.

Work of all kinds and collectors stop between any two of their calls of the catalog and the store, and others go on
meanwhile; collectors and writers are killed there; stores fail. Nothing that a rule keeps ever goes, and all else does.
``MANIFOLD_TEST_COLLECTION_SECONDS`` makes it search for as long as that, with new examples each time.
"""

from __future__ import annotations

import os
import time
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from manifold_common.adapters.system.clock import SystemClock
from manifold_common.bootstrap import build_catalog
from manifold_common.domain.conflict import Strategy
from manifold_common.errors import ManifoldError

from tests.properties.naive_collectors import Naive, only_heads_are_marked
from tests.support.garbage_model import CONTENTS, PACKED, PATHS, Foreseen, Line, Session, Upload
from tests.support.garbage_nodes import PLAIN_NODE
from tests.support.garbage_world import World
from tests.support.manifold import settings_for

SECONDS = float(os.environ.get("MANIFOLD_TEST_COLLECTION_SECONDS", "0"))

NODES = st.sampled_from(["a", "b"])
WRITERS = st.sampled_from(["a", "b", "a", "b", PLAIN_NODE])
PATH = st.sampled_from(PATHS)
CONTENT = st.sampled_from([*range(len(CONTENTS)), -1, -2, -3])
"""Which of CONTENTS."""
STRATEGIES = st.sampled_from(Strategy)
STOPS = st.booleans()
FAIL_AT = st.sampled_from([0, 0, 0, 0, 1, 2, 3, 4, 6, 9])
WHICH = st.integers(0, 5)
CALLS = st.sampled_from([1, 2, 3, 5, 8, 12, 1000])
SHARES = st.sampled_from([0.4, 0.8, 1.0, 1.0])
MOST_PROJECTS, MOST_SESSIONS, MOST_STEPS, MOST_UPLOADS, MOST_BACKUPS = 4, 2, 4, 2, 1


class Collection(RuleBasedStateMachine):
    made_of: ClassVar[dict[str, Any]] = {}
    """What its world is made of. Nothing: of what is in memory, so that each run of an example is the same."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(**self.made_of) if self.made_of else World(randomness=Foreseen())

    def teardown(self) -> None:
        try:
            if self.world.lines:
                self.world.check_only_what_is_needed_stays(self.newest)
        finally:
            self.world.close()

    @initialize(newest=st.sampled_from([1, 1, 2]), data=CONTENT, node=WRITERS)
    def begin(self, newest: int, data: int, node: str) -> None:
        self.newest = newest
        line = self.world.create(node)
        self.world.put(node, line, b"a", CONTENTS[data])

    def writer(self, node: str) -> str:
        """Return a node. One that does not encrypt makes the project first, or there is none."""
        return node if node in self.world.nodes else "a"

    def line(self, which: int) -> Line | None:
        alive = [line for line in self.world.lines if line.is_alive]
        return alive[which % len(alive)] if alive else None

    def session(self, which: int) -> Session | None:
        idle = [one for one in self.world.sessions if one.is_open and not one.is_busy and not one.is_left]
        return idle[which % len(idle)] if idle else None

    def upload(self, which: int) -> Upload | None:
        idle = [one for one in self.world.uploads if one.is_open and not one.is_busy and one.line.is_alive]
        return idle[which % len(idle)] if idle else None

    def stands(self, *names: str) -> bool:
        """Tell whether work of one of these names is under way."""
        return any(not one.done and one.name in names for one in self.world.steps)

    def may_stop(self, stops: bool) -> bool:
        return stops and sum(not one.done for one in self.world.steps) < MOST_STEPS

    @invariant()
    def nothing_needed_goes(self) -> None:
        self.world.check_nothing_needed_goes()

    @rule(
        node=WRITERS, which=WHICH, path=PATH, data=CONTENT, strategy=STRATEGIES, stops=STOPS, fail_at=FAIL_AT
    )  # fmt: skip
    def put(self, node: str, which: int, path: bytes, data: int, strategy: Strategy, stops: bool, fail_at: int) -> None:
        node, stops = self.writer(node), self.may_stop(stops)
        if (line := self.line(which)) is not None:
            self.world.put(node, line, path, CONTENTS[data], strategy, stops=stops, fail_at=fail_at)

    @rule(
        how=st.sampled_from(["delete", "delete", "move", "copy", "restore", "put all", "checkpoint"]),
        node=NODES, which=WHICH, path=PATH, to=PATH, stops=STOPS,
    )  # fmt: skip
    def edit(self, how: str, node: str, which: int, path: bytes, to: bytes, stops: bool) -> None:
        if (line := self.line(which)) is None:
            return
        stops = self.may_stop(stops)
        if how == "delete":
            self.world.delete(node, line, path, stops=stops)
        elif how in ("move", "copy"):
            self.world.move(node, line, path, to, copy=how == "copy", stops=stops)
        elif how == "checkpoint":
            self.world.checkpoint(node, line, stops=stops)
        elif how == "put all":  # one pack holds several files, so that some of it can be dead
            self.world.put_all(node, line, dict(zip(PATHS, PACKED, strict=True)))
        elif line.kept:
            self.world.restore(node, line, line.kept[which % len(line.kept)], stops=stops)

    # --- projects -----------------------------------------------------------------------------------------------------

    @rule(
        how=st.sampled_from(["fork", "fork", "tag", "tag", "untag", "drop"]),
        node=NODES, which=WHICH, back=WHICH, stops=STOPS, fail_at=FAIL_AT,
    )  # fmt: skip
    def project(self, how: str, node: str, which: int, back: int, stops: bool, fail_at: int) -> None:
        line = self.line(which)
        if line is None or not line.kept:
            return
        generation = line.kept[back % len(line.kept)]
        if how == "fork" and len(self.world.lines) < MOST_PROJECTS:
            self.world.fork(node, line, generation, stops=self.may_stop(stops), fail_at=fail_at)
        elif how == "tag":
            self.world.tag(node, line, generation, "v1" if back % 2 else "v2")
        elif how == "untag" and line.tags:
            self.world.untag(node, line, min(line.tags))
        elif how == "drop" and sum(one.is_alive for one in self.world.lines) > 1:
            self.world.drop(node, line)

    # --- sessions -----------------------------------------------------------------------------------------------------

    @rule(
        how=st.sampled_from(["nothing", "save", "save", "commit", "commit"]),
        node=WRITERS, which=WHICH, back=WHICH, path=PATH, data=st.one_of(st.none(), CONTENT), strategy=STRATEGIES,
        stops=STOPS,
    )  # fmt: skip
    def work(
        self, how: str, node: str, which: int, back: int, path: bytes, data: int | None, strategy: Strategy,
        stops: bool,
    ) -> None:  # fmt: skip
        """Change a file in a session, which may be a new one, and perhaps save or commit that."""
        session, line = self.session(which), self.line(which)
        if session is None and line is not None:
            held = [one for one in self.world.sessions if one.is_open and not one.is_left]
            known = [*line.kept, line.head]
            if len(held) < MOST_SESSIONS:
                session = self.world.open(self.writer(node), line, known[-1 - back % len(known)])
        if session is None or not session.node:
            return
        self.world.write(session, path, None if data is None else CONTENTS[data])
        if how == "save":
            self.world.save(session, stops=self.may_stop(stops))
        elif how == "commit":
            self.world.commit(session, strategy, stops=self.may_stop(stops))

    @rule(which=WHICH, node=NODES)
    def check_out(self, which: int, node: str) -> None:
        if (session := self.session(which)) is not None:
            self.world.check_out(session, node)

    @rule(which=WHICH, node=NODES)
    def end(self, which: int, node: str) -> None:
        """Close a session, also one that is being worked on at another node."""
        held = [one for one in self.world.sessions if one.is_open and not (one.is_busy and one.node == node)]
        if held:
            self.world.end(held[which % len(held)], node)

    @rule(how=st.sampled_from(["evict", "evict", "forget"]), which=WHICH, node=NODES)
    def over(self, how: str, which: int, node: str) -> None:
        """A session's time is over."""
        if (session := self.session(which)) is None or not session.node:
            return
        if how == "evict":
            self.world.evict(session)
        else:
            self.world.forget_session(node, session)

    # --- uploads ------------------------------------------------------------------------------------------------------

    @rule(
        how=st.sampled_from(["part", "part", "part", "part", "plan", "plan", "end"]),
        node=WRITERS, which=WHICH, path=PATH, data=CONTENT, share=SHARES, stops=STOPS, fail_at=FAIL_AT,
    )  # fmt: skip
    def store(
        self, how: str, node: str, which: int, path: bytes, data: int, share: float, stops: bool, fail_at: int
    ) -> None:
        """Send a part of a file, which may be a new one; end that; or have a client store one by itself."""
        line, upload, stops = self.line(which), self.upload(which), self.may_stop(stops)
        if self.stands("upkeep") or line is None:
            return
        if how == "plan":
            if line.head:
                self.world.store_by_plan("b", line, path, CONTENTS[data], publish=share == 1, stops=stops)
        elif how == "end":
            if upload is not None:
                self.world.end_upload("b", upload)
        else:
            if upload is None and sum(one.is_open for one in self.world.uploads) < MOST_UPLOADS:
                upload = self.world.begin_upload(self.writer(node), line, path, CONTENTS[data])
            if upload is not None and not upload.is_left:
                self.world.send(self.writer(node), upload, share, stops=stops, fail_at=fail_at)

    # --- collection ---------------------------------------------------------------------------------------------------

    @rule(which=WHICH, stops=STOPS, fail_at=FAIL_AT)
    def collect(self, which: int, stops: bool, fail_at: int) -> None:
        line = self.world.lines[which % len(self.world.lines)]
        self.world.collect(line, self.newest, stops=self.may_stop(stops), fail_at=fail_at)

    @rule(how=st.sampled_from(["condemned", "condemned", "uploads", "purge"]), stops=STOPS, fail_at=FAIL_AT)
    def sweep(self, how: str, stops: bool, fail_at: int) -> None:
        stops = self.may_stop(stops)
        if how == "condemned":
            self.world.sweep(stops=stops, fail_at=fail_at)
        elif how == "purge":
            self.world.purge(stops=stops)
        elif not self.stands("send", "plan"):
            self.world.sweep_uploads(stops=stops, fail_at=fail_at)

    @rule(how=st.sampled_from(["undelete", "undelete", "declare", "release", "repair"]), node=NODES, which=WHICH)
    def bring_back(self, how: str, node: str, which: int) -> None:
        world, line, deleted = self.world, self.line(which), [one for one in self.world.lines if not one.is_alive]
        if how == "undelete" and deleted:
            world.undelete(node, deleted[which % len(deleted)])
        elif how == "declare" and len(world.backups) < MOST_BACKUPS:
            world.declare()
        elif how == "release" and world.backups:
            world.release(world.backups[which % len(world.backups)])
        elif how == "repair" and line is not None and line.head:
            world.repair(node, line, which)

    @rule(which=WHICH, calls=CALLS)
    def go_on(self, which: int, calls: int) -> None:
        waiting = [one for one in self.world.steps if not one.done]
        if waiting:
            self.world.go_on(waiting[which % len(waiting)], calls)

    @rule(which=WHICH)
    def kill(self, which: int) -> None:
        waiting = [one for one in self.world.steps if not one.done and not one.name.startswith(("commit", "save"))]
        if waiting:
            self.world.kill(waiting[which % len(waiting)])

    # --- what can be read ---------------------------------------------------------------------------------------------

    @rule()
    def everything_reads(self) -> None:
        self.world.check_everything_reads()

    @rule(node=NODES)
    def restart(self, node: str) -> None:
        """Another process takes the node's place. Its RAM and its cache are still there."""
        if not any(not one.done for one in self.world.steps):
            self.world.restart(node)


ORDINARY = settings(
    max_examples=25,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
    report_multiple_bugs=False,
    derandomize=not SECONDS,  # what was found once is a sequence of its own by then (collection_sequences.py)
    phases=[Phase.generate] if SECONDS else [Phase.generate, Phase.shrink],
)
UNTIL_FOUND_OUT = settings(ORDINARY, max_examples=200, phases=[Phase.generate], derandomize=True, print_blob=False)


def test_nothing_that_is_needed_goes_on_postgres(tmp_path: Path, postgres_dsn: str) -> None:
    clock = SystemClock()
    with closing(build_catalog(settings_for(tmp_path, tmp_path / "ram"), postgres_dsn, clock)) as catalog:
        machine = type("OnPostgres", (Collection,), {"made_of": {"catalog": catalog}})
        run_state_machine_as_test(machine, settings=settings(ORDINARY, max_examples=4))


def test_nothing_that_is_needed_goes_and_everything_else_does() -> None:
    run_state_machine_as_test(Collection, settings=ORDINARY)
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        run_state_machine_as_test(Collection, settings=settings(ORDINARY, max_examples=50, stateful_step_count=60))


@pytest.mark.parametrize("naive", [only_heads_are_marked], ids=lambda one: one.__name__)
def test_a_naive_collector_is_found_out_by_chance_alone(naive: Naive, monkeypatch: pytest.MonkeyPatch) -> None:
    naive(monkeypatch)
    with pytest.raises((AssertionError, ManifoldError)):
        run_state_machine_as_test(Collection, settings=UNTIL_FOUND_OUT)
