"""What every catalog promises of the installation that it is of."""

from __future__ import annotations

from dataclasses import replace

from manifold_common.ids import IncarnationId
from manifold_common.ports.catalog import Catalog

from tests.contract.catalog_fixtures import new_id

STORE = "s3://bucket"


def test_who_settles_is_the_original_from_then_on_in_the_database_where_it_is(catalog: Catalog) -> None:
    seen, mine = catalog.installation(), IncarnationId(new_id())
    assert catalog.settle_installation(seen.incarnation, incarnation=mine, store=STORE) is True
    settled = replace(seen, incarnation=mine, settled_on=seen.database, store=STORE)
    assert catalog.installation() == settled


def test_of_two_that_settle_what_both_have_seen_the_second_changes_nothing(catalog: Catalog) -> None:
    seen = catalog.installation()
    first, second = (IncarnationId(new_id()) for _ in range(2))
    assert catalog.settle_installation(seen.incarnation, incarnation=first, store=STORE) is True
    settled = catalog.installation()
    assert catalog.settle_installation(seen.incarnation, incarnation=second, store="elsewhere") is False
    assert catalog.installation() == settled
