"""A project with history, tags, a draft and packs, whose objects have names that tests can damage them by."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.engine.tree_log import key_of_checkpoint
from manifold_common.ids import Generation, ProjectId, parse_tag_name
from manifold_common.ports.object_store import ObjectStore
from manifold_common.shapes.verification import Damage, VerifyReport

from tests.support.work import S1, check_out, new_project, put, remove

PACKED_BYTES = 2_200_000
"""More than travels inside a commit object."""


@dataclass
class Place:
    """A project, and which object each thing in it came to be in."""

    manifold: Manifold
    project: ProjectId
    objects: dict[str, str] = field(default_factory=dict)

    @property
    def store(self) -> ObjectStore:
        return self.manifold.context.store

    def stored(self) -> set[str]:
        return {info.key for info in self.store.list("")}

    def name(self, what: str, kind: str, act: Callable[[], object]) -> None:
        """Do something, and give the one object of a kind that it makes a name."""
        before = self.stored()
        act()
        (self.objects[what],) = [key for key in self.stored() - before if f"/{kind}/" in key]

    def get(self, what: str) -> bytes:
        return bytes(self.store.get(self.objects.get(what, what), max_bytes=1 << 30))

    def flip(self, *whats: str) -> None:
        for what in whats:
            flip(self.manifold, self.objects.get(what, what))

    def verify(self, project: ProjectId | None = None, sample: float | None = 100) -> VerifyReport:
        return self.manifold.verify.run(LOCAL_PRINCIPAL, project or self.project, sample=sample)

    def named(self, report: VerifyReport) -> dict[str, Damage]:
        """Return what is damaged, by the names of here."""
        names = {key: what for what, key in self.objects.items()}
        found = {names.get(problem.object, problem.object): problem for problem in report.problems}
        assert (report.ok, report.damaged) == (not found, len(found))
        return found

    def known(self, project: ProjectId | None = None) -> set[str]:
        names = {key: what for what, key in self.objects.items()}
        rows = self.manifold.verify.damage(LOCAL_PRINCIPAL, project or self.project)
        return {names.get(row.object, row.object) for row in rows}


def touches(problem: Damage) -> tuple[int | None, int | None, Sequence[str], Sequence[str], Sequence[str]]:
    return (problem.first_generation, problem.last_generation, problem.tags, problem.sessions, problem.paths)


def packed() -> bytes:
    return os.urandom(PACKED_BYTES)


def make_place(manifold: Manifold) -> Place:
    """Generations: 1 a, 2 a b, 3 another a and b, 4 c as well, 5 without b, 6 with d; a draft on that; a fork of 4."""
    project = new_project(manifold, "demo")
    place = Place(manifold, project)

    def tag(generation: int, name: str) -> None:
        manifold.tags.set(LOCAL_PRINCIPAL, project, parse_tag_name(name), Generation(generation))

    place.name("a1", "packs", lambda: put(manifold, project, b"a", packed()))
    place.name("b", "packs", lambda: put(manifold, project, b"b", packed()))
    place.name("a2", "packs", lambda: put(manifold, project, b"a", packed()))
    place.name("c", "packs", lambda: put(manifold, project, b"sub/c", packed()))
    place.name("commit 5", "commits", lambda: remove(manifold, project, b"b"))
    place.name("commit 6", "commits", lambda: put(manifold, project, b"d", b"small"))
    for generation, name in ((2, "old"), (4, "middle"), (6, "new")):
        tag(generation, name)
    work = check_out(manifold, project)
    (work / "mine").write_bytes(packed())
    place.name("draft", "packs", lambda: manifold.commits.save(LOCAL_PRINCIPAL, S1))
    return place


def empty_cache(manifold: Manifold) -> None:
    """Remove this machine's copies of what is stored."""
    folder = manifold.context.objects._cache._folder
    shutil.rmtree(folder)
    os.mkdir(folder)


def objects_of(manifold: Manifold, project: ProjectId, kind: str) -> set[str]:
    """Return the names of what a project has stored, of one kind."""
    prefix = f"t/{LOCAL_PRINCIPAL.tenant}/p/{project}/{kind}/"
    return {one.key for one in manifold.context.store.list("") if one.key.startswith(prefix)}


def flip(manifold: Manifold, key: str, at: int | None = None) -> None:
    """Damage a byte of an object; ``None``: the one in the middle."""
    data = bytearray(manifold.context.store.get(key, max_bytes=1 << 30))
    data[len(data) // 2 if at is None else at] ^= 0x10
    manifold.context.store.put(key, data)


def write_checkpoint(manifold: Manifold, project: ProjectId, generation: Generation) -> str:
    """Write one of a generation; return its name."""
    tenant, context = LOCAL_PRINCIPAL.tenant, manifold.context
    snapshot = context.log.load(tenant, project, generation)
    row = context.writer.write_checkpoint(snapshot)
    context.catalog.add_checkpoint(tenant, project, row, gc_epoch=snapshot.head.gc_epoch)
    return key_of_checkpoint(tenant, project, row)
