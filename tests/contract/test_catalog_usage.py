"""What every catalog promises of what projects take in the store."""

from __future__ import annotations

from datetime import datetime

import pytest
from manifold_common.domain.garbage import Cause, Garbage, Kept, StoredUsage
from manifold_common.ids import Generation
from manifold_common.ports.catalog import Catalog, Moment, UsageRow, UsageSum, Waiting

from tests.contract.catalog_fixtures import (
    EVENT,
    NO_PROJECT,
    OTHER_TENANT,
    OTHER_USER,
    TENANT,
    USER,
    Made,
    make_project,
)

ONE = StoredUsage(Kept(1, 10), Kept(2, 200), Kept(3, 3000))
TWO = StoredUsage(Kept(10, 1), Kept(20, 2), Kept(30, 3 << 40))
BOTH = StoredUsage(Kept(11, 11), Kept(22, 202), Kept(33, 3000 + (3 << 40)))
NOTHING = StoredUsage()


@pytest.fixture
def made(catalog: Catalog) -> Made:
    return make_project(catalog)


def note(catalog: Catalog, made: Made, stored: StoredUsage, generation: int = 7) -> datetime:
    at = catalog.note_usage(made.tenant, [(made.id, Generation(generation), stored)])
    assert at is not None
    return at


def condemn(catalog: Catalog, made: Made, *sizes: int, settled: bool = True) -> None:
    found = [Garbage(f"packs/{number}", size, Cause.ORPHAN) for number, size in enumerate(sizes)]
    epochs = catalog.suspect(made.tenant, [made.id], [(made.id, one) for one in found])
    if settled:
        moment = Moment(epochs[made.id], catalog.holdings(made.tenant, made.id).removals)
        named = [(made.id, one.object) for one in found]
        assert catalog.settle(made.tenant, {made.id: moment}, [], named)


def test_what_was_measured_is_noted_in_place_of_what_was_there(catalog: Catalog, made: Made) -> None:
    assert catalog.usage_of(TENANT, [made.id]) == []
    first = note(catalog, made, ONE)
    assert catalog.usage_of(TENANT, [made.id]) == [UsageRow(made.id, Generation(7), ONE, first)]
    last = note(catalog, made, TWO, 8)
    assert catalog.usage_of(TENANT, [made.id]) == [UsageRow(made.id, Generation(8), TWO, last)]
    assert last >= first and last.tzinfo is not None


def test_several_are_noted_at_once_and_those_that_never_were_are_left_out(catalog: Catalog, made: Made) -> None:
    other = make_project(catalog, "other")
    zero = Generation(0)
    at = catalog.note_usage(TENANT, [(made.id, zero, ONE), (NO_PROJECT, zero, ONE), (other.id, zero, TWO)])
    found = catalog.usage_of(TENANT, [other.id, made.id, NO_PROJECT])
    assert [(row.project, row.stored, row.measured_at) for row in found] == sorted(
        [(made.id, ONE, at), (other.id, TWO, at)]
    )
    assert catalog.note_usage(TENANT, [(NO_PROJECT, zero, ONE)]) is None
    assert catalog.note_usage(TENANT, []) is None


def test_nothing_is_told_of_other_tenants(catalog: Catalog, made: Made) -> None:
    note(catalog, made, ONE)
    condemn(catalog, made, 5)
    assert catalog.note_usage(OTHER_TENANT, [(made.id, Generation(0), TWO)]) is None
    assert catalog.usage_of(OTHER_TENANT, [made.id]) == []
    assert catalog.usage_sum(OTHER_TENANT) == UsageSum(0, 0, 0, NOTHING, 0, 0, None)
    assert catalog.usage_of(TENANT, [made.id])[0].stored == ONE


def test_sums_are_of_one_owner_or_of_all(catalog: Catalog, made: Made) -> None:
    theirs = make_project(catalog, "theirs", owner=OTHER_USER)
    make_project(catalog, "never measured")
    first = note(catalog, made, ONE)
    second = note(catalog, theirs, TWO)
    condemn(catalog, made, 5, 7)
    condemn(catalog, theirs, 1)
    assert catalog.usage_sum(TENANT, USER) == UsageSum(2, 0, 1, ONE, 2, 12, first)
    assert catalog.usage_sum(TENANT, OTHER_USER) == UsageSum(1, 0, 0, TWO, 1, 1, second)
    assert catalog.usage_sum(TENANT) == UsageSum(3, 0, 1, BOTH, 3, 13, first)


def test_a_deleted_project_counts_for_as_long_as_it_has_something_stored(catalog: Catalog, made: Made) -> None:
    at = note(catalog, made, ONE)
    catalog.delete_project(TENANT, made.id, EVENT)
    assert catalog.usage_sum(TENANT, USER) == UsageSum(0, 1, 0, ONE, 0, 0, at)
    at = note(catalog, made, NOTHING)
    assert catalog.usage_sum(TENANT, USER) == UsageSum(0, 0, 0, NOTHING, 0, 0, at)


def test_what_waits_is_what_is_condemned_and_not_what_is_suspected(catalog: Catalog, made: Made) -> None:
    assert catalog.garbage_waiting() == Waiting(0, 0)
    condemn(catalog, made, 3, 4, settled=False)
    assert catalog.garbage_waiting() == Waiting(0, 0)
    assert catalog.usage_sum(TENANT).condemned_objects == 0
    assert catalog.garbage_of(TENANT, [made.id]) == []
    condemn(catalog, made, 3, 4)
    other = make_project(catalog, "other", tenant=OTHER_TENANT)
    condemn(catalog, other, 10)
    assert catalog.garbage_waiting() == Waiting(3, 17)
    assert sorted(one.bytes for one in catalog.condemned_objects(-60)) == [3, 4, 10]
    catalog.forget_condemned(catalog.condemned_objects(-60))
    assert catalog.garbage_waiting() == Waiting(0, 0)
