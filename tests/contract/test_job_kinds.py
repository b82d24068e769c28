"""What every kind of job promises, held against each of the list: a new one is found by itself."""

from __future__ import annotations

import itertools
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

import pytest
from manifold_common.bootstrap.jobs import KINDS, MODULES, Kind, makers
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.domain.job import GIVEN_UP_AFTER, ItemState, JobState
from manifold_common.errors import InvalidInput
from manifold_common.shapes.jobs import Job, JobParams

from tests.contract.jobs.scene import Base, Scene
from tests.support.faulty_store import Crash, Fault
from tests.support.manifold import MakeManifold

ROOT = Path(__file__).resolve().parents[2]
LATER_SECONDS = 3600

Kill: TypeAlias = Literal["crash", "crash_after"]
Case: TypeAlias = tuple[Kind, Callable[[Base], Scene]]

pytestmark = pytest.mark.in_memory("moves the clock, and cuts off what is asked of the catalog and the store")


def _cases() -> Iterator[Any]:
    """Yield each kind with each scene that its module has: ``scene``, and any whose name goes on from that."""
    for module in MODULES:
        kind: Kind = import_module(module).KIND
        scenes = import_module(f"tests.contract.jobs.{module.rpartition('.')[2]}")
        for name in vars(scenes):
            if name == "scene" or name.startswith("scene_"):
                yield pytest.param((kind, getattr(scenes, name)), id=kind.name + name.removeprefix("scene"))


@pytest.fixture(params=_cases())
def case(request: pytest.FixtureRequest) -> Case:
    return cast(Case, request.param)


@pytest.fixture
def kind(case: Case) -> Kind:
    return case[0]


@pytest.fixture
def base(make_manifold: MakeManifold) -> Base:
    return Base.new(make_manifold)


@pytest.fixture
def scene(case: Case, base: Base) -> Scene:
    return case[1](base)


def start(kind: Kind, scene: Scene) -> Job:
    return scene.manifold.jobs.start(LOCAL_PRINCIPAL, kind.name, scene.params).job


def now(scene: Scene, job: Job) -> Job:
    return scene.manifold.jobs.get(LOCAL_PRINCIPAL, job.id)


def counts(job: Job) -> tuple[int, int, int, int]:
    return job.pending, job.done, job.skipped, job.failed


def test_a_kind_has_a_name_and_a_sentence_and_stands_in_the_table_of_the_documents(kind: Kind) -> None:
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", kind.name)
    assert re.fullmatch(r"[A-Z][^.]*(\.[a-z]\w*[^.]*)*\.", kind.does), "one sentence"
    row = f"| `{kind.name}` | {kind.does} | `{kind.function}` |"
    assert row in (ROOT / "docs" / "jobs.md").read_text().splitlines(), row


def test_no_name_is_given_twice() -> None:
    assert len(MODULES) == len(KINDS)


def test_parameters_are_a_shape_that_is_described(kind: Kind) -> None:
    assert issubclass(kind.params, JobParams) and kind.params.__doc__


def test_a_wrong_parameter_is_refused_and_nothing_is_begun(kind: Kind, scene: Scene) -> None:
    with pytest.raises(InvalidInput, match="no_such_thing"):
        scene.manifold.jobs.start(LOCAL_PRINCIPAL, kind.name, {**scene.params, "no_such_thing": 1})
    assert scene.manifold.context.catalog.jobs_at_work([kind.name]) == []


def test_a_job_does_what_it_is_for_and_ends(kind: Kind, scene: Scene) -> None:
    job = start(kind, scene)
    assert not scene.is_done()
    assert scene.manifold.job_worker.run([kind.name]) == scene.count
    after = now(scene, job)
    assert (after.state, after.planned, counts(after)) == (JobState.DONE, True, (0, scene.count, 0, 0))
    assert after.troubles == [] and after.trouble is None and after.ended_at is not None
    assert scene.is_done()
    assert scene.manifold.job_worker.run([kind.name]) == 0


