"""A relay that is killed between sending and writing it down: events come twice, and none is missing."""

from __future__ import annotations

import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

from manifold_common.adapters.kafka.publisher import KafkaPublisher
from manifold_common.adapters.postgres.catalog import PostgresCatalog
from manifold_common.adapters.system.clock import SystemClock, SystemRandomness
from manifold_common.services.events.relay import Relay

from tests.contract.catalog_fixtures import SettableClock, make_project
from tests.support.kafka import KafkaBroker

ROOT = Path(__file__).parents[2]
PROJECTS, COMMITS, BATCH = 3, 9, 4


def test_events_that_were_sent_but_not_written_down_come_again_and_none_is_missing(
    postgres_dsn: str, kafka_broker: KafkaBroker, kafka_topic: str
) -> None:
    clock = SettableClock(SystemClock().now())
    catalog = PostgresCatalog(postgres_dsn, clock=clock)
    try:
        made = [make_project(catalog, str(number)) for number in range(PROJECTS)]
        for _ in range(COMMITS):
            for project in made:
                project.publish()
        victim = subprocess.run(
            [
                sys.executable,
                "-m",
                "tests.crash.relay_victim",
                postgres_dsn,
                kafka_broker.addr,
                kafka_topic,
                f"{BATCH}",
                "1",
            ],
            cwd=ROOT,
            capture_output=True,
            timeout=60,
        )
        assert victim.returncode == -signal.SIGKILL, victim.stderr
        waiting = sum(stream.waiting for stream in catalog.event_streams(["kafka"]))
        assert waiting == PROJECTS * (COMMITS + 1 - BATCH), "one batch was written down, and one was only sent"

        publisher = KafkaPublisher(kafka_broker.options(kafka_topic))
        relay = Relay(catalog, publisher, clock=clock, randomness=SystemRandomness())
        assert relay.run_once().taken == 0, "the claims of the dead are not taken over before their time"
        clock.time += timedelta(minutes=5)
        while relay.run_once().more:
            pass
        relay.close()

        documents = kafka_broker.events(kafka_topic)
        for project in made:
            seen = [int(one["sequence"]) for one in documents if one["partitionkey"] == project.id]
            twice = list(range(BATCH, 2 * BATCH))
            assert seen == [*range(2 * BATCH), *twice, *range(2 * BATCH, COMMITS + 1)]
        sent_twice = len(documents) - len({one["id"] for one in documents})
        assert sent_twice == PROJECTS * BATCH
        assert catalog.event_streams(["kafka"]) == []
    finally:
        catalog.close()
