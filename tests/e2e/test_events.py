"""Events of a running host: to a real Kafka and to webhooks, through outages and restarts."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httpx

from tests.support.host import MakeHost
from tests.support.kafka import KafkaBroker, running_kafka
from tests.support.webhooks import SECRET, WebhookEndpoint

DEADLINE_SECONDS = 60.0


def wait_until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def make_project(client: httpx.Client, name: str) -> str:
    answer = client.post("/api/v1/projects", json={"name": name})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def put(client: httpx.Client, project: str, path: str) -> None:
    assert client.put(f"/api/v1/projects/{project}/files/{path}", content=b"x").status_code in (200, 201)


def dependency(client: httpx.Client, name: str) -> dict[str, Any]:
    found = {one["name"]: one for one in client.get("/health").json()["dependencies"]}
    one: dict[str, Any] = found[name]
    return one


def test_every_change_of_a_project_reaches_kafka_and_webhooks_in_order(
    make_host: MakeHost, kafka_broker: KafkaBroker, kafka_topic: str, webhook_endpoint: WebhookEndpoint
) -> None:
    webhooks = {"WEBHOOKS_URLS": webhook_endpoint.url, "WEBHOOKS_SECRET": SECRET}
    host = make_host(SERVER_PUBLIC_URL="https://m.example", **kafka_broker.variables(kafka_topic), **webhooks)
    client = host.ready()
    project = make_project(client, "demo")
    put(client, project, "a.txt")
    put(client, project, "b.txt")
    assert client.delete(f"/api/v1/projects/{project}/files/a.txt").status_code == 200
    assert client.post(f"/api/v1/projects/{project}/restore", json={"generation": 2}).status_code == 200
    assert client.patch(f"/api/v1/projects/{project}", json={"name": "other"}).status_code == 200
    fork = client.post(f"/api/v1/projects/{project}/fork", json={"name": "fork"}).json()["id"]
    assert client.delete(f"/api/v1/projects/{project}").status_code == 204
    wait_until(lambda: len(webhook_endpoint.events) == 9 and len(kafka_broker.records(kafka_topic)) == 9)

    in_kafka = kafka_broker.events(kafka_topic)
    assert sorted(in_kafka, key=str) == sorted(webhook_endpoint.events, key=str)
    seen = [(event["type"], int(event["sequence"])) for event in in_kafka if event["partitionkey"] == project]
    assert seen == [
        ("manifold.project.created", 0),
        ("manifold.project.commit", 1),
        ("manifold.project.commit", 2),
        ("manifold.project.commit", 3),
        ("manifold.project.commit", 4),
        ("manifold.project.renamed", 4),
        ("manifold.project.deleted", 4),
    ]
    forked = [(event["type"], int(event["sequence"])) for event in in_kafka if event["partitionkey"] == fork]
    assert forked == [("manifold.project.created", 0), ("manifold.project.commit", 1)]
    records = [record for record in kafka_broker.records(kafka_topic) if project.encode() in record.key]
    assert {record.key.decode().partition(":")[2] for record in records} == {project}
    assert dict(records[0].headers)["content-type"].startswith(b"application/cloudevents+json")
    commit = next(
        event["data"] for event in in_kafka if event["partitionkey"] == project and event["data"].get("commit_id")
    )
    assert commit["changed_paths"] is None, "with encryption on, no name of a file may appear"
    assert commit["changes_url"] == f"https://m.example/api/v1/projects/{project}/diff?before=0&after=1"
    assert b"a.txt" not in b"".join(record.value for record in records)
    assert dependency(client, "events")["state"] == "ok"
    code, out, err = host.stop()
    assert code == 0, err
    assert SECRET not in out + err


def test_what_was_committed_while_the_broker_was_away_is_delivered_in_order_when_it_is_back(
    make_host: MakeHost, kafka_topic: str
) -> None:
    with running_kafka() as broker:
        host = make_host(**{**broker.variables(kafka_topic), "KAFKA_TIMEOUT_SECONDS": "1"})
        client = host.ready()
        projects = [make_project(client, name) for name in ("one", "two")]
        wait_until(lambda: len(broker.records(kafka_topic)) == 2)
        broker.stop()
        for number in range(5):
            for project in projects:
                put(client, project, f"{number}.txt")
        wait_until(lambda: "kafka: " in dependency(client, "events")["detail"])
        broker.start()
        first = 1 if broker.forgets else 0
        wait_until(lambda: len({event["id"] for event in broker.events(kafka_topic)}) == 2 * (6 - first))
        for project in projects:
            seen = [int(e["sequence"]) for e in broker.events(kafka_topic) if e["partitionkey"] == project]
            assert list(dict.fromkeys(seen)) == list(range(first, 6)), "the first time each came, they were in order"
        code, _, err = host.stop()
        assert code == 0
        assert err.count("does not take events") == 1
        assert err.count("takes events again") == 1


def test_events_of_a_host_that_was_stopped_are_delivered_by_the_next(
    make_host: MakeHost, webhook_endpoint: WebhookEndpoint
) -> None:
    webhooks = {"WEBHOOKS_URLS": webhook_endpoint.url, "WEBHOOKS_SECRET": SECRET}
    webhook_endpoint.answer = lambda request, handler: 503
    host = make_host(**webhooks)
    client = host.ready()
    project = make_project(client, "demo")
    put(client, project, "a.txt")
    wait_until(lambda: webhook_endpoint.requests)
    assert host.stop()[0] == 0
    assert webhook_endpoint.taken == []
    webhook_endpoint.answer = lambda request, handler: 200
    host = make_host(**webhooks)
    host.ready()
    wait_until(lambda: len(webhook_endpoint.events) == 2)
    assert [int(event["sequence"]) for event in webhook_endpoint.events] == [0, 1]
    assert host.stop()[0] == 0
