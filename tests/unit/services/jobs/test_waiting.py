"""Jobs that have waited for long are told of, and those that have not are not."""

from __future__ import annotations

import pytest
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.domain.job import ItemState, JobFilter
from manifold_common.errors import CatalogUnavailable, KeyUnavailable, StoreUnavailable
from manifold_common.services.jobs.waiting import waiting_jobs

from tests.support.manifold import MakeManifold
from tests.unit.services.jobs.toy import Toy, Workshop

pytestmark = pytest.mark.in_memory("moves the clock, and works on toys")


@pytest.fixture
def shop(make_manifold: MakeManifold) -> Workshop:
    return Workshop(make_manifold)


def told(shop: Workshop) -> list[str]:
    return waiting_jobs(shop.manifold.context, shop.manifold.health.look())


def fail(item: object) -> ItemState:
    if item == "a":
        raise KeyUnavailable("it is gone")
    return ItemState.DONE


def spend(shop: Workshop, hours: float) -> None:
    for _ in range(round(hours * 60)):
        shop.run()
        shop.clock.advance(60)


def test_a_job_that_has_waited_for_an_hour_is_named_with_the_error_and_what_to_do(shop: Workshop) -> None:
    job = shop.start(Toy([["a", "b"]], do=fail))
    spend(shop, 0.9)
    assert told(shop) == []
    spend(shop, 0.2)
    (sentence,) = told(shop)
    assert f"job {job} (toy)" in sentence and "(key_unavailable)" in sentence and f"jobs show {job}" in sentence
    shop.jobs.cancel(LOCAL_PRINCIPAL, job)
    assert told(shop) == []


def test_a_job_whose_items_cannot_even_be_planned_is_named_too(shop: Workshop) -> None:
    def look(_: object) -> None:
        raise StoreUnavailable("no answer")

    job = shop.start(Toy([["a"]], look=look))
    spend(shop, 1.1)
    (sentence,) = told(shop)
    assert job in sentence and "store_unavailable" in sentence


def test_a_job_that_has_met_something_away_just_now_is_not(shop: Workshop) -> None:
    items = [str(number) for number in range(70)]
    shop.start(Toy([[*items, "a"]], do=fail, at_once=1))
    (job,) = shop.jobs.page(LOCAL_PRINCIPAL, JobFilter())
    shop.jobs.pause(LOCAL_PRINCIPAL, job.id)
    shop.clock.advance(7200)
    shop.jobs.resume(LOCAL_PRINCIPAL, job.id)
    spend(shop, 0.2)
    assert shop.now(job.id).troubles and told(shop) == []
    shop.clock.advance(7200)
    assert told(shop) == [], "that nobody worked on it is no waiting"


def test_a_catalog_that_is_away_is_not_waited_for(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object, **__: object) -> list[object]:
        raise CatalogUnavailable("no answer")

    shop.start(Toy([["a"]], do=fail))
    spend(shop, 1.1)
    assert len(told(shop)) == 1
    monkeypatch.setattr(shop.catalog, "list_jobs", away)
    assert told(shop) == []
