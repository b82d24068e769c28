"""What every catalog promises of sinks themselves. With relays and a real endpoint: test_webhook_rests."""

from __future__ import annotations

from datetime import timedelta

from manifold_common.ports.catalog import Catalog, EventClaim, EventReport, SinkReport, SinkState

from tests.contract.catalog_fixtures import NOW, SettableClock, make_project

KAFKA, HOOK = "kafka", "webhook:1"
REST = timedelta(minutes=5)


def claim(catalog: Catalog, sink: str = KAFKA) -> list[EventClaim]:
    return catalog.claim_events(sink, "a", seconds=30.0)


def fail(catalog: Catalog, sink: str = KAFKA, *, park: bool = False) -> None:
    claims = claim(catalog, sink)
    assert claims
    how = SinkReport(NOW, answered=False, error="away", retry_at=None if park else NOW + REST, park=park)
    catalog.report_events(sink, "a", [EventReport(one.tenant, one.project, None) for one in claims], how)


def conditions(catalog: Catalog) -> list[str]:
    return [state.condition(NOW) for state in catalog.sink_states([KAFKA, HOOK])]


def test_a_sink_that_nothing_was_sent_to_is_unused(catalog: Catalog) -> None:
    assert catalog.sink_states([HOOK, KAFKA]) == [SinkState(HOOK), SinkState(KAFKA)]
    assert conditions(catalog) == ["unused", "unused"]
    assert catalog.redrive_sinks() == 0


def test_a_sink_that_failed_rests_and_the_others_do_not(catalog: Catalog, clock: SettableClock) -> None:
    for number in range(2):
        make_project(catalog, str(number))
    fail(catalog)
    (state, _) = catalog.sink_states([KAFKA, HOOK])
    assert (state.failures, state.since, state.failed_at, state.retry_at) == (1, NOW, NOW, NOW + REST)
    assert (state.ok_at, state.error) == (None, "away")
    assert conditions(catalog) == ["resting", "unused"]
    assert claim(catalog) == []
    assert len(claim(catalog, HOOK)) == 2
    clock.time += REST
    assert [(len(one.rows), one.sink_failures) for one in claim(catalog)] == [(1, 1)], "one event tries it"


def test_a_redriven_sink_is_tried_at_once_whether_it_rests_or_is_parked(catalog: Catalog) -> None:
    make_project(catalog)
    for park in (False, True):
        fail(catalog, park=park)
        fail(catalog, HOOK, park=park)
        assert conditions(catalog) == (["parked"] * 2 if park else ["resting"] * 2)
        assert catalog.redrive_sinks(KAFKA) == 1
        assert catalog.redrive_sinks() == 2
        assert conditions(catalog) == ["failing"] * 2