def test_items_say_which_thing_is_meant_and_each_is_named_once(kind: Kind, scene: Scene) -> None:
    row = scene.manifold.jobs.row(LOCAL_PRINCIPAL.tenant, start(kind, scene).id)
    made = makers(scene.manifold)[kind.name](row)
    items, cursor, pages = [], None, 0
    while pages == 0 or cursor is not None:
        page = made.plan(cursor)
        again = made.plan(cursor)
        assert (list(again.items), again.cursor) == (list(page.items), page.cursor), "planned twice, it is the same"
        items += page.items
        cursor, pages = page.cursor, pages + 1
        assert pages < 100
    assert len(items) == len(set(items)) == scene.count
    assert all(re.fullmatch(r"[\x21-\x7e]{1,200}", item) for item in items)
    assert 1 <= made.at_once <= 1000


def test_what_is_done_already_is_done_again_without_harm(kind: Kind, scene: Scene) -> None:
    row = scene.manifold.jobs.row(LOCAL_PRINCIPAL.tenant, start(kind, scene).id)
    made = makers(scene.manifold)[kind.name](row)
    items = list(made.plan(None).items)
    for _ in range(2):
        work = made.begin(items)
        assert {work(item) for item in items} <= {ItemState.DONE, ItemState.SKIPPED}
        assert scene.is_done()


def test_two_workers_do_it_together(kind: Kind, scene: Scene) -> None:
    job = start(kind, scene)
    threads = [threading.Thread(target=scene.manifold.job_worker.run, args=([kind.name],)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    after = now(scene, job)
    assert (after.state, after.pending, after.failed) == (JobState.DONE, 0, 0)
    assert after.done + after.skipped == scene.count
    assert scene.is_done()


@pytest.mark.parametrize("how", ["crash", "crash_after"])
def test_a_worker_killed_at_any_step_is_gone_on_from(case: Case, make_manifold: MakeManifold, how: Kill) -> None:
    kind, make_scene = case
    for at in itertools.count(1):
        base = Base.new(make_manifold)
        scene = make_scene(base)
        job = start(kind, scene)
        base.store.plan(Fault(how, at=at))
        try:
            scene.manifold.job_worker.run([kind.name])
        except Crash:
            is_killed = True
        else:
            is_killed = False
        base.store.revive()
        base.clock.advance(LATER_SECONDS)
        scene.manifold.job_worker.run([kind.name])
        after = now(scene, job)
        assert (after.state, after.pending, after.failed) == (JobState.DONE, 0, 0), at
        assert after.done + after.skipped == scene.count, at
        assert scene.is_done(), at
        if not is_killed:
            assert at > 5
            return


def test_what_is_away_is_waited_for(kind: Kind, scene: Scene, base: Base) -> None:
    job = start(kind, scene)
    base.store.plan(Fault("fail", times=10_000, method="put"))
    base.store.plan(Fault("fail", times=10_000, method="get"))
    scene.manifold.job_worker.run([kind.name])
    resting = now(scene, job)
    assert resting.state is JobState.RUNNING and resting.failed == 0
    if resting.pending == scene.count:
        assert resting.trouble is not None and resting.trouble.error == "store_unavailable"
        assert {trouble.error for trouble in resting.troubles} == {"store_unavailable"}
    base.store.revive()
    base.clock.advance(LATER_SECONDS)
    scene.manifold.job_worker.run([kind.name])
    assert now(scene, job).state is JobState.DONE
    assert scene.is_done()


def test_an_item_that_workers_die_of_is_given_up_in_the_end(kind: Kind, scene: Scene) -> None:
    job, catalog = start(kind, scene), scene.manifold.context.catalog
    row = scene.manifold.jobs.row(LOCAL_PRINCIPAL.tenant, job.id)
    while not row.is_planned:
        row = scene.manifold.job_worker.step(row, stop=lambda: True).job or row
    lost = Counter[int]()
    while lost[1] < GIVEN_UP_AFTER:
        (one,) = catalog.claim_items(row.tenant, row.job, f"{lost.total()}", seconds=0, limit=1)
        assert one.lost == lost[one.number]
        lost[one.number] += 1
        assert lost.total() <= scene.count * GIVEN_UP_AFTER
    scene.manifold.job_worker.run([kind.name])
    after = now(scene, job)
    assert (after.state, counts(after)) == (JobState.FAILED, (0, scene.count - 1, 0, 1)), "the others are done"
    (trouble,) = after.troubles
    assert (trouble.number, trouble.error, trouble.begun) == (1, "worker_lost", GIVEN_UP_AFTER + 1)
    scene.manifold.jobs.retry(LOCAL_PRINCIPAL, job.id)
    scene.manifold.job_worker.run([kind.name])
    assert now(scene, job).state is JobState.DONE and scene.is_done()
