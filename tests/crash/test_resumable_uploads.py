"""The process dies at each step of a resumable upload, at the store and at the catalog. What HEAD says then is durable
and right; going on from there gives the file, committed once; and nothing is left in the store that nobody knows of."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
from manifold_common.adapters.memory.catalog import MemoryCatalog
from manifold_common.adapters.memory.clock import ManualClock
from manifold_common.adapters.memory.object_store import MemoryObjectStore
from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.services.resumable import intake
from manifold_common.services.resumable.uploads import UploadState

from tests.support.faulty_store import Crash, Fault, FaultyStore
from tests.support.manifold import MakeManifold
from tests.support.resumable import begin, look, packs, packs_in_use, send, tidy
from tests.support.work import cat, new_project

CONTENT = os.urandom(4_200_000)
CUTS = (0, 1_300_000, 2_000_000, len(CONTENT))
_WRITES = ("hold_resumable", "advance_resumable", "settle_resumable", "publish_commit")


class Dying:
    """A catalog with which the process dies, before or after the ``at``-th write."""

    def __init__(self, catalog: MemoryCatalog, store: FaultyStore) -> None:
        self._catalog = catalog
        self._store = store
        self.at = 0
        self.after = False
        self.count = 0

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._catalog, name)
        if self._store._dead:
            raise Crash("this process has died")
        if name not in _WRITES or not self.at:
            return found

        def dying(*arguments: Any, **options: Any) -> Any:
            self.count += 1
            if self.count != self.at:
                return found(*arguments, **options)
            if self.after:
                found(*arguments, **options)
            self._store._dead = True
            raise Crash(f"at {name}")

        return dying


class World:
    def __init__(self, make: MakeManifold) -> None:
        self.clock = ManualClock()
        self.store = FaultyStore(MemoryObjectStore(self.clock), clock=self.clock)
        self.catalog = Dying(MemoryCatalog(clock=self.clock), self.store)
        self._make = make
        self._numbers = itertools.count()

    def node(self) -> Manifold:
        name = f"n{next(self._numbers)}"
        return self._make(node=name, store=self.store, catalog=cast(Any, self.catalog), clock=self.clock)

    def revive(self) -> None:
        self.store.revive()
        self.catalog.at = self.catalog.count = 0
        self.clock.advance(intake.LEASE.total_seconds() + 1)


@pytest.fixture
def world(make_manifold: MakeManifold, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(intake, "SEGMENT_BYTES", 1 << 20)
    return World(make_manifold)  # type: ignore[return-value]


def upload(manifold: Manifold, at: UploadState) -> None:
    for start, end in itertools.pairwise(CUTS):
        send(manifold, at, start, CONTENT[start:end])


def go_on(manifold: Manifold, at: UploadState) -> None:
    """Do as a client does that asks how far the upload is."""
    found = look(manifold, at)
    if found.offset < len(CONTENT):
        assert found.outcome is None
        found = send(manifold, at, found.offset, CONTENT[found.offset :])
    assert found.outcome is not None


def check(world: World, at: UploadState, why: object) -> None:
    fresh = world.node()
    go_on(fresh, at)
    assert cat(fresh, at.project, b"big") == CONTENT, why
    assert fresh.projects.get(LOCAL_PRINCIPAL, at.project).generation == 1, why
    tidy(fresh, world.clock)
    mine = {key for key in packs(fresh) if f"/{at.project}/" in key}
    assert mine == packs_in_use(fresh, at.project), why
    assert fresh.verify.run(LOCAL_PRINCIPAL, at.project, read_data=True).ok, why


def steps_to_die_at(world: World, plan: Callable[[int], None]) -> int:
    """Let the process die at the step that ``plan`` is told, from the first on. Returns the first that is not there."""
    for number in itertools.count(1):
        manifold = world.node()
        at = begin(manifold, new_project(manifold, f"p{number}"), len(CONTENT))
        plan(number)
        try:
            upload(manifold, at)
            tidy(manifold, world.clock)
        except Crash:
            world.revive()
            check(world, at, number)
            continue
        break
    world.revive()
    check(world, at, "without a fault")
    return number


@pytest.mark.parametrize("kind", ["crash", "crash_after"])
def test_the_process_dies_at_each_request_to_the_store(world: World, kind: Any) -> None:
    assert steps_to_die_at(world, lambda number: world.store.plan(Fault(kind, at=number))) > 5


@pytest.mark.parametrize("after", [False, True])
def test_the_process_dies_at_each_change_of_the_catalog(world: World, after: bool) -> None:
    def plan(number: int) -> None:
        world.catalog.at, world.catalog.after = number, after

    assert steps_to_die_at(world, plan) > 8


def test_what_a_dead_process_left_goes_with_the_upload(world: World) -> None:
    manifold = world.node()
    at = begin(manifold, new_project(manifold), len(CONTENT))
    world.store.plan(Fault("crash_after", at=3, method="put", key_part="/packs/"))
    with pytest.raises(Crash):
        upload(manifold, at)
    world.revive()
    fresh = world.node()
    assert packs(fresh)
    fresh.resumable_uploads.end(LOCAL_PRINCIPAL, at.project, at.upload)
    tidy(fresh, world.clock)
    assert packs(fresh) == set()
