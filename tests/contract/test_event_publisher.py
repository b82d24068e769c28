"""Every promise of the EventPublisher port, kept by each sink: a new one is found by itself."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import import_module

import pytest
from manifold_common.bootstrap.sinks import SINKS
from manifold_common.domain.event import PROJECT_COMMIT, CloudEvent
from manifold_common.ids import Generation, ProjectId, TenantId
from manifold_common.ports.event_publisher import Delivery

from tests.contract.sinks.sink import TOO_LARGE, Sink

TAKEN, REFUSED, FAILED, UNSENT = Delivery.TAKEN, Delivery.REFUSED, Delivery.FAILED, Delivery.UNSENT
NAMES = ["memory", *(module.rpartition(".")[2] for module in SINKS)]


def event(project: str, generation: int, tenant: str = "acme", size: int = 0) -> CloudEvent:
    data = {"n": generation, "text": "ä" * (size // 2)}
    now = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
    owner = TenantId(tenant), ProjectId(project)
    return CloudEvent(f"{project}-{generation}", PROJECT_COMMIT, *owner, Generation(generation), now, data)


@pytest.fixture(params=NAMES)
def sink(request: pytest.FixtureRequest) -> Iterator[Sink]:
    made: Sink = import_module(f"tests.contract.sinks.{request.param}").sink(request)
    yield made
    made.publisher.close()


def test_what_is_taken_arrives_whole_and_in_order_within_each_project(sink: Sink) -> None:
    events = [event(project, generation) for generation in range(1, 21) for project in ("one", "two", "three")]
    assert sink.publish(*events) == [TAKEN] * 60
    for project in ("one", "two", "three"):
        assert sink.generations(project) == list(range(1, 21))
    by_id = {document["id"]: document for document in sink.received()}
    assert by_id == {event.id: json.loads(json.dumps(event.document())) for event in events}


def test_projects_of_the_same_id_in_two_tenants_are_told_apart(sink: Sink) -> None:
    assert sink.publish(event("p", 1, "acme"), event("p", 1, "umbrella"), event("p", 2, "acme")) == [TAKEN] * 3
    assert sink.generations("p", "acme") == [1, 2]
    assert sink.generations("p", "umbrella") == [1]


def test_nothing_to_send_is_no_trouble(sink: Sink) -> None:
    assert sink.publish() == []


def test_a_refused_event_stops_its_project_and_no_other(sink: Sink) -> None:
    events = [event("a", 1), event("b", 1), event("a", 2, size=TOO_LARGE + 2000), event("b", 2), event("a", 3)]
    assert sink.publish(*events) == [TAKEN, TAKEN, REFUSED, TAKEN, UNSENT]
    assert sink.generations("a") == [1]
    assert sink.generations("b") == [1, 2]
    assert sink.publish(event("a", 4)) == [TAKEN]


def test_a_refusal_says_why_without_a_word_of_the_event(sink: Sink) -> None:
    (outcome,) = sink.publisher.publish([event("secretproject", 1, size=TOO_LARGE + 2000)], seconds=30)
    assert outcome.delivery is REFUSED
    assert outcome.reason
    assert len(outcome.reason) < 300
    assert "ä" not in outcome.reason


def test_a_sink_that_cannot_be_reached_fails_within_its_time_and_refuses_nothing(sink: Sink) -> None:
    dead = sink.dead()
    started = time.monotonic()
    outcomes = dead.publish([event("a", 1), event("a", 2)], seconds=5)
    assert time.monotonic() - started < dead.timeout_seconds + 5
    assert [outcome.delivery for outcome in outcomes] == [FAILED, UNSENT]
    assert outcomes[0].reason
    dead.close()


def test_nothing_is_sent_when_the_time_is_up(sink: Sink) -> None:
    assert sink.publish(event("a", 1), event("b", 1), seconds=0.0) == [UNSENT, UNSENT]
    assert sink.received() == []


def test_a_publisher_that_was_closed_connects_again(sink: Sink) -> None:
    assert sink.publish(event("a", 1)) == [TAKEN]
    sink.publisher.close()
    sink.publisher.close()
    assert sink.publish(event("a", 2)) == [TAKEN]
    assert sink.generations("a") == [1, 2]


def test_the_same_event_sent_again_has_the_same_id(sink: Sink) -> None:
    sink.publish(event("a", 1))
    sink.publish(event("a", 1))
    assert [document["id"] for document in sink.received()] == ["a-1", "a-1"]


def test_a_name_stays_the_same(sink: Sink) -> None:
    assert sink.publisher.name == sink.publisher.name
    assert sink.publisher.name.split(":")[0] in NAMES
