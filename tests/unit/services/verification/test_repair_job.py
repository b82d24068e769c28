"""Repair by a job: what its items find, they mend, also for the parts of a history that are not theirs."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence

import pytest
from manifold_common.bootstrap import Manifold
from manifold_common.bootstrap.jobs import makers
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.domain.job import ItemState, JobState
from manifold_common.errors import CorruptObject, StoreUnavailable
from manifold_common.ids import Generation, ProjectId
from manifold_common.services.verification import look as looks
from manifold_common.services.verification import verify_job
from manifold_common.shapes.jobs import Job

from tests.support.damage import PACKED_BYTES, empty_cache, flip, objects_of, write_checkpoint
from tests.support.faulty_store import Crash, Fault, FaultyStore
from tests.support.manifold import MakeManifold
from tests.support.work import committed, new_project, put, remove

TENANT = LOCAL_PRINCIPAL.tenant
LAST = 9


@pytest.fixture(autouse=True)
def short_stretches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looks, "STRETCH_GENERATIONS", 3)


@pytest.fixture
def manifold(make_on_either: MakeManifold) -> Manifold:
    return make_on_either()


def begin(manifold: Manifold, project: ProjectId | None = None, **params: object) -> Job:
    of = {} if project is None else {"project": project}
    wanted = {"read_data": True, "repair": True, **of, **params}
    return manifold.jobs.start(LOCAL_PRINCIPAL, "verify", wanted).job


def run(manifold: Manifold, project: ProjectId | None = None) -> Job:
    job = begin(manifold, project)
    manifold.job_worker.run(["verify"])
    return manifold.jobs.get(LOCAL_PRINCIPAL, job.id)


def is_whole(manifold: Manifold, project: ProjectId) -> bool:
    return manifold.verify.run(LOCAL_PRINCIPAL, project, read_data=True).ok


def long_project(manifold: Manifold) -> tuple[ProjectId, str]:
    """Return a project of three stretches, each with checkpoints that refer to one pack of the first; and that pack."""
    project = new_project(manifold, a=b"1")
    put(manifold, project, b"x", os.urandom(PACKED_BYTES))
    (pack,) = objects_of(manifold, project, "packs")
    for generation in range(3, LAST + 1):
        put(manifold, project, b"a", b"%d" % generation)
        if generation in (3, 5, 6, 8):
            write_checkpoint(manifold, project, Generation(generation))
    return project, pack


def history(manifold: Manifold, project: ProjectId) -> list[dict[bytes, tuple[int, bytes]]]:
    known: dict[bytes, bytes] = {}
    return [committed(manifold, project, generation, known) for generation in range(1, LAST + 1)]


def fork_with(manifold: Manifold, project: ProjectId, path: bytes) -> None:
    """Fork the first generation, and have the fork store content anew that the project has."""
    _, data = history(manifold, project)[1][path]
    fork = manifold.forks.fork(LOCAL_PRINCIPAL, project, "fork", Generation(1)).id
    put(manifold, fork, path, data)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
def test_whichever_stretch_comes_first_content_that_moves_is_read_elsewhere_in_all(
    manifold: Manifold, make_on_either: MakeManifold, order: Sequence[int]
) -> None:
    project, pack = long_project(manifold)
    fork_with(manifold, project, b"x")
    before = history(manifold, project)
    flip(manifold, pack)
    empty_cache(manifold)
    made = makers(manifold)["verify"](manifold.jobs.row(TENANT, begin(manifold, project).id))
    items = made.plan(None).items
    assert len(items) == 3
    for number in order:
        assert made.begin(items)(items[number]) is ItemState.DONE
    assert is_whole(manifold, project)
    assert history(make_on_either(node="new"), project) == before


def test_content_that_stands_in_another_stretch_is_not_stored_again(
    manifold: Manifold, make_on_either: MakeManifold
) -> None:
    data = os.urandom(PACKED_BYTES)
    project = new_project(manifold, a=b"1")
    put(manifold, project, b"x", data)
    remove(manifold, project, b"x")
    write_checkpoint(manifold, project, Generation(3))
    (pack,) = objects_of(manifold, project, "packs")
    for generation in range(4, LAST):
        put(manifold, project, b"a", b"%d" % generation)
    manifold.context.log.forget(TENANT, project)
    write_checkpoint(manifold, project, Generation(LAST - 1))
    manifold.context.log.forget(TENANT, project)
    put(manifold, project, b"y", data)
    before, packs = history(manifold, project), objects_of(manifold, project, "packs")
    assert len(packs) == 2
    manifold.context.store.delete([pack])
    empty_cache(manifold)
    assert run(manifold, project).state is JobState.DONE
    assert objects_of(manifold, project, "packs") == packs - {pack}
    assert is_whole(manifold, project)
    assert history(make_on_either(node="new"), project) == before


def test_cut_off_anywhere_it_is_gone_on_with(make_manifold: MakeManifold) -> None:
    manifold = make_manifold()
    project, pack = long_project(manifold)
    fork_with(manifold, project, b"x")
    before = history(manifold, project)
    flip(manifold, pack)
    empty_cache(manifold)
    job = begin(manifold, project)
    row = manifold.jobs.row(TENANT, job.id)
    (first, *others), killed = makers(manifold)["verify"](row).plan(None).items, 0
    for item in others:  # done before anything is known to be damaged: they will not come again
        assert makers(manifold)["verify"](row).begin([item])(item) is ItemState.DONE
    for run in range(40):
        store = FaultyStore(manifold.context.store)
        store.plan(Fault("crash_after" if run % 2 else "crash", at=1 + run // 4, method="put"))
        work = makers(make_manifold(store=store))["verify"](row).begin([first])
        try:
            assert work(first) is ItemState.DONE
        except (Crash, StoreUnavailable):
            killed += 1
        else:
            break
    assert killed > 3
    assert is_whole(manifold, project)
    assert history(make_manifold(node="new"), project) == before


def test_what_is_left_is_told_with_what_was_repaired_and_kept(manifold: Manifold) -> None:
    project, pack = long_project(manifold)
    first, *_ = sorted(objects_of(manifold, project, "commits"))
    flip(manifold, first)
    flip(manifold, pack)
    manifold.context.objects._cache.drop(pack)
    after = run(manifold, project)
    assert (after.state, after.done, after.failed) == (JobState.FAILED, 2, 1)
    (trouble,) = after.troubles
    assert trouble.error == "corrupt_object" and trouble.message is not None
    told = trouble.message
    assert told.startswith(f"object {pack} is damaged: ") and f"; repaired {first}; kept aside as " in told
    kept = told.partition("kept aside as ")[2].split()[0].rstrip(".;:,")
    assert kept in {one.key for one in manifold.context.store.list("")}
    assert f"manifold verify {project} --repair" in told and "x" not in told.split()
    again = manifold.jobs.retry(LOCAL_PRINCIPAL, after.id)
    manifold.job_worker.run(["verify"])
    again = manifold.jobs.get(LOCAL_PRINCIPAL, again.id)
    assert again.troubles[0].message is not None and "; nothing was repaired" in again.troubles[0].message


def test_very_much_damage_is_told_in_a_text_that_the_catalog_keeps(
    manifold: Manifold, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = new_project(manifold, a=b"1")
    for number in range(14):
        put(manifold, project, b"a", b"%d" % number)
    names = sorted(objects_of(manifold, project, "commits"))
    for name in names:
        flip(manifold, name)
    for name in names[1::2]:
        manifold.context.objects._cache.drop(name)
    monkeypatch.setattr(looks, "STRETCH_GENERATIONS", 100)
    (trouble,) = run(manifold, project).troubles
    assert trouble.message is not None
    assert trouble.message.startswith(f"object {names[1]} is damaged: ") and "so are 6 more: " in trouble.message
    assert f"; repaired {names[0]}, {names[2]}, " in trouble.message and " and 4 others; kept" in trouble.message
    assert trouble.message.endswith("may help)") or trouble.message.endswith("may help")


def test_without_a_project_those_of_all_are_repaired(manifold: Manifold) -> None:
    projects = [new_project(manifold, f"project {number}", a=b"1") for number in range(3)]
    for project in projects:
        (commit,) = objects_of(manifold, project, "commits")
        flip(manifold, commit)
    assert (after := run(manifold)).state is JobState.DONE and (after.done, after.failed) == (3, 0)
    assert all(is_whole(manifold, project) for project in projects)


def test_a_project_that_was_deleted_meanwhile_is_passed_over(manifold: Manifold) -> None:
    project = new_project(manifold, a=b"1")
    job = begin(manifold, project)
    row = manifold.jobs.row(TENANT, job.id)
    (item,) = makers(manifold)["verify"](row).plan(None).items
    manifold.projects.delete(LOCAL_PRINCIPAL, project)
    assert makers(manifold)["verify"](row).begin([item])(item) is ItemState.SKIPPED


def test_one_that_only_looks_repairs_nothing(manifold: Manifold) -> None:
    project = new_project(manifold, a=b"1")
    (commit,) = objects_of(manifold, project, "commits")
    flip(manifold, commit)
    looked = begin(manifold, project, repair=False)
    repaired = begin(manifold, project)
    assert looked.id != repaired.id and "repair" not in looked.params
    row = manifold.jobs.row(TENANT, looked.id)
    made = makers(manifold)["verify"](row)
    assert isinstance(made, verify_job.VerifyJob)
    (item,) = made.plan(None).items
    with pytest.raises(CorruptObject, match="is damaged"):
        made.begin([item])(item)
    assert not is_whole(manifold, project)
