"""The object store fails at each request in turn: not done, done without an answer, wrong bytes, half of them, late.

Afterwards every generation is as it was, the work is still there, and the same job, done again, succeeds.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from manifold_common.adapters.memory.clock import ManualClock
from manifold_common.adapters.memory.object_store import MemoryObjectStore
from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.domain.conflict import Strategy
from manifold_common.errors import CommitConflict, CorruptObject, DraftLost, ManifoldError, StoreUnavailable
from manifold_common.ids import DEFAULT_TENANT, Generation, ProjectId
from manifold_common.shapes.intent import Intent
from manifold_common.shapes.requests import CheckoutRequest

from tests.support.faulty_store import Fault, FaultyStore, Kind
from tests.support.manifold import MakeManifold
from tests.support.work import S1, Node, cat, check_out, look, lose_ram, new_project, paths, put, remove

LARGE = os.urandom(2_200_000)
"""More than travels inside a commit object."""
EVER = 10_000


@dataclass
class World:
    """A project of three generations on one node, and a session that may have work in it."""

    make: Callable[..., Manifold]
    store: FaultyStore
    numbers: Any = field(default_factory=lambda: itertools.count(1))

    def begin(self) -> None:
        """Make a new project, and a node that knows nothing yet."""
        self.node = f"n{next(self.numbers)}"
        writer = self.make(node="writer")
        writer.sessions.close(LOCAL_PRINCIPAL, S1)
        self.project: ProjectId = new_project(writer, self.node, a=b"one", b=b"bee", c=b"sea")
        put(writer, self.project, b"d/large", LARGE)
        assert writer.maintenance.checkpoint_if_due(DEFAULT_TENANT, self.project)
        put(writer, self.project, b"a", b"two")
        self.manifold = self.make(node=self.node)
        self.before = self.trees()

    def trees(self) -> list[dict[bytes, Any]]:
        """Return the tree of every generation, as a node without cache or memory reads it."""
        fresh = self.make(node=f"n{next(self.numbers)}")
        head = fresh.projects.get(LOCAL_PRINCIPAL, self.project).generation
        snapshot = fresh.history.snapshot
        return [dict(snapshot(LOCAL_PRINCIPAL, self.project, Generation(n)).tree) for n in range(head + 1)]

    def check(self, why: object) -> None:
        """Everything that was there is there, whole."""
        assert self.trees()[: len(self.before)] == self.before, why
        report = self.make(node=f"n{next(self.numbers)}").verify.run(LOCAL_PRINCIPAL, self.project, read_data=True)
        assert report.ok, (why, report.problems)


@pytest.fixture
def world(make_manifold: MakeManifold) -> World:
    clock = ManualClock()
    store = FaultyStore(MemoryObjectStore(clock), clock=clock)

    def make(node: str) -> Manifold:
        return make_manifold(node=node, store=store, clock=clock, PROJECTS_MAINTENANCE_CHECKPOINT_COMMITS="1")

    return World(make, store)


def edit(work: Path) -> dict[bytes, Node]:
    (work / "a").write_bytes(b"edited")
    (work / "b").unlink()
    (work / "d" / "more").write_bytes(LARGE[::-1])
    (work / "link").symlink_to("a")
    return look(work)


class Job:
    """One piece of work, and what must hold when it was cut off and when it was done."""

    def prepare(self, world: World) -> None:
        pass

    def run(self, world: World) -> object:
        raise NotImplementedError

    def kept(self, world: World) -> None:
        """Hold what is there after a failure against what must be."""

    def done(self, world: World) -> None:
        raise NotImplementedError


class Import(Job):
    def prepare(self, world: World) -> None:
        self.source = Path(world.manifold.settings.workdir) / "source"
        (self.source / "d").mkdir(parents=True)
        (self.source / "x").write_bytes(b"imported")
        (self.source / "d" / "one").write_bytes(LARGE[1:])
        (self.source / "d" / "two").write_bytes(LARGE[2:])

    def run(self, world: World) -> object:
        return world.manifold.transfer.import_folder(LOCAL_PRINCIPAL, world.project, self.source)

    def kept(self, world: World) -> None:
        assert len(world.trees()) == len(world.before)

    def done(self, world: World) -> None:
        assert paths(world.manifold, world.project) == look(self.source).keys()
        assert cat(world.make(node="reader"), world.project, b"d/two") == LARGE[2:]


class Commit(Job):
    def prepare(self, world: World) -> None:
        self.work = check_out(world.manifold, world.project)
        put(world.make(node="writer"), world.project, b"theirs", b"theirs")
        world.before = world.trees()
        self.expected = edit(self.work)

    def run(self, world: World) -> object:
        return world.manifold.commits.commit(LOCAL_PRINCIPAL, S1, Intent("work"))

    def kept(self, world: World) -> None:
        found = look(self.work)
        assert {path: found[path] for path in found if path != b"theirs"} == self.expected

    def done(self, world: World) -> None:
        self.kept(world)
        assert len(world.trees()) == len(world.before) + 1
        assert paths(world.manifold, world.project) == self.expected.keys() | {b"theirs"}
        assert cat(world.make(node="reader"), world.project, b"d/more") == LARGE[::-1]


class Save(Job):
    """A draft takes the place of an earlier one."""

    def prepare(self, world: World) -> None:
        self.work = check_out(world.manifold, world.project)
        (self.work / "a").write_bytes(b"earlier")
        world.manifold.commits.save(LOCAL_PRINCIPAL, S1)
        self.earlier, self.later = look(self.work), edit(self.work)

    def run(self, world: World) -> object:
        return world.manifold.commits.save(LOCAL_PRINCIPAL, S1)

    def kept(self, world: World) -> None:
        assert look(self.work) == self.later
        found = look(check_out(world.make(node=f"n{next(world.numbers)}")))
        assert found in (self.earlier, self.later)
        assert look(check_out(world.manifold)) == self.later, "the session comes back, and nothing is lost by that"

    def done(self, world: World) -> None:
        lose_ram(self.work)
        assert look(check_out(world.manifold)) == self.later


class ColdCheckout(Job):
    def run(self, world: World) -> object:
        self.work = check_out(world.manifold, world.project)
        return self.work

    def kept(self, world: World) -> None:
        assert not list(Path(world.manifold.working_sets.folders.root).rglob("work"))
        assert world.manifold.sessions.all(LOCAL_PRINCIPAL) == []

    def done(self, world: World) -> None:
        found = {path: node.content for path, node in look(self.work).items() if node.kind == "file"}
        assert found == {b"a": b"two", b"b": b"bee", b"c": b"sea", b"d/large": LARGE}
        assert world.manifold.sessions.status(LOCAL_PRINCIPAL, S1).differences == []


class Refresh(Job):
    def prepare(self, world: World) -> None:
        self.work = check_out(world.manifold, world.project)
        (self.work / "mine").write_bytes(b"mine")
        self.old = look(self.work)
        other = world.make(node="writer")
        put(other, world.project, b"new/large", LARGE[3:])
        put(other, world.project, b"b", b"theirs")
        remove(other, world.project, b"c")
        world.before = world.trees()

    def run(self, world: World) -> object:
        return check_out(world.manifold)

    def kept(self, world: World) -> None:
        assert look(self.work) == self.old

    def done(self, world: World) -> None:
        found = look(self.work)
        assert found.keys() == {b"a", b"b", b"d", b"d/large", b"mine", b"new", b"new/large"}
        assert (found[b"new/large"].content, found[b"b"].content) == (LARGE[3:], b"theirs")
        assert [one.path for one in world.manifold.sessions.status(LOCAL_PRINCIPAL, S1).differences] == [b"mine"]


class RestoredDraft(Job):
    """A session's RAM was lost; its base and draft come from the store."""

    def prepare(self, world: World) -> None:
        work = check_out(world.make(node="writer"), world.project)
        self.expected = edit(work)
        world.make(node="writer").commits.save(LOCAL_PRINCIPAL, S1)

    def run(self, world: World) -> object:
        self.work = check_out(world.manifold)
        return self.work

    def kept(self, world: World) -> None:
        assert not list(Path(world.manifold.working_sets.folders.root).rglob("work"))

    def done(self, world: World) -> None:
        assert look(self.work) == self.expected


