"""A relay in a process of its own, which kills itself when Kafka has stored a batch and nobody has written it down."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence

from manifold_common.adapters.kafka.options import KafkaOptions
from manifold_common.adapters.kafka.publisher import KafkaPublisher
from manifold_common.adapters.postgres.catalog import PostgresCatalog
from manifold_common.adapters.system.clock import SystemClock, SystemRandomness
from manifold_common.ports.catalog import EventReport, SinkReport
from manifold_common.services.events.delivery_rules import RelayRules
from manifold_common.services.events.relay import Relay


class _Doomed(PostgresCatalog):
    """A catalog whose process dies when it is about to write down a report; the first ``spared`` are written."""

    spared = 0

    def report_events(
        self, sink: str, lease: str, reports: Sequence[EventReport], how: SinkReport | None = None
    ) -> int:
        if not self.spared:
            os.kill(os.getpid(), signal.SIGKILL)
        self.spared -= 1
        return super().report_events(sink, lease, reports, how)


def main(dsn: str, addr: str, topic: str, batch: str, spared: str) -> None:
    catalog = _Doomed(dsn, clock=SystemClock())
    catalog.spared = int(spared)
    relay = Relay(
        catalog,
        KafkaPublisher(KafkaOptions((addr,), topic, partitions=3)),
        clock=SystemClock(),
        randomness=SystemRandomness(),
        rules=RelayRules(events=int(batch)),
    )
    while True:
        relay.run_once()


if __name__ == "__main__":
    main(*sys.argv[1:])
