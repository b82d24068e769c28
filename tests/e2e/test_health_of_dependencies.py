"""How soon, and in what words, a running host says that something it depends on is away, and that it is back."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from tests.e2e.test_events import dependency, make_project, wait_until
from tests.support.host import MakeHost
from tests.support.kafka import running_kafka
from tests.support.redis import RedisServer
from tests.support.webhooks import SECRET, WebhookEndpoint, answering

WITHIN_SECONDS = 5.0
"""The time that one health check may take."""


def seen(client: httpx.Client, name: str, is_so: Callable[[dict[str, Any]], bool]) -> tuple[float, dict[str, Any]]:
    """Return after how many seconds ``/health`` says so of a dependency, and what it says."""
    started = time.monotonic()
    while not is_so(found := dependency(client, name)):
        assert time.monotonic() - started < 30
        time.sleep(0.02)
    return time.monotonic() - started, found


def is_in(state: str) -> Callable[[dict[str, Any]], bool]:
    return lambda found: bool(found["state"] == state)


def test_health_says_within_one_check_that_kafka_or_redis_is_away_each_by_itself(
    make_host: MakeHost, own_redis: RedisServer, kafka_topic: str
) -> None:
    with running_kafka() as broker:
        host = make_host(**{**broker.variables(kafka_topic), **own_redis.variables, "KAFKA_TIMEOUT_SECONDS": "1"})
        client = host.ready()
        first = {name: dependency(client, name) for name in ("kafka", "redis", "postgres")}
        assert {name: one["state"] for name, one in first.items()} == dict.fromkeys(first, "ok")

        broker.stop()
        took, kafka = seen(client, "kafka", is_in("degraded"))
        assert took < WITHIN_SECONDS, "nothing was sent: a look is enough"
        assert f"{broker.addr} cannot be connected to" in kafka["detail"]
        assert first["kafka"]["observed_at"] <= kafka["last_ok_at"] <= kafka["since"] <= kafka["observed_at"]
        assert dependency(client, "redis")["state"] == "ok"
        assert client.get("/readyz").status_code == 200

        own_redis.kill()
        took, redis = seen(client, "redis", is_in("degraded"))
        assert took < WITHIN_SECONDS
        assert "cannot be connected to" in redis["detail"]
        assert redis["last_ok_at"] < redis["since"]

        broker.start()
        own_redis.start()
        for name in ("kafka", "redis"):
            took, found = seen(client, name, is_in("ok"))
            assert took < WITHIN_SECONDS
            assert found["last_ok_at"] >= found["since"] > first[name]["since"]
        assert dependency(client, "postgres")["since"] == first["postgres"]["since"]


def test_a_delivery_that_fails_shows_at_once_with_the_receivers_name_and_nothing_of_its_url(
    make_host: MakeHost, webhook_endpoint: WebhookEndpoint
) -> None:
    host = make_host(WEBHOOKS_URLS=webhook_endpoint.url, WEBHOOKS_SECRET=SECRET)
    client = host.ready()
    name = next(one["name"] for one in client.get("/health").json()["dependencies"] if "webhook:" in one["name"])
    assert dependency(client, name) | {"latency_ms": 0} == {
        "name": name,
        "state": "ok",
        "latency_ms": 0,
        "last_ok_at": None,
        "since": None,
        "observed_at": None,
        "detail": "has taken no event yet",
        "without_it": "everything; its events are delivered later",
        "see": "docs/operations.md#kafka-and-events",
    }
    make_project(client, "one")
    wait_until(lambda: webhook_endpoint.taken)
    _, well = seen(client, name, lambda found: found["last_ok_at"] is not None)
    assert well["detail"].startswith("last took an event at ")

    webhook_endpoint.answer = answering(429, "Retry-After", "3600")
    make_project(client, "two")
    took, ill = seen(client, name, is_in("degraded"))
    assert took < WITHIN_SECONDS
    until = datetime.now(UTC) + timedelta(hours=1)
    assert f"the endpoint answered 429; left alone until {until:%Y-%m-%d}" in ill["detail"]
    assert ill["last_ok_at"] == well["last_ok_at"]
    assert client.get("/readyz").status_code == 200
    assert "hidden" not in client.get("/health").text + client.get("/").text
