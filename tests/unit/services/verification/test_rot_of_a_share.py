"""Bytes change in a share of the objects of a project: exactly these are named, and what there is elsewhere comes back.

Prints its counts. ``MANIFOLD_TEST_ROT_COMMITS=2000`` makes it larger, ``pytest -s`` shows them.
"""

from __future__ import annotations

import os
import random
from collections.abc import Collection
from contextlib import suppress

import pytest
from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.errors import CorruptObject
from manifold_common.format.layout import project_prefix
from manifold_common.ids import Generation, ProjectId, parse_tag_name
from manifold_common.shapes.verification import RepairReport

from tests.support.damage import empty_cache
from tests.support.manifold import MakeManifold
from tests.support.work import S1, cat, check_out, new_project, paths, put

TENANT = LOCAL_PRINCIPAL.tenant
COMMITS = int(os.environ.get("MANIFOLD_TEST_ROT_COMMITS", "100"))
PERCENT = 1
AT_LEAST = 8
"""Objects, where a percent is fewer."""
SAMPLED = 25
"""Generations that are read whole, to be compared."""


class History:
    """A project with small commits, packs, checkpoints, tags, a draft, and a fork that has stored some of it itself."""

    def __init__(self, manifold: Manifold, dice: random.Random) -> None:
        self.manifold, self.dice = manifold, dice
        self.project = project = new_project(manifold, "rotting", start=b"0")
        fork: ProjectId | None = None
        for number in range(2, COMMITS + 1):
            size = 2_200_000 if number % 12 == 0 else dice.randrange(100, 20_000)
            data = dice.randbytes(size)
            put(manifold, project, b"f%02d" % dice.randrange(40), data)
            if number % 15 == 0:
                self._checkpoint(number)
            if number % 30 == 0:
                manifold.tags.set(LOCAL_PRINCIPAL, project, parse_tag_name(f"t{number}"), Generation(number))
            if number == COMMITS // 3:
                fork = manifold.forks.fork(LOCAL_PRINCIPAL, project, "fork", Generation(number)).id
            if fork is not None and number % 2:
                put(manifold, fork, b"too", data)
        (check_out(manifold, project) / "mine").write_bytes(dice.randbytes(5000))
        manifold.commits.save(LOCAL_PRINCIPAL, S1)

    def _checkpoint(self, number: int) -> None:
        context = self.manifold.context
        snapshot = context.log.load(TENANT, self.project, Generation(number))
        context.catalog.add_checkpoint(TENANT, self.project, context.writer.write_checkpoint(snapshot))

    def objects(self) -> dict[str, bytes]:
        store = self.manifold.context.store
        keys = sorted(one.key for one in store.list(project_prefix(TENANT, self.project)))
        return {key: bytes(store.get(key, max_bytes=1 << 30)) for key in keys}

    def rot(self) -> dict[str, bytes]:
        """Change a bit in some of the objects. Returns what they were."""
        objects = self.objects()
        chosen = self.dice.sample(sorted(objects), max(AT_LEAST, len(objects) * PERCENT // 100))
        for key in chosen:
            data = bytearray(objects[key])
            data[self.dice.randrange(len(data))] ^= 1 << self.dice.randrange(8)
            self.manifold.context.store.put(key, data)
        print(f"\n{len(objects)} objects, {len(chosen)} damaged", end="")
        return {key: objects[key] for key in chosen}

    def repair(self) -> RepairReport:
        report = self.manifold.repair.run(LOCAL_PRINCIPAL, self.project, read_data=True)
        sources = sorted(one.by.value for one in report.repaired)
        counts = ", ".join(f"{sources.count(source)} {source}" for source in dict.fromkeys(sources)) or "none"
        print(
            f"; {report.found} named, repaired: {counts}; {report.damaged} left, {len(report.quarantined)} kept aside"
        )
        return report

    def named(self) -> set[str]:
        return {one.object for one in self.manifold.verify.damage(LOCAL_PRINCIPAL, self.project)}

    def read(self, manifold: Manifold, generations: Collection[int]) -> dict[tuple[int, bytes], bytes]:
        """Return what can be read of these generations."""
        found = {}
        for generation in generations:
            with suppress(CorruptObject):
                for path in paths(manifold, self.project, generation) - {b""}:
                    with suppress(CorruptObject):
                        found[generation, path] = cat(manifold, self.project, path, generation)
        return found


@pytest.fixture
def history(make_on_either: MakeManifold) -> History:
    seed = random.SystemRandom().getrandbits(32)
    print(f"seed {seed}")
    return History(make_on_either(), random.Random(seed))


def test_with_a_warm_cache_all_comes_back_byte_for_byte(history: History) -> None:
    before = history.objects()
    good = history.rot()
    assert not history.manifold.verify.run(LOCAL_PRINCIPAL, history.project, read_data=True).ok
    # A commit object or checkpoint that cannot be read hides what only it refers to.
    assert history.named() <= good.keys()
    report = history.repair()
    assert (report.ok, report.left, history.named()) == (True, [], set())
    assert {one.object for one in report.repaired} == good.keys() and history.objects() == before


def test_without_a_cache_what_stands_elsewhere_comes_back_and_the_rest_is_named(
    history: History, make_on_either: MakeManifold
) -> None:
    generations = sorted(history.dice.sample(range(1, COMMITS + 1), min(SAMPLED, COMMITS)))
    before = history.read(history.manifold, generations)
    good = history.rot()
    empty_cache(history.manifold)
    after_rot = history.read(make_on_either(node="reader"), generations)
    report = history.repair()
    left = {one.object: one for one in report.left}
    named = {one.object for one in report.repaired} | left.keys()
    assert named <= good.keys()
    hidden = good.keys() - named
    assert all("/packs/" in key for key in hidden), "only a commit object that is left can hide what it refers to"
    assert not hidden or any("/commits/" in key for key in left)
    assert history.named() == left.keys()
    now = history.read(make_on_either(node="new"), generations)
    assert after_rot.keys() <= now.keys() and all(before[at] == data for at, data in now.items())
    spans = [(one.first_generation or 0, one.last_generation or COMMITS) for one in report.left]
    for generation, _ in before.keys() - now.keys():
        assert any(first <= generation <= last for first, last in spans), "what cannot be read is named"
    print(f"of {len(before)} files read, {len(after_rot)} could be after the damage, {len(now)} after the repair")
