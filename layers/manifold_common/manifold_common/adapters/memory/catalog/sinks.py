"""How each sink itself does. The outbox judges it along with a report."""

from __future__ import annotations

from collections.abc import Sequence

from manifold_common.adapters.memory.catalog.state import State
from manifold_common.ports.catalog import SinkState


class Sinks:
    state: State

    def sink_states(self, sinks: Sequence[str]) -> list[SinkState]:
        with self.state.lock:
            return [self.state.sink(sink).state for sink in sinks]

    def redrive_sinks(self, sink: str | None = None) -> int:
        with self.state.lock:
            return sum(found.redrive() for name, found in self.state.sinks.items() if sink in (None, name))
