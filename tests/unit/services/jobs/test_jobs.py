"""Jobs as people see them."""

from __future__ import annotations

import pytest
from manifold_common.domain.access import LOCAL_PRINCIPAL, Principal
from manifold_common.domain.job import ItemState, JobFilter, JobState
from manifold_common.errors import AlreadyExists, InvalidInput, JobEnded, KeyUnavailable, NotFound
from manifold_common.ids import JobId, TenantId, UserId

from tests.support.manifold import MakeManifold
from tests.unit.services.jobs.toy import Toy, Workshop

pytestmark = pytest.mark.in_memory("moves the clock, and works on toys")
STRANGER = Principal(TenantId("umbrella"), UserId("bob"))


@pytest.fixture
def shop(make_manifold: MakeManifold) -> Workshop:
    return Workshop(make_manifold)


def test_an_equal_job_that_is_not_over_is_joined_and_what_rests_of_it_is_tried_at_once(shop: Workshop) -> None:
    def away(_: str) -> ItemState:
        raise KeyUnavailable("sealed")

    toy = Toy([["a"]], do=away)
    job = shop.start(toy)
    shop.run()
    assert shop.now(job).trouble is not None
    begun = shop.jobs.start(LOCAL_PRINCIPAL, "toy", {"name": ""})
    assert (begun.job.id, begun.is_new, begun.job.trouble, begun.job.troubles) == (job, False, None, [])
    toy.do = lambda _: None
    assert shop.run() == 1
    assert shop.start(toy) != job, "that one is over"


def test_default_parameters_make_the_same_job_whether_they_are_written_or_not(shop: Workshop) -> None:
    assert shop.start(Toy([["a"]])) == shop.jobs.start(LOCAL_PRINCIPAL, "toy", {}).job.id


