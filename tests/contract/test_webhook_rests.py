"""A receiver of webhooks that wants to be left alone is left alone: by every project, relay and process."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler

import pytest
from manifold_common.adapters.memory.catalog import MemoryCatalog
from manifold_common.adapters.memory.event_publisher import MemoryPublisher
from manifold_common.adapters.system.clock import SystemClock, SystemRandomness
from manifold_common.adapters.webhook.publisher import WebhookPublisher
from manifold_common.domain.retry_after import seconds_asked
from manifold_common.ports.catalog import Catalog, EventClaim, EventReport, SinkReport
from manifold_common.ports.event_publisher import EventPublisher
from manifold_common.services.context import Nudge
from manifold_common.services.events.delivery_rules import RelayRules
from manifold_common.services.events.relay import Relay, drain
from manifold_local.host.relaying import Relaying

from tests.contract.catalog_fixtures import NOW, Made, SettableClock, make_project
from tests.support.webhooks import SECRET, Answer, Request, WebhookEndpoint, answering, running_endpoint

PROJECTS = 6


def relay_to(publisher: EventPublisher, catalog: Catalog, clock: SettableClock, **rules: int) -> Relay:
    return Relay(catalog, publisher, clock=clock, randomness=SystemRandomness(), rules=RelayRules(**rules))


def hook(endpoint: WebhookEndpoint, catalog: Catalog, clock: SettableClock, **rules: int) -> Relay:
    publisher = WebhookPublisher(endpoint.url, SECRET, timeout_seconds=2.0, clock=clock)
    return relay_to(publisher, catalog, clock, **rules)


def made_projects(catalog: Catalog, events: int = 3) -> list[Made]:
    made = [make_project(catalog, str(number)) for number in range(PROJECTS)]
    for project in made:
        project.publish(events - 1)
    return made


def pass_time(clock: SettableClock, relays: Sequence[Relay], *, seconds: float, step: float = 1.0) -> None:
    """Run every relay again and again, as a host does."""
    until = clock.time + timedelta(seconds=seconds)
    while clock.time < until:
        for relay in relays:
            relay.run_once()
        clock.time += timedelta(seconds=step)


def asking(status: int, retry_after: str) -> Answer:
    return answering(status, "Retry-After", retry_after)


def in_order(endpoint: WebhookEndpoint, made: Made) -> list[int]:
    """The generations that arrived of a project, without repetitions in a row."""
    found = [int(event["sequence"]) for event in endpoint.events if event["partitionkey"] == made.id]
    return [number for at, number in enumerate(found) if at == 0 or number != found[at - 1]]


@pytest.mark.parametrize("status", [429, 503, 413])
def test_a_receiver_that_asks_for_an_hour_gets_one_request_in_it_whatever_waits(
    catalog: Catalog, clock: SettableClock, webhook_endpoint: WebhookEndpoint, status: int
) -> None:
    made = made_projects(catalog)
    webhook_endpoint.answer = asking(status, "3600")
    relays = [hook(webhook_endpoint, catalog, clock) for _ in range(3)]
    pass_time(clock, relays, seconds=3600, step=20.0)
    assert len(webhook_endpoint.requests) == 1
    made[0].publish()
    webhook_endpoint.answer = lambda request, handler: 204
    pass_time(clock, relays, seconds=300, step=10.0)
    assert all(in_order(webhook_endpoint, one) == list(range(3 + (one is made[0]))) for one in made)


def test_a_date_to_come_back_at_is_kept_as_well(
    catalog: Catalog, clock: SettableClock, webhook_endpoint: WebhookEndpoint
) -> None:
    made_projects(catalog)
    until = NOW + timedelta(hours=2)
    webhook_endpoint.answer = asking(503, format_datetime(until.astimezone(UTC), usegmt=True))
    relays = [hook(webhook_endpoint, catalog, clock) for _ in range(2)]
    pass_time(clock, relays, seconds=7195, step=60.0)
    assert len(webhook_endpoint.requests) == 1
    clock.time = NOW + timedelta(hours=2, minutes=1)
    relays[0].run_once()
    assert len(webhook_endpoint.requests) == 2


def test_no_receiver_can_ask_for_more_than_a_day(
    catalog: Catalog, clock: SettableClock, webhook_endpoint: WebhookEndpoint
) -> None:
    made_projects(catalog)
    webhook_endpoint.answer = asking(429, "99999999999")
    relay = hook(webhook_endpoint, catalog, clock)
    relay.run_once()
    (state,) = catalog.sink_states([relay.sink])
    assert state.retry_at is not None
    assert timedelta(days=1) <= state.retry_at - NOW <= timedelta(days=1, seconds=30)


@pytest.mark.parametrize(("status", "most"), [(500, 145), (429, 145), (404, 30)])
def test_a_receiver_that_fails_without_a_word_is_asked_ever_more_rarely(
    catalog: Catalog, clock: SettableClock, webhook_endpoint: WebhookEndpoint, status: int, most: int
) -> None:
    made = made_projects(catalog)
    webhook_endpoint.answer = lambda request, handler: status
    relays = [hook(webhook_endpoint, catalog, clock) for _ in range(3)]
    pass_time(clock, relays, seconds=3600, step=5.0)
    assert 10 <= len(webhook_endpoint.requests) <= most
    (state,) = catalog.sink_states([relays[0].sink])
    assert (state.error, state.parked_at) == (f"the endpoint answered {status}", None)
    assert all(stream.parked_at is None for stream in catalog.event_streams([relays[0].sink]))
    webhook_endpoint.answer = lambda request, handler: 204
    pass_time(clock, relays, seconds=500, step=5.0)
    assert all(in_order(webhook_endpoint, one) == [0, 1, 2] for one in made)
    (state,) = catalog.sink_states([relays[0].sink])
    assert (state.failures, state.error, state.retry_at) == (0, None, None)


def test_a_receiver_that_is_gone_is_left_alone_until_an_operator_redrives_it(
    catalog: Catalog, clock: SettableClock, webhook_endpoint: WebhookEndpoint
) -> None:
    made = made_projects(catalog)
    webhook_endpoint.answer = lambda request, handler: 410
    relays = [hook(webhook_endpoint, catalog, clock) for _ in range(3)]
    pass_time(clock, relays, seconds=30 * 86400, step=86400.0)
    assert len(webhook_endpoint.requests) == 1
    (state,) = catalog.sink_states([relays[0].sink])
    assert state.parked_at == NOW
    assert state.error == "the endpoint answered 410: it was switched off"

    assert catalog.redrive_sinks(relays[0].sink) == 1
    pass_time(clock, relays, seconds=60, step=1.0)
    assert len(webhook_endpoint.requests) == 2, "it is still gone: one try, and no more"
    webhook_endpoint.answer = lambda request, handler: 204
    assert catalog.redrive_sinks() == 1
    pass_time(clock, relays, seconds=120, step=1.0)
    assert all(in_order(webhook_endpoint, one) == [0, 1, 2] for one in made)
    assert catalog.redrive_sinks() == 0


def test_one_receiver_that_wants_rest_keeps_no_other_sink_waiting(
    catalog: Catalog, clock: SettableClock, webhook_endpoint: WebhookEndpoint
) -> None:
    made = made_projects(catalog)
    webhook_endpoint.answer = asking(429, "3600")
    kafka = MemoryPublisher("kafka")
    with running_endpoint() as other:
        relays = [hook(webhook_endpoint, catalog, clock), hook(other, catalog, clock), relay_to(kafka, catalog, clock)]
        pass_time(clock, relays, seconds=5)
        made[0].publish()
        pass_time(clock, relays, seconds=5)
        assert len(webhook_endpoint.requests) == 1
        assert len(other.taken) == len(kafka.taken) == 3 * PROJECTS + 1


def test_a_rest_outlives_the_process_that_was_asked_for_it(
    catalog: Catalog, clock: SettableClock, webhook_endpoint: WebhookEndpoint
) -> None:
    """As containers of a function do: each a process of its own, that drains what waits and ends."""
    made = made_projects(catalog)
    webhook_endpoint.answer = asking(429, "3600")
    for _ in range(20):
        drain(hook(webhook_endpoint, catalog, clock), clock, stop=lambda: False)
        made[0].publish()
        clock.time += timedelta(minutes=1)
    assert len(webhook_endpoint.requests) == 1


@pytest.mark.parametrize("status", [500, 403])
def test_an_event_at_which_the_receiver_fails_again_and_again_stops_no_other_project_and_is_parked(
    catalog: Catalog, clock: SettableClock, webhook_endpoint: WebhookEndpoint, status: int
) -> None:
    made = made_projects(catalog)
    bad = made[0]

    def answer(request: Request, handler: BaseHTTPRequestHandler) -> int:
        event = request.event
        return status if (event["partitionkey"], int(event["sequence"])) == (bad.id, 1) else 204

    webhook_endpoint.answer = answer
    relays = [hook(webhook_endpoint, catalog, clock, max_refusals=5) for _ in range(2)]
    pass_time(clock, relays, seconds=60)
    assert in_order(webhook_endpoint, bad) == [0]
    assert all(in_order(webhook_endpoint, one) == [0, 1, 2] for one in made[1:])
    for _ in range(20):
        made[1].publish()
        pass_time(clock, relays, seconds=60, step=2.0)
    assert len(in_order(webhook_endpoint, made[1])) == 23
    assert [(s.project, s.waiting) for s in catalog.event_streams([relays[0].sink]) if s.parked_at] == [(bad.id, 2)]


def test_of_all_relays_one_tries_whether_a_sink_works_again(catalog: Catalog, clock: SettableClock) -> None:
    made_projects(catalog)
    failed = SinkReport(NOW, answered=False, error="away", retry_at=NOW + timedelta(seconds=5))
    claims = catalog.claim_events("hook", "first", seconds=30)
    catalog.report_events("hook", "first", [EventReport(c.tenant, c.project, None) for c in claims], failed)
    clock.time += timedelta(seconds=5)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda n: catalog.claim_events("hook", f"lease {n}", seconds=30), range(16)))
    (probe,) = [claims for claims in found if claims]
    assert [len(claim.rows) for claim in probe] == [1]
    assert probe[0].sink_failures == 1
    clock.time += timedelta(seconds=29)
    assert catalog.claim_events("hook", "late", seconds=30) == []
    clock.time += timedelta(seconds=1)
    assert len(catalog.claim_events("hook", "late", seconds=30)) == 1, "who tried was killed"


def test_what_was_sent_before_a_rest_was_asked_for_does_not_end_it(catalog: Catalog, clock: SettableClock) -> None:
    made_projects(catalog)
    one = catalog.claim_events("hook", "one", seconds=60, streams=2)
    two = catalog.claim_events("hook", "two", seconds=60, streams=2)
    until = NOW + timedelta(hours=1)

    def report(lease: str, claims: list[EventClaim], how: SinkReport) -> None:
        taken = None if how.error else 1
        reports = [EventReport(c.tenant, c.project, taken and c.rows[-1].sequence, error=how.error) for c in claims]
        assert catalog.report_events("hook", lease, reports, how) == 2

    clock.time += timedelta(seconds=1)
    report("one", one, SinkReport(NOW, answered=False, error="asked", retry_at=until))
    report("two", two, SinkReport(NOW, answered=True))
    (state,) = catalog.sink_states(["hook"])
    assert (state.failures, state.retry_at, state.error) == (1, until, "asked")
    assert (state.ok_at, state.failed_at, state.since) == (clock.time, clock.time, clock.time)
    assert catalog.claim_events("hook", "three", seconds=60) == []


def test_a_shorter_rest_never_replaces_a_longer_one(catalog: Catalog, clock: SettableClock) -> None:
    made_projects(catalog)
    catalog.claim_events("hook", "one", seconds=60, streams=1)
    for seconds in (3600, 1):
        until = NOW + timedelta(seconds=seconds)
        catalog.report_events("hook", "one", [], SinkReport(NOW, answered=False, error="no", retry_at=until))
    (state,) = catalog.sink_states(["hook"])
    assert (state.retry_at, state.failures) == (NOW + timedelta(hours=1), 1)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120), (" 0 ", 0), ("1.5", 1.5), ("86401", 86400),
        ("Sat, 01 Mar 2025 12:01:00 GMT", 60), ("Saturday, 01-Mar-25 12:01:00 GMT", 60),
        ("Sat Mar  1 12:01:00 2025", 60),
        ("Sat, 01 Mar 2025 11:00:00 GMT", 0), ("Sat, 01 Mar 2125 11:00:00 GMT", 86400),
        (None, None), ("", None), ("soon", None), ("-5", None), ("1e9", None), ("12 s", None),
        ("\u0661", None), ("9" * 5000, None), ("Sat, 99 Mar 2025 12:01:00 GMT", None),
    ],
)  # fmt: skip
def test_what_a_server_says_of_coming_back(header: str | None, seconds: float | None) -> None:
    assert seconds_asked(header, datetime(2025, 3, 1, 12, tzinfo=UTC)) == seconds


def test_a_host_sends_a_receiver_that_throttles_one_request(webhook_endpoint: WebhookEndpoint) -> None:
    """With the threads and the time of a real host, while work goes on."""
    clock, nudge = SystemClock(), Nudge()
    catalog = MemoryCatalog(clock=clock)
    made = made_projects(catalog)
    webhook_endpoint.answer = asking(429, "3600")
    publisher = WebhookPublisher(webhook_endpoint.url, SECRET, timeout_seconds=2.0, clock=clock)
    host = Relaying([Relay(catalog, publisher, clock=clock, randomness=SystemRandomness())], nudge)
    host.start()
    until = time.monotonic() + 2.0
    while time.monotonic() < until:
        made[0].publish()
        nudge.give()
        time.sleep(0.1)
    assert host.stop(10.0)
    assert len(webhook_endpoint.requests) == 1
