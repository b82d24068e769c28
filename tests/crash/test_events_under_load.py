"""Kafka is away while clients of three nodes commit: they do not notice, and every event arrives when it is back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from manifold_common.domain.access import LOCAL_PRINCIPAL

from tests.support.enterprise import Enterprise
from tests.support.kafka import KafkaBroker
from tests.support.scene import ANYWHERE, SECONDS, MakeNodes, Scene, wait_for


@contextmanager
def away(broker: KafkaBroker) -> Iterator[None]:
    """Take the broker down. One that keeps nothing on a disk would come back empty: it is frozen instead."""
    if broker.forgets:
        with broker.frozen():
            yield
        return
    broker.stop()
    try:
        yield
    finally:
        broker.start()


def test_after_kafka_was_away_every_event_of_a_load_arrives_and_each_project_has_its_order(
    enterprise: Enterprise, make_nodes: MakeNodes, kafka_topic: str, seed: int
) -> None:
    broker = enterprise.kafka
    variables = {**broker.variables(kafka_topic), "KAFKA_TIMEOUT_SECONDS": "1"}
    scene = Scene(make_nodes(variables, variables, variables), [], ANYWHERE, seed)
    node = scene.nodes[0]
    with scene.load():
        with away(broker):
            ends_at = time.monotonic() + SECONDS
            while time.monotonic() < ends_at:
                scene.go_on()
            assert node.events.backlog().waiting, "somebody took the events"
        scene.go_on()
    counts = scene.check()
    wait_for(lambda: not node.events.backlog().waiting, lambda: str(node.events.streams()), seconds=120)

    made = node.history.log(LOCAL_PRINCIPAL, scene.project, limit=1000)
    commits = [(int(one.generation), one.id) for one in reversed(made)]
    events = [one for one in broker.events(kafka_topic) if one["partitionkey"] == scene.project]
    print(f"{len(events)} events of {len(commits)} commits, {counts['acknowledged']} acknowledged under load")
    seen = [(int(one["sequence"]), one["data"].get("commit_id")) for one in events]
    assert list(dict.fromkeys(seen)) == [(0, None), *commits], "the first time each came, they were in order"
