"""A project under load on several nodes, whose servers can be made to fail: fixtures for tests that do so."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from manifold_common.bootstrap import Manifold, build_relays

from tests.support.enterprise import Enterprise, running_enterprise, serving
from tests.support.load import Acknowledged, Failed, Files, Floor, Load, Mix, Record, Tried, digest
from tests.support.load_model import Model, messages
from tests.support.work import new_project

SECONDS = float(os.environ.get("MANIFOLD_TEST_FAULT_SECONDS", "3"))
"""How long each kind of fault goes on."""
DEADLINE_SECONDS = 60.0
TRIES = 2
"""Of a commit point, so that doubt is common."""

ANYWHERE = [Mix(), Mix(editors=1), Mix(readers=1)]
"""Clients of three nodes."""


class Scene:
    """A project under load on some nodes."""

    def __init__(self, nodes: Sequence[Manifold], passing: Sequence[str], mixes: Sequence[Mix], seed: int) -> None:
        self.nodes, self.seed, self.rng = nodes, seed, random.Random(seed)
        self.project = new_project(nodes[0], f"demo-{seed}", start=b"0")
        self.records: list[Record] = []
        floor = Floor()
        self.loads = [
            Load(
                node, self.project, name, mix,
                seed=seed, passing=passing, tell=self.records.append, floor=floor,
            )
            for name, node, mix in zip("abc", nodes, mixes, strict=False)
        ]  # fmt: skip

    @contextmanager
    def load(self) -> Iterator[None]:
        """Let the clients work meanwhile, and each of them some more afterwards, in peace."""
        for load in self.loads:
            load.start()
        try:
            self.go_on()
            yield
            self.go_on()
        finally:
            for load in self.loads:
                load.stop.set()
            for load in self.loads:
                load.end(DEADLINE_SECONDS)

    def go_on(self, names: Sequence[str] = (), times: int = 2) -> None:
        """Wait until each client (of the nodes ``names``; all by default) has succeeded some more times."""
        loads = [load for load in self.loads if not names or load.clients[0][0] in names]
        before = [Counter(load.done) for load in loads]

        def done() -> bool:
            self.raise_errors()
            pairs = zip(loads, before, strict=True)
            return all(load.done[name] >= then[name] + times for load, then in pairs for name in load.clients)

        wait_for(done, lambda: f"clients hang: {[load.done - then for load, then in zip(loads, before, strict=True)]}")

    def raise_errors(self) -> None:
        for load in self.loads:
            if load.errors:
                raise load.errors[0]

    def rounds(self, is_enough: Callable[[], bool]) -> Iterator[None]:
        """For a while, and until it ``is_enough``, yield for another fault. Raises what a client must not be told."""
        begun = time.monotonic()
        while time.monotonic() < begun + SECONDS or not is_enough():
            assert time.monotonic() < begun + SECONDS + DEADLINE_SECONDS, "the faults do no harm"
            yield
            self.raise_errors()

    def failures(self, *, commits: bool = False) -> list[Failed]:
        """Return what failed, or only the commits."""
        failed = [one for one in list(self.records) if isinstance(one, Failed)]
        return [one for one in failed if one.number is not None] if commits else failed

    def answers(self, client: str) -> int:
        return sum(isinstance(one, Acknowledged) and one.client == client for one in list(self.records))

    def may_be_left(self, client: str) -> list[Files]:
        """Return what a killed client's folder may hold when RAM is lost: the last acknowledged, or later tries."""
        mine = [one for one in self.records if isinstance(one, Tried | Acknowledged) and one.client == client]
        last = max(one.number for one in mine if isinstance(one, Acknowledged))
        return [one.files for one in mine if isinstance(one, Tried) and one.number >= last]

    def check(self, manifold: Manifold | None = None) -> Counter[str]:
        manifold = manifold or self.nodes[0]
        model = Model(messages(manifold, self.project), {"start": digest(b"0")}, self.records)
        counts = model.check()
        print(f"seed {self.seed}: {dict(sorted(counts.items()))}")
        model.check_store(manifold, self.project, self.rng)
        return counts


def wait_for(condition: Callable[[], bool], what: Callable[[], str], *, seconds: float = DEADLINE_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.01)


@pytest.fixture(scope="session")
def enterprise() -> Iterator[Enterprise]:
    """All servers, for tests that break them, and mend them when they are done."""
    with running_enterprise() as servers:
        yield servers


@pytest.fixture
def seed() -> int:
    seed = random.SystemRandom().getrandbits(32)
    print(f"seed {seed}")
    return seed


MakeNodes = Callable[..., list[Manifold]]


@pytest.fixture
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for a server gives up soon."""
    monkeypatch.setattr("manifold_common.services.events.prefetch._POLL_SECONDS", 0.02)
    monkeypatch.setattr("manifold_common.services.commit_point._ACKNOWLEDGEMENT_TRIES", TRIES)
    monkeypatch.setattr("manifold_common.services.commit_point._ACKNOWLEDGEMENT_PAUSE_SECONDS", 0.02)


@pytest.fixture
def make_nodes(enterprise: Enterprise, impatience: None, tmp_path: Path, ram_folder: Path) -> Iterator[MakeNodes]:
    """Return a function that starts a node for each mapping of settings."""
    with ExitStack() as stack:

        def make(*each: dict[str, str]) -> list[Manifold]:
            made = []
            for name, variables in zip("abc", each, strict=False):
                node = enterprise.node(tmp_path, ram_folder, name, **variables).build()
                stack.callback(node.close)
                stack.enter_context(serving(node, build_relays(node)))
                made.append(node)
            return made

        yield make
