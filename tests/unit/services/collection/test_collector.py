"""What nothing refers to goes; what anything could still read stays."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.errors import CorruptObject, NotFound
from manifold_common.format.layout import project_prefix
from manifold_common.ids import Generation, ProjectId, TagName

from tests.support.garbage import collect, objects
from tests.support.manifold import MakeManifold
from tests.support.work import S1, cat, check_out, committed, new_project, put, remove

BIG = 200_000
"""Bytes of a file that goes into a pack."""


@pytest.fixture
def manifold(make_manifold: MakeManifold) -> Manifold:
    return make_manifold()


def packs(manifold: Manifold, project: ProjectId) -> set[str]:
    return {one for one in objects(manifold, project) if one.startswith("packs/")}


def big(manifold: Manifold, project: ProjectId, path: bytes) -> bytes:
    data = os.urandom(2 << 20)
    put(manifold, project, path, data)
    return data


def test_nothing_goes_while_every_generation_is_kept(manifold: Manifold) -> None:
    project = new_project(manifold)
    big(manifold, project, b"a")
    remove(manifold, project, b"a")
    before = objects(manifold, project)
    assert not collect(manifold, project)
    assert objects(manifold, project) == before


def test_content_of_removed_generations_goes_and_the_newest_stays_whole(manifold: Manifold) -> None:
    project = new_project(manifold)
    big(manifold, project, b"gone")
    kept = big(manifold, project, b"kept")
    remove(manifold, project, b"gone")
    before = packs(manifold, project)
    assert collect(manifold, project, generations=1)
    assert len(before) == 2 and len(packs(manifold, project)) == 1
    assert cat(manifold, project, b"kept") == kept
    assert committed(manifold, project).keys() == {b"kept"}
    with pytest.raises(NotFound, match="removed by retention"):
        cat(manifold, project, b"gone", 1)
    report = manifold.verify.run(LOCAL_PRINCIPAL, project, read_data=True)
    assert report.ok, report.problems


def test_work_goes_on_after_a_collection(manifold: Manifold, make_manifold: MakeManifold) -> None:
    project = new_project(manifold)
    work = check_out(manifold, project)
    (work / "a").write_bytes(os.urandom(2 << 20))
    manifold.commits.commit(LOCAL_PRINCIPAL, S1)
    (work / "b").write_bytes(os.urandom(2 << 20))
    other = make_manifold(node="b")
    put(other, project, b"c", b"from elsewhere")
    (work / "a").unlink()
    manifold.commits.commit(LOCAL_PRINCIPAL, S1)
    collect(other, project, generations=1)
    (work / "d").write_bytes(b"later")
    assert manifold.commits.commit(LOCAL_PRINCIPAL, S1).commit is not None
    assert committed(other, project).keys() == {b"b", b"c", b"d"}
    assert manifold.verify.run(LOCAL_PRINCIPAL, project, read_data=True).ok


def test_a_tagged_generation_stays_with_all_that_it_holds(manifold: Manifold) -> None:
    project = new_project(manifold)
    old = big(manifold, project, b"a")
    manifold.tags.set(LOCAL_PRINCIPAL, project, TagName("v1"), Generation(1))
    remove(manifold, project, b"a")
    put(manifold, project, b"b", b"x")
    put(manifold, project, b"b", b"y")
    collect(manifold, project, generations=1)
    assert cat(manifold, project, b"a", 1) == old
    with pytest.raises(NotFound):
        committed(manifold, project, 2)
    manifold.tags.remove(LOCAL_PRINCIPAL, project, TagName("v1"))
    collect(manifold, project, generations=1)
    assert not packs(manifold, project)
    assert cat(manifold, project, b"b") == b"y"


def test_a_fork_keeps_what_it_took_from_its_source(manifold: Manifold) -> None:
    source = new_project(manifold)
    data = big(manifold, source, b"a")
    fork = manifold.forks.fork(LOCAL_PRINCIPAL, source, "fork").id
    remove(manifold, source, b"a")
    collect(manifold, source, generations=1)
    assert cat(manifold, fork, b"a") == data
    manifold.projects.delete(LOCAL_PRINCIPAL, source)
    collect(manifold, source, generations=1)
    assert cat(manifold, fork, b"a") == data
    remove(manifold, fork, b"a")
    collect(manifold, source, generations=1)
    assert manifold.verify.run(LOCAL_PRINCIPAL, fork, read_data=True).ok


def test_a_draft_keeps_its_content(manifold: Manifold) -> None:
    project = new_project(manifold)
    put(manifold, project, b"x", b"1")
    work = check_out(manifold, project)
    data = os.urandom(3 << 20)
    (work / "a").write_bytes(data)
    assert manifold.commits.save(LOCAL_PRINCIPAL, S1).draft is not None
    collect(manifold, project, generations=1)
    (work / "b").write_bytes(b"more")
    manifold.commits.commit(LOCAL_PRINCIPAL, S1)
    assert cat(manifold, project, b"a") == data
    assert manifold.verify.run(LOCAL_PRINCIPAL, project, read_data=True).ok


def test_what_was_cut_off_goes(manifold: Manifold) -> None:
    project = new_project(manifold)
    put(manifold, project, b"x", b"1")
    base = manifold.context.log.load(LOCAL_PRINCIPAL.tenant, project)
    with manifold.context.pack_writer(base) as writer:
        writer.add(os.urandom(1 << 20))
        writer.finish(0)
    assert packs(manifold, project)
    assert collect(manifold, project)
    assert not packs(manifold, project)


def test_a_second_collection_finds_nothing_to_do(manifold: Manifold) -> None:
    project = new_project(manifold)
    big(manifold, project, b"a")
    remove(manifold, project, b"a")
    assert collect(manifold, project, generations=1)
    collect(manifold, project, generations=1)
    assert not collect(manifold, project, generations=1)


def test_a_commit_that_was_ready_before_content_was_condemned_stores_it_anew(
    manifold: Manifold, make_manifold: MakeManifold
) -> None:
    project = new_project(manifold)
    data = big(manifold, project, b"a")
    work = check_out(manifold, project)
    (work / "b").write_bytes(data)  # known, so that it is not stored again
    other = make_manifold(node="b")
    remove(other, project, b"a")
    ready = manifold.context.catalog.publish_commit
    calls = []

    def collected_first(publication):  # type: ignore[no-untyped-def]
        if not calls:
            calls.append(publication)
            view = other.context.catalog.view_session(LOCAL_PRINCIPAL.tenant, LOCAL_PRINCIPAL.user, S1)
            assert view is not None
            collect(other, project, generations=1)
        return ready(publication)

    manifold.context.catalog.publish_commit = collected_first  # type: ignore[method-assign]
    manifold.commits.commit(LOCAL_PRINCIPAL, S1)
    assert cat(other, project, b"b") == data
    assert manifold.verify.run(LOCAL_PRINCIPAL, project, read_data=True).ok


def test_a_history_that_does_not_hold_together_is_damage_and_nothing_goes(manifold: Manifold) -> None:
    project = new_project(manifold)
    big(manifold, project, b"gone")
    remove(manifold, project, b"gone")
    before = objects(manifold, project)
    state = manifold.context.catalog.state  # type: ignore[attr-defined]
    row = state.projects[LOCAL_PRINCIPAL.tenant, project]
    row.row = replace(row.row, head=row.row.head._replace(record_hash=b"\0" * 32))
    manifold.context.log.forget(LOCAL_PRINCIPAL.tenant, project)
    with pytest.raises(CorruptObject, match="does not end in the head's commit"):
        collect(manifold, project, generations=1)
    assert objects(manifold, project) == before


def test_a_commit_object_that_is_lost_is_damage_and_nothing_goes(manifold: Manifold) -> None:
    project = new_project(manifold)
    big(manifold, project, b"gone")
    remove(manifold, project, b"gone")
    before = objects(manifold, project)
    lost = min(one for one in before if one.startswith("commits/"))
    manifold.context.objects.discard([f"{project_prefix(LOCAL_PRINCIPAL.tenant, project)}/{lost}"])
    with pytest.raises(CorruptObject, match="missing from the object store"):
        collect(manifold, project)
    assert objects(manifold, project) == before - {lost}
