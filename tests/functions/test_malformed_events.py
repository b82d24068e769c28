"""Whatever stands in an event: what it asks for is done, or it is refused; it is never a bug that it meets."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from typing import Any

import pytest
from manifold_common.domain.access import LOCAL_PRINCIPAL

from functions.invocation.entry import InvocationError
from tests.support.functions import Function, sample

TRIES = 60
WEIRD: list[Any] = [
    None, 0, -1, 1.5, True, "", "x", [], [1], {}, {"a": {"b": []}}, "\udc80", "a" * 100_000, 2**70,
    "/api/v1/sessions/%00/checkout", "/api/v1/sessions/../plan",
]  # fmt: skip
Place = tuple[str | int, ...]


def places(event: Any, at: Place = ()) -> Iterator[Place]:
    items = event.items() if isinstance(event, dict) else enumerate(event) if isinstance(event, list) else ()
    for name, value in items:
        yield (*at, name)
        yield from places(value, (*at, name))


def changed(event: Any, place: Place, value: Any) -> Any:
    event = copy.deepcopy(event)
    at = event
    for name in place[:-1]:
        at = at[name]
    at[place[-1]] = value
    return event


def code_of(function: Function, name: str, event: Any) -> str:
    try:
        answer = function(name, event)
    except InvocationError as error:
        return type(error).__name__
    if "statusCode" in answer:
        return "internal" if '"code": "internal"' in answer["body"] else str(answer["statusCode"])
    return str(answer.get("error", {}).get("code", "ok"))


@pytest.mark.parametrize(
    ("name", "trigger"),
    [
        ("api", "http-get"), ("api", "http-post"), ("checkout", "http-plan"), ("commit", "http-publish"),
        ("checkout", "checkout-direct"), ("commit", "commit-direct"), ("fanout", "sqs-nudges"), ("fanout", "schedule"),
        ("maintenance", "kafka-commits"), ("maintenance", "schedule-notice"), ("maintenance", "maintenance-direct"),
        ("reencrypt", "reencrypt-direct"), ("reencrypt", "sqs-reencrypt"),
        ("maintenance", "sqs-maintenance"),
    ],
)  # fmt: skip
def test_no_event_is_answered_as_if_it_had_met_a_bug(function: Function, name: str, trigger: str) -> None:
    function.manifold.projects.create(LOCAL_PRINCIPAL, "demo")
    event, seed = sample(trigger), random.randrange(1 << 32)
    every = [(place, value) for place in places(event) for value in WEIRD]
    chosen = random.Random(seed).sample(every, min(TRIES, len(every)))
    bad = [
        (place, value) for place, value in chosen if code_of(function, name, changed(event, place, value)) == "internal"
    ]
    assert bad == [], f"seed {seed}"


@pytest.mark.parametrize("depth", [100, 2000, 100_000])
def test_an_event_that_is_nested_deeply_is_refused(function: Function, depth: int) -> None:
    body = '{"project": ' + "[" * depth + "]" * depth + "}"
    event = sample("http-plan", rawPath="/api/v1/sessions/agent-1/checkout", body=body)
    assert code_of(function, "checkout", event) == "400"
    assert code_of(function, "api", sample("http-post", body=body, isBase64Encoded=False)) == "400"


@pytest.mark.parametrize(
    ("trigger", "changes", "field"),
    [
        ("http-get", {"version": "1.0"}, "version"),
        ("http-get", {"headers": ["a"]}, "headers"),
        ("http-get", {"rawPath": 7}, "rawPath"),
        ("http-get", {"requestContext": {"http": "GET"}}, "requestContext.http"),
        ("http-post", {"body": "no base64"}, "body"),
    ],
)
def test_an_http_event_of_another_shape_is_refused_with_the_name_of_the_field(
    function: Function, trigger: str, changes: dict[str, Any], field: str
) -> None:
    answer = function("api", sample(trigger, **changes))
    assert answer["statusCode"] == 400
    assert f'"field": "{field}"' in answer["body"]
