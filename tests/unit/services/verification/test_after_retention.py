"""Verification of a history of which some is not kept."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.ids import Generation, ProjectId, parse_tag_name
from manifold_common.ports.object_store import ObjectInfo
from manifold_common.services.verification import look as looks
from manifold_common.shapes.verification import VerifyReport

from tests.support.garbage import collect
from tests.support.manifold import MakeManifold
from tests.support.work import new_project, put, remove

TENANT = LOCAL_PRINCIPAL.tenant
PACKED_BYTES = 2_200_000


@pytest.fixture
def manifold(make_on_either: MakeManifold) -> Manifold:
    return make_on_either()


def packs(manifold: Manifold, project: ProjectId) -> set[str]:
    return {one.key for one in manifold.context.store.list("") if f"/{project}/packs/" in one.key}


def flip(manifold: Manifold, key: str) -> None:
    data = bytearray(manifold.context.store.get(key, max_bytes=1 << 30))
    data[len(data) // 2] ^= 1
    manifold.context.store.put(key, data)


def verify(manifold: Manifold, project: ProjectId) -> VerifyReport:
    return manifold.verify.run(LOCAL_PRINCIPAL, project, read_data=True)


@pytest.fixture
def project(manifold: Manifold) -> ProjectId:
    """Of 9 generations 3 (by its tag) and 7 to 9 are kept: x is in 2 to 4, y in 5 to 8."""
    project = new_project(manifold, a=b"1")
    x, y = os.urandom(PACKED_BYTES), os.urandom(PACKED_BYTES)
    put(manifold, project, b"x", x)
    put(manifold, project, b"a", b"3")
    put(manifold, project, b"a", b"4")
    remove(manifold, project, b"x")
    put(manifold, project, b"y", y)
    put(manifold, project, b"a", b"7")
    put(manifold, project, b"a", b"8")
    remove(manifold, project, b"y")
    manifold.tags.set(LOCAL_PRINCIPAL, project, parse_tag_name("kept"), Generation(3))
    before = verify(manifold, project)
    assert (before.ok, before.commits) == (True, 9)
    assert collect(manifold, project, generations=3)
    return project


def test_what_is_kept_is_whole(manifold: Manifold, project: ProjectId) -> None:
    report = verify(manifold, project)
    assert (report.problems, report.commits, report.tags) == ([], 4, 1)
    assert report.objects_read == report.objects >= 2


def test_damage_touches_what_is_kept_and_needs_it(manifold: Manifold, project: ProjectId) -> None:
    both = packs(manifold, project)
    assert len(both) == 2
    touched = set()
    for key in both:
        flip(manifold, key)
        (problem,) = verify(manifold, project).problems
        touched.add((problem.object, problem.first_generation, problem.last_generation, problem.tags, problem.paths))
        flip(manifold, key)
    assert {one[1:] for one in touched} == {(3, 3, ("kept",), ("x",)), (7, 8, (), ("y",))}


@pytest.mark.parametrize("stretch", [1, 2, 3, 4, 7, 8])
def test_each_stretch_is_looked_at_wherever_it_begins(
    manifold: Manifold, project: ProjectId, stretch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looks, "STRETCH_GENERATIONS", stretch)
    whole = verify(manifold, project)
    reads: list[VerifyReport] = []
    look = manifold.verify.look

    def noted(*of: object) -> VerifyReport:
        reads.append(look(*of))  # type: ignore[arg-type]
        return reads[-1]

    monkeypatch.setattr(manifold.verify, "look", noted)
    manifold.jobs.start(LOCAL_PRINCIPAL, "verify", {"project": project, "read_data": True})
    assert manifold.job_worker.run(["verify"]) == -(-9 // stretch) == len(reads)
    assert [one.problems for one in reads if one.problems] == []
    assert (sum(one.commits for one in reads), sum(one.tags for one in reads)) == (4, 1)
    assert sum(one.objects_read for one in reads) >= whole.objects
    for key in packs(manifold, project):
        flip(manifold, key)
    manifold.jobs.start(LOCAL_PRINCIPAL, "verify", {"project": project, "read_data": True, "sample": None})
    manifold.job_worker.run(["verify"])
    known = {row.object: row.first_generation for row in manifold.verify.damage(LOCAL_PRINCIPAL, project)}
    assert known.keys() == packs(manifold, project) and sorted(known.values()) == [3, 7]  # type: ignore[type-var]


def test_what_is_collected_while_it_is_looked_for_is_no_damage(
    manifold: Manifold, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = new_project(manifold, a=b"1")
    put(manifold, project, b"x", os.urandom(PACKED_BYTES))
    remove(manifold, project, b"x")
    store, calls = manifold.context.store, list[str]()
    listed = store.list

    def list_of(prefix: str) -> Iterator[ObjectInfo]:
        if not calls:
            calls.append(prefix)
            assert collect(manifold, project, generations=1)
        return listed(prefix)

    monkeypatch.setattr(store, "list", list_of)
    report = verify(manifold, project)
    assert calls and (report.problems, report.commits) == ([], 1)
    assert manifold.verify.damage(LOCAL_PRINCIPAL, project) == []
