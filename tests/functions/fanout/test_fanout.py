"""The fanout function: what waits is delivered, whoever wakes it."""

from __future__ import annotations

from typing import Any

import pytest
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.errors import CatalogUnavailable

from functions.invocation.entry import InvocationError
from tests.support.functions import FakeContext, Function, MakeFunction, metrics_of, sample
from tests.support.webhooks import SECRET, WebhookEndpoint


@pytest.fixture
def function(make_function: MakeFunction, webhook_endpoint: WebhookEndpoint) -> Function:
    made = make_function(WEBHOOKS_URLS=webhook_endpoint.url, WEBHOOKS_SECRET=SECRET)
    made.manifold.projects.create(LOCAL_PRINCIPAL, "first")
    made.manifold.projects.create(LOCAL_PRINCIPAL, "second")
    return made


@pytest.mark.parametrize("event", ["fanout-direct", "schedule", "schedule-notice", "sqs-nudges"])
def test_each_trigger_delivers_what_waits(
    function: Function, webhook_endpoint: WebhookEndpoint, event: str, capsys: Any
) -> None:
    answer = function("fanout", sample(event))
    assert [one["type"] for one in webhook_endpoint.events] == ["manifold.project.created"] * 2
    measured = metrics_of(capsys.readouterr().out)
    assert (measured["events.relayed"], measured["events.waiting"], measured["events.oldest.age"]) == (2, 0, 0)
    if event == "sqs-nudges":
        assert answer == {"batchItemFailures": []}
    else:
        (sink,) = answer["sinks"].values()
        assert sink == {"taken": 2, "failed": False, "stopped": False, "state": "ok"}
    function("fanout", sample(event))
    assert len(webhook_endpoint.events) == 2, "delivered once"


def test_no_event_is_dropped_for_what_another_function_knows_of_the_sinks(
    function: Function, make_function: MakeFunction, webhook_endpoint: WebhookEndpoint
) -> None:
    make_function(DATABASE_URL=function.variables["DATABASE_URL"])("maintenance", sample("schedule"))
    function("fanout", sample("sqs-nudges"))
    of_projects = [event for event in webhook_endpoint.events if event["type"].startswith("manifold.project.")]
    assert len(of_projects) == 2  # beside those of the job that the schedule has started
    assert function("fanout", sample("schedule"))["settled"] == len(webhook_endpoint.events)
    assert function("fanout", sample("schedule"))["settled"] == 0


def test_a_malformed_nudge_fails_alone(function: Function, webhook_endpoint: WebhookEndpoint) -> None:
    batch = sample("sqs-nudges")
    batch["Records"][0]["body"] = '{"nudge": 2}'
    answer = function("fanout", batch)
    assert answer == {"batchItemFailures": [{"itemIdentifier": batch["Records"][0]["messageId"]}]}
    assert len(webhook_endpoint.events) == 2


@pytest.mark.parametrize("body", ["", "{", "[]", "null", '{"nudge": 1, "more": 1}'])
def test_a_batch_of_nothing_but_malformed_nudges_fails_as_a_whole(function: Function, body: str) -> None:
    batch = sample("sqs-nudges")
    for record in batch["Records"]:
        record["body"] = body
    assert len(function("fanout", batch)["batchItemFailures"]) == 2


def test_nudges_come_again_when_nobody_could_look(function: Function, monkeypatch: pytest.MonkeyPatch) -> None:
    catalog = function.manifold.context.catalog

    def away(*_: object, **__: object) -> None:
        raise CatalogUnavailable("the database is away")

    monkeypatch.setattr(type(catalog), "claim_events", away)
    assert len(function("fanout", sample("sqs-nudges"))["batchItemFailures"]) == 2
    with pytest.raises(InvocationError) as caught:
        function("fanout", sample("fanout-direct"))
    assert type(caught.value).__name__ == "catalog_unavailable"


def test_a_sink_that_is_away_holds_nothing_back(
    function: Function, webhook_endpoint: WebhookEndpoint, capsys: Any
) -> None:
    webhook_endpoint.answer = lambda request, handler: 503
    assert function("fanout", sample("sqs-nudges")) == {"batchItemFailures": []}, "the outbox keeps them, not the queue"
    measured = metrics_of(capsys.readouterr().out)
    assert measured["events.waiting"] == 2 and measured["events.oldest.age"] > 0
    assert measured["events.failed_sinks"] == 1


def test_a_sink_that_is_away_fails_the_sweep(function: Function, webhook_endpoint: WebhookEndpoint) -> None:
    webhook_endpoint.answer = lambda request, handler: 503
    with pytest.raises(InvocationError) as caught:
        function("fanout", sample("schedule"))
    assert type(caught.value).__name__ == "partly_done"


def test_who_asks_is_told_which_sink_failed_and_how_much_waits(
    function: Function, webhook_endpoint: WebhookEndpoint
) -> None:
    webhook_endpoint.answer = lambda request, handler: 503
    details = function("fanout", {"errors": "return"})["error"]["details"]
    assert details["waiting"] == 2 and [sink["failed"] for sink in details["sinks"].values()] == [True]


def test_it_begins_nothing_when_half_of_its_time_is_over(
    function: Function, webhook_endpoint: WebhookEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = iter([30_000, 14_000, 1_000])
    monkeypatch.setattr(FakeContext, "get_remaining_time_in_millis", lambda self: next(left))
    (sink,) = function("fanout", {})["sinks"].values()
    assert sink == {"taken": 0, "failed": False, "stopped": True, "state": "unused"}
    assert webhook_endpoint.requests == []


@pytest.mark.parametrize(
    ("event", "field"),
    [
        ({"what": 1}, "what"),
        ([], ""),
        ("sweep", ""),
        (sample("kafka-commits"), "eventSource"),
        ({"Records": []}, "Records"),
        ({"Records": [{"eventSource": "aws:s3"}]}, "Records"),
    ],
)
def test_other_events_are_refused_with_the_name_of_the_field(
    make_function: MakeFunction, event: Any, field: str
) -> None:
    function = make_function()
    with pytest.raises(InvocationError) as caught:
        function("fanout", event)
    assert type(caught.value).__name__ == "malformed_event"
    assert f"{field or 'as a whole'}: " in str(caught.value)
