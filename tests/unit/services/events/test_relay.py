"""The relay: what it promises whatever the sink, the catalog and other relays do."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from datetime import timedelta

import pytest
from manifold_common.adapters.memory.catalog import MemoryCatalog
from manifold_common.adapters.memory.event_publisher import MemoryPublisher
from manifold_common.adapters.system.clock import SystemRandomness
from manifold_common.domain.event import PROJECT_COMMIT, CloudEvent
from manifold_common.errors import CatalogUnavailable
from manifold_common.ports.catalog import EventReport, OutboxEvent, SinkReport
from manifold_common.ports.event_publisher import Delivery, Outcome
from manifold_common.services.events.delivery_rules import RelayRules
from manifold_common.services.events.relay import Pass, Relay, cloud_event

from tests.contract.catalog_fixtures import NOW, Made, SettableClock, make_project

TAKEN = Outcome(Delivery.TAKEN)
FAILED = Outcome(Delivery.FAILED, "away")
REFUSED = Outcome(Delivery.REFUSED, "too large")
MINUTE = timedelta(minutes=1)


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock()


@pytest.fixture
def catalog(clock: SettableClock) -> MemoryCatalog:
    return MemoryCatalog(clock=clock)


def relay_to(publisher: MemoryPublisher, catalog: MemoryCatalog, clock: SettableClock, **rules: int) -> Relay:
    return Relay(
        catalog, publisher, clock=clock, randomness=SystemRandomness(), rules=RelayRules(**rules), base_url="http://m"
    )


def run_out(relay: Relay) -> list[Pass]:
    """Run passes until one has nothing more to do."""
    passes = [relay.run_once()]
    while passes[-1].more:
        passes.append(relay.run_once())
    return passes


def generations(publisher: MemoryPublisher, made: Made) -> list[int]:
    return [event.generation for event in publisher.taken if event.project == made.id]


def judging(made: Made, generation: int, outcome: Outcome) -> Callable[[CloudEvent], Outcome]:
    """Return a judge that has ``outcome`` for one event and takes all others."""
    return lambda event: outcome if (event.project, event.generation) == (made.id, generation) else TAKEN


def test_every_event_arrives_once_and_in_order_however_small_the_batches(
    catalog: MemoryCatalog, clock: SettableClock
) -> None:
    made = [make_project(catalog, str(number)) for number in range(5)]
    for _ in range(12):
        for project in made:
            project.publish()
    publisher = MemoryPublisher()
    run_out(relay_to(publisher, catalog, clock, streams=2, events=5))
    for project in made:
        assert generations(publisher, project) == list(range(13))
    assert catalog.event_streams([publisher.name]) == []
    assert len({event.id for event in publisher.taken}) == 5 * 13


def test_an_event_is_a_cloud_event_with_a_link_to_what_changed(catalog: MemoryCatalog, clock: SettableClock) -> None:
    made = make_project(catalog)
    made.publish(event=OutboxEvent(PROJECT_COMMIT, {"changed_count": 3}))
    row = catalog.recent_events(limit=1)[0]
    document = cloud_event(row, "http://m/").document()
    assert document == {
        "specversion": "1.0",
        "id": "2-20250301T120000123456",
        "source": f"/tenants/acme/projects/{made.id}",
        "type": "manifold.project.commit",
        "time": "2025-03-01T12:00:00.123456+00:00",
        "datacontenttype": "application/json",
        "dataschema": "urn:manifold:event:project.commit:1",
        "partitionkey": made.id,
        "sequence": "000000000001",
        "data": {
            "changed_count": 3,
            "changes_url": f"http://m/api/v1/projects/{made.id}/diff?before=0&after=1",
        },
    }


def test_a_report_that_is_lost_makes_duplicates_but_loses_nothing(
    catalog: MemoryCatalog, clock: SettableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_project(catalog)
    made.publish(4)
    publisher = MemoryPublisher()
    relay = relay_to(publisher, catalog, clock, events=3)

    def lost(sink: str, lease: str, reports: Sequence[EventReport], how: SinkReport) -> int:
        raise CatalogUnavailable("the answer was lost")

    with monkeypatch.context() as patched:
        patched.setattr(catalog, "report_events", lost)
        with pytest.raises(CatalogUnavailable):
            relay.run_once()
    assert run_out(relay) == [Pass(0, failed=False, more=False)], "it must wait for its own claim to run out"
    clock.time = NOW + timedelta(seconds=relay.lease_seconds)
    run_out(relay)
    assert generations(publisher, made) == [0, 1, 2, 0, 1, 2, 3, 4]


def test_a_sink_that_is_away_costs_nothing_but_time(
    catalog: MemoryCatalog, clock: SettableClock, caplog: pytest.LogCaptureFixture
) -> None:
    made = make_project(catalog)
    made.publish(3)
    publisher = MemoryPublisher(judge=lambda event: FAILED)
    relay = relay_to(publisher, catalog, clock, max_refusals=2)
    with caplog.at_level(logging.INFO):
        pauses = []
        for turn in range(1, 13):
            done = relay.run_once()
            assert (done.taken, done.failed, done.more) == (0, True, False)
            pauses.append(relay.pause_seconds())
            clock.time = NOW + turn * MINUTE
        assert 0 < pauses[0] < 1
        assert 15 <= max(pauses) <= 45
        assert catalog.event_streams([publisher.name])[0].error == "away"
        assert catalog.event_streams([publisher.name])[0].parked_at is None
        publisher.judge = lambda event: TAKEN
        run_out(relay)
    assert generations(publisher, made) == [0, 1, 2, 3]
    assert relay.pause_seconds() == 0
    assert [record.message for record in caplog.records if record.name.startswith("manifold")] == [
        "memory does not take events; they wait: away",
        "memory takes events again",
    ]


def test_a_poison_event_is_parked_after_its_refusals_and_goes_on_when_redriven(
    catalog: MemoryCatalog, clock: SettableClock, caplog: pytest.LogCaptureFixture
) -> None:
    made, other = make_project(catalog), make_project(catalog, "other")
    made.publish(3)
    publisher = MemoryPublisher(judge=judging(made, 2, REFUSED))
    relay = relay_to(publisher, catalog, clock, max_refusals=3)
    for turn in range(1, 6):
        run_out(relay)
        clock.time = NOW + turn * MINUTE
    other.publish()
    run_out(relay)
    assert generations(publisher, made) == [0, 1], "nothing may overtake the one that was refused"
    assert generations(publisher, other) == [0, 1]
    (stream,) = catalog.event_streams([publisher.name])
    assert (stream.project, stream.refusals, stream.error, stream.waiting) == (made.id, 3, "too large", 2)
    assert stream.parked_at == NOW + 2 * MINUTE
    assert [record.levelno for record in caplog.records] == [logging.ERROR]

    publisher.judge = lambda event: TAKEN
    assert catalog.redrive_events() == 1
    run_out(relay)
    assert generations(publisher, made) == [0, 1, 2, 3]


def test_an_event_that_fails_again_and_again_does_not_keep_other_projects_waiting(
    catalog: MemoryCatalog, clock: SettableClock
) -> None:
    bad = make_project(catalog, "bad")
    good = [make_project(catalog, str(number)) for number in range(4)]
    publisher = MemoryPublisher(judge=judging(bad, 0, FAILED))
    relay = relay_to(publisher, catalog, clock, streams=1)
    for _ in range(12):
        relay.run_once()
        clock.time += timedelta(seconds=1)
    assert all(generations(publisher, project) == [0] for project in good)
    assert [stream.project for stream in catalog.event_streams([publisher.name])] == [bad.id]


def test_what_was_not_sent_for_want_of_time_is_neither_a_failure_nor_rested(
    catalog: MemoryCatalog, clock: SettableClock
) -> None:
    made = make_project(catalog)
    publisher = MemoryPublisher()
    assert relay_to(publisher, catalog, clock, publish_seconds=0).run_once() == Pass(0, failed=False, more=False)
    (stream,) = catalog.event_streams([publisher.name])
    assert (stream.refusals, stream.retry_at, stream.error) == (0, None, None)
    run_out(relay_to(publisher, catalog, clock))
    assert generations(publisher, made) == [0]


def test_a_publisher_with_a_bug_ends_its_claims_all_the_same(
    catalog: MemoryCatalog, clock: SettableClock, caplog: pytest.LogCaptureFixture
) -> None:
    made = make_project(catalog)

    def explode(event: CloudEvent) -> Outcome:
        raise RuntimeError("a bug")

    publisher = MemoryPublisher(judge=explode)
    relay = relay_to(publisher, catalog, clock)
    assert relay.run_once().failed
    assert catalog.event_streams([publisher.name])[0].error == "unforeseen RuntimeError"
    assert "unforeseen" in caplog.text
    publisher.judge = lambda event: TAKEN
    clock.time = NOW + MINUTE
    run_out(relay)
    assert generations(publisher, made) == [0]


def test_relays_at_work_at_once_keep_each_projects_order(catalog: MemoryCatalog, clock: SettableClock) -> None:
    made = [make_project(catalog, str(number)) for number in range(6)]
    taken: list[CloudEvent] = []
    rounds = threading.Barrier(3, timeout=30)
    stop = threading.Event()

    def judge(event: CloudEvent) -> Outcome:
        taken.append(event)
        return TAKEN

    def work() -> None:
        relay = relay_to(MemoryPublisher(judge=judge), catalog, clock, streams=2, events=3)
        rounds.wait()
        while not stop.is_set() or catalog.event_streams(["memory"]):
            relay.run_once()

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    rounds.wait()
    for _ in range(30):
        for project in made:
            project.publish()
    stop.set()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    for project in made:
        assert [event.generation for event in taken if event.project == project.id] == list(range(31))


def test_a_claim_outlasts_all_the_sending_that_it_is_for(catalog: MemoryCatalog, clock: SettableClock) -> None:
    publisher = MemoryPublisher()
    publisher.timeout_seconds = 7.0
    made = make_project(catalog)
    relay = relay_to(publisher, catalog, clock, publish_seconds=5)
    assert relay.lease_seconds > 5 + 7.0
    leases = []

    def judge(event: CloudEvent) -> Outcome:
        clock.time = NOW + timedelta(seconds=12)  # as long as the sending can take
        leases.append(catalog.claim_events(publisher.name, "thief", seconds=1))
        return TAKEN

    publisher.judge = judge
    run_out(relay)
    assert leases == [[]]
    assert generations(publisher, made) == [0]
