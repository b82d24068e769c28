"""Living content of objects that are mostly dead moves, and nobody can tell but by the space."""

from __future__ import annotations

import os
import time

import pytest
from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.format.layout import project_prefix
from manifold_common.ids import Generation, ProjectId, TagName
from manifold_common.services.projects.edits import Delete, PutFile, reading

from tests.support.garbage import TENANT, collect, collector, objects
from tests.support.manifold import MakeManifold
from tests.support.work import S1, cat, check_out, committed, new_project, put

FILES = 24
SIZE = 100_000


@pytest.fixture
def manifold(make_manifold: MakeManifold) -> Manifold:
    return make_manifold()


def mostly_dead(manifold: Manifold) -> tuple[ProjectId, dict[bytes, bytes]]:
    """Return a project whose one pack holds a quarter of what it held, and its files."""
    project = new_project(manifold)
    files = {f"f{number:02}".encode(): os.urandom(SIZE) for number in range(FILES)}
    puts = [PutFile(path, reading(data)) for path, data in files.items()]
    manifold.edits.apply(LOCAL_PRINCIPAL, project, puts)
    gone = [path for number, path in enumerate(files) if number % 4]
    manifold.edits.apply(LOCAL_PRINCIPAL, project, [Delete(path) for path in gone])
    put(manifold, project, b"more", b"x")
    return project, {path: data for path, data in files.items() if path not in gone} | {b"more": b"x"}


def stored_bytes(manifold: Manifold, project: ProjectId) -> int:
    return sum(one.size for one in manifold.context.store.list(project_prefix(TENANT, project)))


def contents(manifold: Manifold, project: ProjectId) -> dict[bytes, bytes]:
    return {path: data for path, (_, data) in committed(manifold, project).items()}


def is_sound(manifold: Manifold, project: ProjectId) -> bool:
    return bool(manifold.verify.run(LOCAL_PRINCIPAL, project, read_data=True).ok)


def test_a_pack_that_is_mostly_dead_is_replaced(manifold: Manifold, make_manifold: MakeManifold) -> None:
    project, files = mostly_dead(manifold)
    before, packs = stored_bytes(manifold, project), objects(manifold, project)
    assert collect(manifold, project, generations=1)
    assert stored_bytes(manifold, project) < before / 3
    assert not {one for one in packs if one.startswith("packs/")} & objects(manifold, project)
    assert contents(make_manifold(node="new"), project) == files and is_sound(manifold, project)
    assert not collect(manifold, project, generations=1) and not collect(manifold, project, generations=1)


def test_a_pack_that_commits_in_the_history_refer_to_stays(manifold: Manifold) -> None:
    project, files = mostly_dead(manifold)
    manifold.tags.set(LOCAL_PRINCIPAL, project, TagName("v1"), Generation(1))
    collect(manifold, project, generations=1)
    assert len(contents(manifold, project)) == len(files)
    assert len(committed(manifold, project, 1)) == FILES and is_sound(manifold, project)


def test_small_objects_are_put_together(manifold: Manifold, make_manifold: MakeManifold) -> None:
    project = new_project(manifold)
    for number in range(40):
        put(manifold, project, f"f{number}".encode(), os.urandom(1000))
    files = contents(manifold, project)
    collect(manifold, project, generations=2)
    commits = {one for one in objects(manifold, project) if one.startswith("commits/")}
    assert len(commits) == 2
    assert contents(make_manifold(node="new"), project) == files and is_sound(manifold, project)


def test_another_node_that_knew_the_old_places_goes_on(manifold: Manifold, make_manifold: MakeManifold) -> None:
    project, files = mostly_dead(manifold)
    work = check_out(manifold, project)
    other = make_manifold(node="b")
    assert contents(other, project) == files
    collect(other, project, generations=1)
    (work / "again").write_bytes(files[b"f00"])
    (work / "f04").rename(work / "moved")
    manifold.commits.commit(LOCAL_PRINCIPAL, S1)
    assert cat(other, project, b"again") == files[b"f00"] and cat(other, project, b"moved") == files[b"f04"]
    assert is_sound(other, project)


def test_a_fork_keeps_what_has_moved_away_from_it(manifold: Manifold) -> None:
    project, files = mostly_dead(manifold)
    fork = manifold.forks.fork(LOCAL_PRINCIPAL, project, "fork", Generation(1)).id
    collect(manifold, project, generations=1)
    assert len(contents(manifold, fork)) == FILES and contents(manifold, project) == files
    assert is_sound(manifold, fork) and is_sound(manifold, project)


