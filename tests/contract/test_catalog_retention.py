"""What every catalog promises of how long a project's history is kept."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from manifold_common.domain.history import Point, Version
from manifold_common.errors import GenerationMismatch, NotFound, PreconditionFailed
from manifold_common.ids import Generation
from manifold_common.ports.catalog import Catalog, OutboxEvent, Retention

from tests.contract.catalog_fixtures import (
    EVENT,
    NO_PROJECT,
    OTHER_TENANT,
    TENANT,
    Made,
    all_events,
    everything,
    make_project,
)

SAID = OutboxEvent("manifold.test.retention", {"n": 1})


@pytest.fixture
def made(catalog: Catalog) -> Made:
    made = make_project(catalog)
    made.publish(2)
    return made


def kept(catalog: Catalog, made: Made) -> Retention:
    return catalog.holdings(made.tenant, made.id).retention


def version(catalog: Catalog, made: Made) -> Version:
    return catalog.get_project(made.tenant, made.id).version


def test_a_project_begins_with_what_the_deployment_says(catalog: Catalog, made: Made) -> None:
    assert kept(catalog, made) == Retention(None, None)


@pytest.mark.parametrize("rules", [Retention(5, None), Retention(None, 0), Retention(0, 36500), Retention(1, 1)])
def test_rules_are_kept_and_taken_back(catalog: Catalog, made: Made, rules: Retention) -> None:
    before = version(catalog, made)
    assert catalog.set_retention(TENANT, made.id, rules, SAID)
    assert kept(catalog, made) == rules
    assert version(catalog, made) == before._replace(revision=(before.revision or 0) + 1)
    event = all_events(catalog)[-1]
    assert (event.type, event.project, event.generation, event.data) == (SAID.type, made.id, 2, {"n": 1})
    assert catalog.set_retention(TENANT, made.id, Retention(), SAID)
    assert kept(catalog, made) == Retention()


def test_rules_that_are_so_already_change_nothing(catalog: Catalog, made: Made) -> None:
    catalog.set_retention(TENANT, made.id, Retention(3, None), SAID)
    before = everything(catalog, made)
    assert not catalog.set_retention(TENANT, made.id, Retention(3, None), SAID)
    assert everything(catalog, made) == before


def test_rules_are_set_on_the_state_that_was_seen_or_not_at_all(catalog: Catalog, made: Made) -> None:
    seen = version(catalog, made)
    assert catalog.set_retention(TENANT, made.id, Retention(3), SAID, expected=seen)
    before = everything(catalog, made)
    with pytest.raises(PreconditionFailed):
        catalog.set_retention(TENANT, made.id, Retention(4), SAID, expected=seen)
    with pytest.raises(PreconditionFailed):  # also where there would be nothing to change
        catalog.set_retention(TENANT, made.id, Retention(3), SAID, expected=seen)
    with pytest.raises(GenerationMismatch):
        old = Version(Point(Generation(1), made.commits[0].commit), None)
        catalog.set_retention(TENANT, made.id, Retention(4), SAID, expected=old)
    assert everything(catalog, made) == before
    assert kept(catalog, made) == Retention(3)
    assert catalog.set_retention(TENANT, made.id, Retention(4), SAID, expected=version(catalog, made))


def test_a_project_that_is_not_there_has_no_rules(catalog: Catalog, made: Made) -> None:
    for tenant, project in ((TENANT, NO_PROJECT), (OTHER_TENANT, made.id)):
        with pytest.raises(NotFound):
            catalog.set_retention(tenant, project, Retention(3), SAID)
    catalog.delete_project(TENANT, made.id, EVENT)
    count = len(all_events(catalog))
    with pytest.raises(NotFound):
        catalog.set_retention(TENANT, made.id, Retention(3), SAID)
    assert len(all_events(catalog)) == count


def test_of_writers_at_once_each_is_one_revision_and_one_event(catalog: Catalog, made: Made) -> None:
    before = version(catalog, made).revision or 0
    with ThreadPoolExecutor(4) as threads:
        done = list(
            threads.map(lambda number: catalog.set_retention(TENANT, made.id, Retention(number % 3), SAID), range(24))
        )
    assert version(catalog, made).revision == before + sum(done)
    assert sum(event.type == SAID.type for event in all_events(catalog)) == sum(done)


def test_of_writers_who_saw_the_same_one_comes_through(catalog: Catalog, made: Made) -> None:
    seen = version(catalog, made)

    def attempt(number: int) -> bool:
        try:
            return catalog.set_retention(TENANT, made.id, Retention(number), SAID, expected=seen)
        except PreconditionFailed:
            return False

    with ThreadPoolExecutor(4) as threads:
        assert sum(threads.map(attempt, range(1, 9))) == 1