def test_a_kind_that_there_is_not_is_refused_with_what_may_have_been_meant(shop: Workshop) -> None:
    with pytest.raises(InvalidInput, match="there is no kind of job 'toyy'") as caught:
        shop.jobs.start(LOCAL_PRINCIPAL, "toyy", {})
    assert caught.value.hint == "did you mean 'toy'? kinds are toy"


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"name": 5}, "params.name"),
        ({"nam": "x"}, "params.nam"),
        ({"project": []}, "params.project"),
        ({"project": "\0"}, "params.project"),
        ({"project": "de\0mo"}, "params.project"),
        ({"project": "\ud800"}, "params.project"),
        ({"name": "\udc00"}, "params.name"),
    ],
)
def test_wrong_parameters_are_refused_by_name(shop: Workshop, params: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        shop.jobs.start(LOCAL_PRINCIPAL, "toy", params)
    assert caught.value.details["field"] == field


def test_a_project_is_meant_by_its_name_or_its_id(shop: Workshop) -> None:
    project = shop.manifold.projects.create(LOCAL_PRINCIPAL, "demo").id
    shop.toys[""] = Toy([[]])
    by_name = shop.jobs.start(LOCAL_PRINCIPAL, "toy", {"project": "demo"}).job
    by_id = shop.jobs.start(LOCAL_PRINCIPAL, "toy", {"project": project}).job
    assert by_name.id == by_id.id and by_name.project == project and by_name.params == {"project": project}
    with pytest.raises(NotFound):
        shop.jobs.start(LOCAL_PRINCIPAL, "toy", {"project": "nothing"})
    shop.manifold.projects.delete(LOCAL_PRINCIPAL, project)
    assert not shop.jobs.start(LOCAL_PRINCIPAL, "toy", {"project": project}).is_new


def test_what_is_another_tenants_is_not_there(shop: Workshop) -> None:
    job = shop.start(Toy([["a"]]))
    for look in (
        lambda: shop.jobs.get(STRANGER, job),
        lambda: shop.jobs.items(STRANGER, job),
        lambda: shop.jobs.pause(STRANGER, job),
        lambda: shop.jobs.cancel(STRANGER, job),
        lambda: shop.jobs.retry(STRANGER, job),
    ):
        with pytest.raises(NotFound):
            look()
    assert shop.jobs.page(STRANGER, JobFilter()) == []
    assert shop.now(job).state is JobState.RUNNING


def test_to_ask_again_for_a_state_is_no_error_and_for_what_cannot_be_is_one(shop: Workshop) -> None:
    jobs, job = shop.jobs, shop.start(Toy([["a"]]))
    for _ in range(2):
        assert jobs.pause(LOCAL_PRINCIPAL, job).state is JobState.PAUSED
    assert shop.run() == 0
    for _ in range(2):
        assert jobs.resume(LOCAL_PRINCIPAL, job).state is JobState.RUNNING
    for _ in range(2):
        assert jobs.cancel(LOCAL_PRINCIPAL, job).state is JobState.CANCELLED
    for move in (jobs.pause, jobs.resume, jobs.retry):
        with pytest.raises(JobEnded, match="cancelled"):
            move(LOCAL_PRINCIPAL, job)


def test_workers_are_woken_whenever_somebody_gives_a_job_something_to_do(shop: Workshop) -> None:
    jobs, job = shop.jobs, shop.start(Toy([["a"]], do=lambda _: ItemState.FAILED))
    shop.start(shop.toys[""])
    assert shop.woken == ["toy"] * 2, "once it is started, and once it is joined"
    for move, wakes in ((jobs.pause, 0), (jobs.retry, 0), (jobs.resume, 1), (jobs.retry, 1)):
        shop.woken.clear()
        move(LOCAL_PRINCIPAL, job)
        assert shop.woken == ["toy"] * wakes, move
    shop.woken.clear()
    with pytest.raises(AlreadyExists):
        jobs.start(LOCAL_PRINCIPAL, "toy", {"name": ""}, only_new=True)
    shop.run()
    assert (shop.now(job).state, shop.woken) == (JobState.FAILED, [])
    jobs.retry(LOCAL_PRINCIPAL, job)
    assert shop.woken == ["toy"]
    jobs.cancel(LOCAL_PRINCIPAL, job)
    with pytest.raises(JobEnded):
        jobs.resume(LOCAL_PRINCIPAL, job)
    assert shop.woken == ["toy"]


def test_a_failed_job_says_how_it_goes_on(shop: Workshop) -> None:
    toy = Toy([["a", "b"]], do=lambda item: ItemState.FAILED if item == "b" else None)
    job = shop.start(toy)
    shop.run()
    with pytest.raises(JobEnded) as caught:
        shop.jobs.resume(LOCAL_PRINCIPAL, job)
    assert caught.value.hint == f"manifold jobs retry {job}"
    toy.do = lambda _: None
    assert shop.jobs.retry(LOCAL_PRINCIPAL, job).state is JobState.RUNNING
    assert shop.run() == 1
    after = shop.now(job)
    assert (after.state, after.done, after.failed) == (JobState.DONE, 2, 0)
    with pytest.raises(JobEnded):
        shop.jobs.retry(LOCAL_PRINCIPAL, job)


def test_a_paused_job_whose_last_item_was_under_way_ends_when_it_goes_on(shop: Workshop) -> None:
    job = shop.start(Toy([["a"]], do=lambda _: shop.jobs.pause(LOCAL_PRINCIPAL, job) and None))
    shop.run()
    assert (shop.now(job).state, shop.now(job).pending) == (JobState.PAUSED, 0)
    assert shop.jobs.resume(LOCAL_PRINCIPAL, job).state is JobState.DONE


def test_speed_and_time_left_are_told_once_they_are_known(shop: Workshop) -> None:
    toy = Toy([[f"i{number}" for number in range(100)]], at_once=10)
    job = shop.start(toy)
    assert (shop.now(job).per_second, shop.now(job).seconds_left) == (None, None)
    row = shop.jobs.row(LOCAL_PRINCIPAL.tenant, job)
    for _ in range(6):
        row = shop.worker.step(row).job or row
        shop.clock.advance(2)
    told = shop.now(job)
    assert told.per_second is not None and 4 <= told.per_second <= 7
    assert told.seconds_left is not None and told.seconds_left == pytest.approx(told.pending / told.per_second)
    shop.jobs.pause(LOCAL_PRINCIPAL, job)
    shop.clock.advance(1000)
    resumed = shop.jobs.resume(LOCAL_PRINCIPAL, job)
    assert (resumed.per_second, resumed.seconds_left) == (None, None), "it is measured anew"
    slow = shop.jobs.start(LOCAL_PRINCIPAL, "toy", {"name": ""}, rate=0.01).job
    assert (slow.id, slow.rate) == (job, 0.01)
    shop.clock.advance(6)
    shop.worker.step(shop.jobs.row(LOCAL_PRINCIPAL.tenant, job))
    told = shop.now(job)
    assert told.per_second is not None and told.seconds_left is not None
    assert told.seconds_left >= told.pending / 0.01 * 0.99, "no faster than its rate"
    shop.jobs.start(LOCAL_PRINCIPAL, "toy", {"name": ""}, rate=1e6)
    shop.run()
    assert (shop.now(job).per_second, shop.now(job).seconds_left) == (None, None), "it is over"


def test_jobs_that_are_over_are_forgotten_in_time(shop: Workshop) -> None:
    over = [shop.start(Toy([[]]), f"job {number}") for number in range(120)]
    shop.run()
    running = shop.start(Toy([["a"]]), "running")
    shop.clock.advance(29 * 86_400)
    assert shop.jobs.forget() == 0
    shop.clock.advance(2 * 86_400)
    assert shop.jobs.forget(stop=lambda: True) == 0
    assert shop.jobs.forget() == len(over)
    assert [job.id for job in shop.jobs.page(LOCAL_PRINCIPAL, JobFilter())] == [running]
    with pytest.raises(NotFound):
        shop.jobs.get(LOCAL_PRINCIPAL, JobId(over[0]))