def test_damaged_content_is_not_passed_on_and_all_else_goes(manifold: Manifold, make_manifold: MakeManifold) -> None:
    project, _ = mostly_dead(manifold)
    (pack,) = (one for one in objects(manifold, project) if one.startswith("packs/"))
    put(manifold, project, b"gone", os.urandom(2 << 20))
    put(manifold, project, b"gone", b"")
    (other,) = (one for one in objects(manifold, project) if one.startswith("packs/") and one != pack)
    key = f"{project_prefix(TENANT, project)}/{pack}"
    data = bytearray(manifold.context.store.get(key, max_bytes=1 << 30))
    data[len(data) // 2 :] = bytes(len(data) - len(data) // 2)
    manifold.context.store.put(key, data)
    collect(make_manifold(node="without a copy"), project, generations=1)
    left = objects(manifold, project)
    assert pack in left and other not in left


def test_what_is_small_and_whole_is_not_written_anew_each_time(manifold: Manifold) -> None:
    project = new_project(manifold)
    put(manifold, project, b"small", b"x")
    put(manifold, project, b"other", b"1")
    put(manifold, project, b"other", b"2")
    collect(manifold, project, generations=1)
    before = objects(manifold, project)
    assert not collect(manifold, project, generations=1)
    assert objects(manifold, project) == before


GRACE = 0.5
"""Seconds. What a collection itself has stored is never old enough to go with it."""


def told(manifold: Manifold, project: ProjectId, *, generations: int, percent: int = 50) -> dict[str, tuple[int, int]]:
    """Return what a collection is said to do: by reason, how many objects and bytes."""
    leader = manifold.context.catalog.family_of(TENANT, project)
    plan = collector(manifold, generations=generations, percent=percent, grace=GRACE).plan(TENANT, leader)
    counts = [(one.reason.value, one.objects, one.bytes) for found in plan.projects for one in found.garbage]
    counts += [(one.reason.value, one.objects, one.bytes) for found in plan.projects for one in found.moved]
    return {reason: (count, size) for reason, count, size in counts}


def condemned(manifold: Manifold, project: ProjectId) -> dict[str, tuple[int, int]]:
    return {
        one.reason.value: (one.objects, one.bytes) for one in manifold.context.catalog.garbage_of(TENANT, [project])
    }


def collect_as_told(manifold: Manifold, project: ProjectId, *, generations: int) -> dict[str, tuple[int, int]]:
    """Collect what there is; return what was told of it. Just that is condemned."""
    time.sleep(GRACE)
    before = told(manifold, project, generations=generations)
    assert told(manifold, project, generations=generations) == before, "nothing was changed"
    leader = manifold.context.catalog.family_of(TENANT, project)
    assert collector(manifold, generations=generations, grace=GRACE).collect(TENANT, leader)
    gone = condemned(manifold, project)
    assert sum(count for count, _ in gone.values()) == sum(count for count, _ in before.values())
    assert sum(size for _, size in gone.values()) == sum(size for _, size in before.values())
    moved = [before[reason] for reason in ("mostly_dead", "small", "checkpoint") if reason in before]
    assert gone["moved"] == (sum(count for count, _ in moved), sum(size for _, size in moved))
    assert told(manifold, project, generations=generations) == {}
    return before


def test_a_plan_says_that_a_pack_is_mostly_dead(manifold: Manifold) -> None:
    project, _ = mostly_dead(manifold)
    time.sleep(GRACE)
    assert "mostly_dead" not in told(manifold, project, generations=1, percent=0)
    count, size = collect_as_told(manifold, project, generations=1)["mostly_dead"]
    assert count == 1 and size >= FILES * SIZE
    assert is_sound(manifold, project)


def test_a_plan_says_which_small_objects_are_put_together_and_which_checkpoints_go(manifold: Manifold) -> None:
    project = new_project(manifold)
    for number in range(40):
        put(manifold, project, f"f{number}".encode(), os.urandom(1000))
        if number == 30:
            manifold.tags.set(LOCAL_PRINCIPAL, project, TagName("v1"), Generation(20))
    collect(manifold, project, generations=2)
    for number in range(40):
        put(manifold, project, f"g{number}".encode(), os.urandom(1000))
    before = collect_as_told(manifold, project, generations=2)
    assert before["small"][0] >= 16 and before["checkpoint"][0] >= 1
    assert is_sound(manifold, project)
