"""Every promise of the EventFeed port, kept by each catalog."""

from __future__ import annotations

from datetime import timedelta

import pytest
from manifold_common.domain.event_place import BEGINNING, EventPlace, Followed
from manifold_common.errors import EventsGone
from manifold_common.ports.catalog import Catalog, EventReport, OutboxEvent

from tests.contract.catalog_fixtures import (
    LATER,
    NO_PROJECT,
    NOW,
    OTHER_TENANT,
    TENANT,
    Made,
    SettableClock,
    make_project,
)

ALL = Followed(TENANT, None)


def of(made: Made) -> Followed:
    return Followed(made.tenant, made.id)


def shown(catalog: Catalog, followed: Followed, after: EventPlace | None = None, limit: int = 100) -> list[int]:
    return [row.sequence for row in catalog.events_page(followed, after, limit=limit).rows]


def remove(catalog: Catalog, clock: SettableClock, sinks: tuple[str, ...] = ()) -> None:
    """Remove what is settled."""
    catalog.settle_events(sinks)
    catalog.prune_events(clock.time + timedelta(seconds=1))


def test_pages_lead_through_a_project_and_through_a_tenant_in_order(catalog: Catalog) -> None:
    one, two = make_project(catalog), make_project(catalog, "two")
    other = make_project(catalog, tenant=OTHER_TENANT)
    for made in (one, two, other, two, one):
        made.publish()
    everything = catalog.list_events()
    for followed, wanted in (
        (ALL, [row for row in everything if row.tenant == TENANT]),
        (of(one), [row for row in everything if row.project == one.id]),
        (of(other), [row for row in everything if row.tenant == OTHER_TENANT]),
    ):
        found, place = [], None
        while (page := catalog.events_page(followed, place, limit=2)).rows:
            assert len(page.rows) <= 2
            assert page.place == EventPlace.behind(page.rows[-1].sequence, page.rows[-1].created_at)
            found += page.rows
            place = page.place
        assert found == wanted
        assert page.place == place
        assert catalog.events_end(followed) == place
        assert catalog.newest_event(followed) == wanted[-1]


def test_a_project_is_followed_only_as_the_tenants_own(catalog: Catalog) -> None:
    made = make_project(catalog)
    assert shown(catalog, Followed(OTHER_TENANT, made.id)) == []
    assert shown(catalog, Followed(OTHER_TENANT, None)) == []
    assert catalog.newest_event(Followed(OTHER_TENANT, made.id)) is None


def test_what_nothing_has_happened_in_begins_at_the_beginning(catalog: Catalog) -> None:
    for followed in (ALL, Followed(TENANT, NO_PROJECT)):
        page = catalog.events_page(followed, None, limit=5)
        assert (list(page.rows), page.place) == ([], BEGINNING)
        assert catalog.events_end(followed) == BEGINNING
        assert shown(catalog, followed, BEGINNING) == []
    make_project(catalog)
    assert len(shown(catalog, ALL, BEGINNING)) == 1


def test_a_place_before_what_was_removed_is_gone_and_one_behind_it_goes_on(
    catalog: Catalog, clock: SettableClock
) -> None:
    made = make_project(catalog)
    made.publish(2)
    places = [EventPlace.behind(row.sequence, row.created_at) for row in catalog.list_events()]
    remove(catalog, clock)
    clock.time = LATER
    made.publish(2)
    new = [row.sequence for row in catalog.list_events()]
    for followed in (of(made), ALL):
        for gone in (BEGINNING, *places[:-1]):
            with pytest.raises(EventsGone):
                catalog.events_page(followed, gone, limit=5)
        assert shown(catalog, followed, places[-1]) == shown(catalog, followed) == new
    remove(catalog, clock)
    for followed in (of(made), ALL):
        with pytest.raises(EventsGone):
            catalog.events_page(followed, places[-1], limit=5)
        assert catalog.events_page(followed, None, limit=5).place == catalog.events_end(followed)
        assert catalog.events_end(followed) == EventPlace.behind(new[-1], NOW)


def test_what_is_removed_of_one_project_ends_nobodys_place_in_another(catalog: Catalog, clock: SettableClock) -> None:
    quiet, busy = make_project(catalog), make_project(catalog, "busy")
    other = make_project(catalog, tenant=OTHER_TENANT)
    place, others = catalog.events_end(of(quiet)), catalog.events_end(Followed(OTHER_TENANT, None))
    remove(catalog, clock)
    busy.publish(3)
    clock.time = LATER
    remove(catalog, clock)
    quiet.publish()
    other.publish()
    assert len(shown(catalog, of(quiet), place)) == 1
    assert len(shown(catalog, Followed(OTHER_TENANT, None), others)) == 1
    with pytest.raises(EventsGone):  # of the busy one
        catalog.events_page(ALL, place, limit=5)


def test_what_was_kept_longer_than_what_came_after_it_is_not_shown_as_if_all_were_there(
    catalog: Catalog, clock: SettableClock
) -> None:
    slow, fast = make_project(catalog), make_project(catalog, "fast")
    for claimed in catalog.claim_events("sink", "lease", seconds=30):
        taken = claimed.rows[-1].sequence if claimed.project == fast.id else None
        catalog.report_events("sink", "lease", [EventReport(claimed.tenant, claimed.project, taken)])
    remove(catalog, clock, ("sink",))
    assert len(shown(catalog, of(slow))) == 1
    begun = catalog.events_page(ALL, None, limit=5)
    assert list(begun.rows) == []
    assert catalog.events_end(ALL) == begun.place
    slow.publish()
    assert len(shown(catalog, ALL, begun.place)) == 1
    assert catalog.events_end(ALL).sequence > begun.place.sequence


def test_a_place_of_another_history_is_refused(catalog: Catalog) -> None:
    made, other = make_project(catalog), make_project(catalog, "other")
    end = catalog.events_end(of(made))
    assert shown(catalog, of(made), end) == []
    for followed, place in (
        (of(made), end._replace(written_at=end.written_at + 1)),
        (of(made), end._replace(sequence=end.sequence + 1000)),
        (of(made), catalog.events_end(of(other))),
        (ALL, end._replace(written_at=end.written_at + 1)),
    ):
        with pytest.raises(EventsGone):
            catalog.events_page(followed, place, limit=5)


def test_one_look_tells_for_whom_there_is_news(catalog: Catalog) -> None:
    one, two = make_project(catalog), make_project(catalog, "two")
    other = make_project(catalog, tenant=OTHER_TENANT)
    places = [
        (followed, catalog.events_end(followed).sequence)
        for followed in (of(one), of(two), ALL, of(other), Followed(OTHER_TENANT, None))
    ]
    assert catalog.with_news(places) == []
    assert catalog.with_news([]) == []
    two.publish()
    assert catalog.with_news(places) == [1, 2]
    other.publish()
    assert catalog.with_news(places) == [1, 2, 3, 4]
    assert catalog.with_news([(Followed(OTHER_TENANT, two.id), 0), (ALL, 0)]) == [1]


def test_the_deletion_is_a_projects_newest_event(catalog: Catalog) -> None:
    made = make_project(catalog)
    catalog.delete_project(TENANT, made.id, OutboxEvent("deleted", {"by": "ann"}))
    newest = catalog.newest_event(of(made))
    assert newest is not None and (newest.type, newest.data) == ("deleted", {"by": "ann"})
