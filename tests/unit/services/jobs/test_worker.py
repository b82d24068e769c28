"""Workers: in turns, in slices, and whatever their work meets."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import NoReturn

import pytest
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.domain.job import ItemState, JobState
from manifold_common.errors import (
    CatalogUnavailable,
    CorruptObject,
    InvalidInput,
    KeyUnavailable,
    NotFound,
    StoreUnavailable,
    UnsafePath,
)
from manifold_common.ports.catalog import JobRow
from manifold_common.services.jobs.kind import NotForHere
from manifold_common.services.jobs.worker import REST_SECONDS, JobWorker

from tests.support.manifold import MakeManifold
from tests.support.panics import panic
from tests.unit.services.jobs.toy import TENANT, Toy, Workshop

pytestmark = pytest.mark.in_memory("moves the clock, and works on toys")


@pytest.fixture
def shop(make_manifold: MakeManifold) -> Workshop:
    return Workshop(make_manifold)


def failing(items: str, error: BaseException | Callable[..., NoReturn]) -> Callable[[str], None]:
    def do(item: str) -> None:
        if item in items:
            raise error if isinstance(error, BaseException) else error()

    return do


def test_pages_are_planned_when_there_is_nothing_else_to_do_and_slices_are_as_large_as_the_kind_says(
    shop: Workshop,
) -> None:
    toy = Toy([["a", "b", "c"], ["d", "e"]], at_once=2)
    job = shop.start(toy)
    assert shop.run() == 5
    assert toy.slices == [["a", "b"], ["c"], ["d", "e"]]
    assert shop.now(job).state is JobState.DONE


def test_a_job_with_nothing_to_do_is_done(shop: Workshop) -> None:
    job = shop.start(Toy([[], [], []]))
    assert shop.run() == 0
    after = shop.now(job)
    assert (after.state, after.done, after.planned) == (JobState.DONE, 0, True)


def test_jobs_take_turns(shop: Workshop) -> None:
    order: list[str] = []
    for name in ("x", "y"):
        shop.start(Toy([["1", "2", "3"]], at_once=1, do=lambda item, name=name: order.append(name + item)), name)  # type: ignore[misc]
    shop.run()
    assert order == ["x1", "y1", "x2", "y2", "x3", "y3"]


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (CorruptObject("default/x/keys/y", "its bytes were changed"), "corrupt_object", "its bytes were changed"),
        (UnsafePath("the path 'secret.txt' leaves the project"), "unsafe_path", None),
        (NotFound("there is no secret.txt"), "not_found", None),
        (ZeroDivisionError("secret.txt"), "internal", None),
        (panic, "internal", None),
    ],
)
def test_what_is_wrong_is_named_and_the_others_are_done(
    shop: Workshop, error: Exception | Callable[..., NoReturn], code: str, text: str | None
) -> None:
    job = shop.start(Toy([["a", "b", "c"]], do=failing("b", error)))
    assert shop.run() == 3
    after = shop.now(job)
    assert (after.state, after.done, after.failed) == (JobState.FAILED, 2, 1)
    (trouble,) = after.troubles
    assert (trouble.item, trouble.error, trouble.state) == ("b", code, ItemState.FAILED)
    assert trouble.message is None if text is None else text in (trouble.message or "")
    assert "secret" not in str(shop.items(job)), "what can name a file is not kept in the clear"


def test_an_item_whose_service_is_away_rests_and_the_others_are_done(shop: Workshop) -> None:
    toy = Toy([["a", "b", "c"]], do=failing("b", KeyUnavailable("Vault is sealed")))
    job = shop.start(toy)
    assert shop.run() == 2
    waiting = shop.now(job)
    assert (waiting.state, waiting.pending, waiting.failed, waiting.trouble) == (JobState.RUNNING, 1, 0, None)
    (trouble,) = waiting.troubles
    assert (trouble.item, trouble.error, trouble.message, trouble.begun) == (
        "b",
        "key_unavailable",
        "Vault is sealed",
        1,
    )
    assert trouble.retry_at is not None and (trouble.retry_at - shop.clock.now()).total_seconds() == REST_SECONDS
    assert shop.run() == 0 and toy.worked["b"] == 1, "it is left alone"
    shop.clock.advance(REST_SECONDS)
    assert shop.run() == 0 and toy.worked["b"] == 2
    toy.do = lambda _: None
    shop.clock.advance(REST_SECONDS)
    assert shop.run() == 1
    assert shop.now(job).state is JobState.DONE and shop.now(job).troubles == []


def test_where_everything_met_what_is_away_the_whole_job_rests(shop: Workshop) -> None:
    toy = Toy([["a", "b"], ["c"]], do=failing("abc", StoreUnavailable("no answer")))
    job = shop.start(toy)
    assert shop.run() == 0
    resting = shop.now(job)
    assert resting.trouble is not None
    assert (resting.trouble.error, resting.trouble.message) == ("store_unavailable", "no answer")
    assert toy.worked.total() == 2, "the next page is not begun"
    toy.do = lambda _: None
    shop.clock.advance(REST_SECONDS)
    assert shop.run() == 3
    assert shop.now(job).trouble is None and shop.now(job).state is JobState.DONE


def test_a_day_of_an_outage_fails_nothing(shop: Workshop) -> None:
    toy = Toy([["a", "b"]], do=failing("ab", KeyUnavailable("sealed")))
    job = shop.start(toy)
    for _ in range(500):
        shop.run()
        shop.clock.advance(200)
    toy.do = lambda _: None
    shop.run()
    after = shop.now(job)
    assert (after.state, after.done, after.failed) == (JobState.DONE, 2, 0)


@pytest.mark.parametrize("where", ["look", "prepare"])
@pytest.mark.parametrize("error", [KeyUnavailable("sealed"), InvalidInput("new projects are not encrypted")])
def test_a_job_whose_plan_or_slice_cannot_be_begun_rests_and_holds_up_no_other(
    shop: Workshop, where: str, error: Exception
) -> None:
    def refuse(_: object) -> None:
        raise error

    toy, other = Toy([["a"]]), Toy([["b"]])
    setattr(toy, where, refuse)
    job, second = shop.start(toy, "toy"), shop.start(other, "other")
    assert shop.run() == 1
    assert shop.now(second).state is JobState.DONE
    resting = shop.now(job)
    assert resting.state is JobState.RUNNING and resting.trouble is not None and toy.worked.total() == 0
    assert resting.trouble.error in ("key_unavailable", "invalid_input")
    setattr(toy, where, lambda _: None)
    shop.clock.advance(REST_SECONDS)
    assert shop.run() == 1
    assert shop.now(job).state is JobState.DONE


def test_a_worker_that_is_to_stop_gives_back_what_it_has_not_begun(shop: Workshop) -> None:
    toy = Toy([["a", "b", "c"]])
    job = shop.start(toy)
    assert shop.worker.run(["toy"], stop=lambda: toy.worked.total() > 0) == 1
    assert (shop.now(job).done, shop.now(job).pending) == (1, 2)
    assert not shop.catalog.is_under_way(TENANT, job)
    assert shop.new_worker().run(["toy"]) == 2, "at once, by another"
    assert toy.worked == {"a": 1, "b": 1, "c": 1}


def test_a_worker_that_is_interrupted_reports_what_it_has_done(shop: Workshop) -> None:
    toy = Toy([["a", "b", "c"]], do=failing("b", KeyboardInterrupt()))
    job = shop.start(toy)
    with pytest.raises(KeyboardInterrupt):
        shop.run()
    assert (shop.now(job).done, shop.now(job).pending) == (1, 2)
    toy.do = lambda _: None
    assert shop.run() == 2
    assert toy.worked == {"a": 1, "b": 2, "c": 1}


def test_an_item_that_takes_longer_than_a_claim_is_not_taken_by_another(shop: Workshop) -> None:
    entered, go_on = threading.Event(), threading.Event()

    def slow(_: str) -> None:
        entered.set()
        assert go_on.wait(30)

    toy = Toy([["a"]], do=slow)
    job = shop.start(toy)
    first = threading.Thread(target=shop.new_worker(lease_seconds=0.3).run, args=(["toy"],))
    first.start()
    assert entered.wait(30)
    for _ in range(5):  # five claims' time, on a clock that leaps
        shop.clock.advance(0.25)
        threading.Event().wait(0.2)
        assert shop.run() == 0
    go_on.set()
    first.join(30)
    assert toy.worked == {"a": 1} and shop.now(job).state is JobState.DONE


def test_a_job_that_is_paused_while_it_is_worked_on_goes_no_further(shop: Workshop) -> None:
    def pause(item: str) -> None:
        if item == "b":
            shop.jobs.pause(LOCAL_PRINCIPAL, job)

    toy = Toy([["a", "b", "c", "d"]], at_once=1, do=pause)
    job = shop.start(toy)
    assert shop.run() == 2
    assert (shop.now(job).state, shop.now(job).done) == (JobState.PAUSED, 2)
    shop.jobs.resume(LOCAL_PRINCIPAL, job)
    toy.do = lambda _: None
    assert shop.run() == 2
    assert shop.now(job).state is JobState.DONE


def test_a_job_that_is_cancelled_while_it_is_worked_on_is_over(shop: Workshop) -> None:
    def cancel(item: str) -> None:
        if item == "b":
            shop.jobs.cancel(LOCAL_PRINCIPAL, job)

    job = shop.start(Toy([["a", "b", "c"], ["d"]], do=cancel, at_once=2))
    assert shop.run() == 2
    after = shop.now(job)
    assert (after.state, after.done, after.pending) == (JobState.CANCELLED, 2, 1)
    assert shop.run() == 0


def test_a_rate_is_kept(shop: Workshop) -> None:
    toy = Toy([[f"i{number}" for number in range(20)]])
    job, begun = shop.start(toy, rate=2), shop.clock.now()
    while shop.now(job).state is JobState.RUNNING:
        shop.run()
        shop.clock.advance(0.25)
    assert 9 <= (shop.clock.now() - begun).total_seconds() <= 11


def test_a_worker_with_patience_waits_for_what_a_rate_puts_off_and_for_nothing_that_takes_longer(
    shop: Workshop,
) -> None:
    job, begun = shop.start(Toy([[f"i{number}" for number in range(6)]]), rate=0.5), shop.clock.now()
    assert shop.worker.run(["toy"], patience_seconds=1) == 1
    assert shop.worker.run(["toy"], patience_seconds=3) == 5
    assert shop.now(job).state is JobState.DONE
    assert 9 <= (shop.clock.now() - begun).total_seconds() <= 13
    shop.start(Toy([["a"]], do=failing("a", StoreUnavailable("no answer"))), "away")
    begun = shop.clock.now()
    assert shop.worker.run(["toy"], patience_seconds=3) == 0
    assert shop.clock.now() == begun, "what is away is tried again by the next"


def test_a_worker_with_patience_stops_when_it_is_told_to(shop: Workshop) -> None:
    shop.start(Toy([["a", "b"]]), rate=0.1)
    begun = shop.clock.now()
    finished = shop.worker.run(
        ["toy"], patience_seconds=60, stop=lambda: (shop.clock.now() - begun).total_seconds() >= 5
    )
    assert finished == 1


def test_a_worker_tells_of_each_step_what_became_of_its_items(shop: Workshop) -> None:
    seen: list[tuple[str, str | None]] = []
    do = failing("b", UnsafePath("no")), failing("c", StoreUnavailable("no answer"))
    shop.start(Toy([["a", "b", "c"]], do=lambda item: do[0](item) or do[1](item)))
    shop.start(Toy([["c"]], do=do[1]), "all of it is away")
    shop.worker.run(["toy"], heed=lambda kind, step: seen.extend((kind, one.code) for one in step.reports))
    assert seen.count(("toy", None)) == seen.count(("toy", UnsafePath.code)) == 1
    assert seen.count(("toy", StoreUnavailable.code)) == len(seen) - 2 == 2


def test_what_is_not_for_this_process_is_left_as_it_is_and_holds_up_no_other(shop: Workshop) -> None:
    def make(job: JobRow) -> Toy:
        name = shop.now(job.job).params.get("name", "")
        if name.startswith("theirs"):
            raise NotForHere(InvalidInput("the key is not here"))
        return shop.toys[name]

    theirs = [shop.start(Toy([["a"]]), f"theirs {number}") for number in range(45)]
    ours = shop.start(Toy([["a"], ["b"]]), "ours")
    before = [shop.now(job).revision for job in theirs]
    here = JobWorker(shop.manifold.context, {"toy": make})
    assert here.run(["toy"]) == 2, "however many others stand before it"
    assert shop.now(ours).state is JobState.DONE
    assert [shop.now(job).revision for job in theirs] == before
    assert not here.has_work(["toy"], within_seconds=900) and shop.worker.has_work(["toy"], within_seconds=0)
    with pytest.raises(InvalidInput, match="not here"):
        here.see_through(shop.jobs.row(TENANT, theirs[0]))
    assert shop.run() == 45


@pytest.mark.parametrize(("is_open", "text"), [(True, "how (do this)"), (False, None)])
@pytest.mark.parametrize("where", ["look", "prepare", "do"])
def test_the_words_of_errors_are_kept_where_they_can_name_no_files(
    shop: Workshop, where: str, text: str | None, *, is_open: bool
) -> None:
    def fail(_: object) -> None:
        raise InvalidInput("how", hint="do this")

    toy = Toy([["a"]], is_open=is_open)
    setattr(toy, where, fail)
    job = shop.start(toy)
    shop.run()
    now = shop.now(job)
    told = [item.message for item in now.troubles] + [now.trouble.message if now.trouble is not None else None]
    assert text in told if is_open else not any(told)


def test_what_a_newer_release_has_started_waits_for_it(shop: Workshop) -> None:
    def unknown(_: object) -> Toy:
        raise InvalidInput("the job is not valid: depth: there is no such field")

    job = shop.start(Toy([["a"]]))
    shop.worker._kinds = {"toy": unknown}  # type: ignore[dict-item]
    assert shop.run() == 0
    trouble = shop.now(job).trouble
    assert trouble is not None and trouble.error == "invalid_input"


@pytest.mark.parametrize("where", ["look", "prepare"])
def test_a_fault_in_one_kind_of_work_holds_up_no_other(shop: Workshop, where: str) -> None:
    toy, other = Toy([["a"]]), Toy([["b"]])
    setattr(toy, where, lambda _: {}["secret.txt"])
    job, second = shop.start(toy, "toy"), shop.start(other, "other")
    assert shop.run() == 1
    assert shop.now(second).state is JobState.DONE
    trouble = shop.now(job).trouble
    assert trouble is not None and (trouble.error, trouble.message) == ("internal", None)


def test_a_catalog_that_is_away_is_the_callers_affair(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object, **__: object) -> None:
        raise CatalogUnavailable("no answer")

    shop.start(Toy([["a"]]))
    monkeypatch.setattr(shop.catalog, "claim_items", away)
    with pytest.raises(CatalogUnavailable):
        shop.run()