class Restore(Job):
    def run(self, world: World) -> object:
        return world.manifold.edits.restore(LOCAL_PRINCIPAL, world.project, Generation(1))

    def kept(self, world: World) -> None:
        assert len(world.trees()) == len(world.before)

    def done(self, world: World) -> None:
        assert world.trees()[len(world.before) :] == [world.before[1]]


def outage(kind: Kind, times: int = 1, seconds: float = 0.0) -> Callable[[int], Fault]:
    return lambda at: Fault(kind, at, times, seconds=seconds)


FAULTS = {
    "fails": outage("fail"),
    "answer is lost": outage("lost_acknowledgement"),
    "is away from then on": outage("fail", times=EVER),
    "loses every answer from then on": outage("lost_acknowledgement", times=EVER),
    "gives a wrong bit": outage("corrupt"),
    "gives half": outage("truncate"),
    "takes an hour": outage("delay", seconds=3600.0),
}


@pytest.mark.parametrize("job", [Import, Commit, Save, ColdCheckout, Refresh, RestoredDraft, Restore])
def test_whatever_request_fails_nothing_is_lost_and_the_job_can_be_repeated(world: World, job: type[Job]) -> None:
    world.begin()
    work = job()
    work.prepare(world)
    begun = len(world.store.operations)
    work.run(world)
    steps = len(world.store.operations) - begun
    work.done(world)
    assert steps > 0
    failed = set()
    for (name, fault), at in itertools.product(FAULTS.items(), range(1, steps + 1)):
        world.begin()
        work = job()
        work.prepare(world)
        world.store.plan(fault(at))
        try:
            work.run(world)
            world.store.revive()
        except (StoreUnavailable, CorruptObject, DraftLost) as error:
            world.store.revive()
            failed.add(name)
            if not isinstance(error, StoreUnavailable):
                assert error.details["object"] in {operation.key for operation in world.store.operations}, (name, at)
            work.kept(world)
            work.run(world)
        world.check((name, at))
        work.done(world)
    assert failed >= {"fails", "is away from then on"}
    assert "takes an hour" not in failed


def test_work_that_conflicts_is_not_lost_when_its_draft_cannot_be_stored(world: World) -> None:
    world.begin()
    work = check_out(world.manifold, world.project)
    put(world.make(node="writer"), world.project, b"a", b"theirs")
    expected = edit(work)
    world.store.plan(Fault("fail", method="put", times=EVER))
    with pytest.raises(ManifoldError) as caught:
        world.manifold.commits.commit(LOCAL_PRINCIPAL, S1)
    assert isinstance(caught.value, StoreUnavailable)
    assert look(work) == expected
    world.store.revive()
    with pytest.raises(CommitConflict):
        world.manifold.commits.commit(LOCAL_PRINCIPAL, S1)
    lose_ram(work)
    world.manifold.sessions.checkout(LOCAL_PRINCIPAL, S1, request=CheckoutRequest(strategy=Strategy.OURS))
    assert (work / "a").read_bytes() == b"edited"
