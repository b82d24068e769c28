"""Events as operators see them: what happened, what waits for which sink, and what is to go on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from manifold_common.domain.event import SinkCondition
from manifold_common.errors import NotFound
from manifold_common.ids import TenantProject
from manifold_common.ports.catalog import EventStream, OutboxRow, SinkState
from manifold_common.services.context import Context
from manifold_common.services.events.relay import cloud_event
from manifold_common.shapes.delivery import Redriven, SinkStatus, WaitingStream

_LATE_SECONDS = 60.0
_LOOKED_AT = 1000


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits, in short."""

    waiting: int
    parked_streams: int
    """That wait for an operator, by themselves or because their sink is parked."""
    late: bool
    """The oldest has waited for more than a minute."""
    oldest_seconds: float
    """For how long; 0 when nothing waits."""
    trouble: str
    """A sink and its error, when the last attempt for a stream failed."""
    sinks: list[SinkStatus]
    """How each does."""


@dataclass(frozen=True, slots=True)
class WrittenEvent:
    """An event, delivered or not."""

    sequence: int
    document: Mapping[str, Any]
    """As it is sent: a CloudEvent."""


class Events:
    def __init__(self, context: Context, sinks: Sequence[str], *, kept_days: float, base_url: str) -> None:
        """
        Args:
            sinks: names of those that are configured.
            kept_days: how long events stay that every sink has.
            base_url: of this server, for links.
        """
        self._context = context
        self._kept = timedelta(days=kept_days)
        self._base_url = base_url
        self.sinks = tuple(sinks)

    def recent(self, project: TenantProject | None = None, *, limit: int = 20) -> list[WrittenEvent]:
        """Return the newest events, oldest first."""
        return [self._written(row) for row in self._context.catalog.recent_events(project=project, limit=limit)]

    def _written(self, row: OutboxRow) -> WrittenEvent:
        document = cloud_event(row, self._base_url).document()
        return WrittenEvent(row.sequence, document)

    def streams(self, sink: str | None = None, *, limit: int = 1000) -> list[WaitingStream]:
        """Return what waits for a sink, or for all: parked streams first, then by age. Raises NotFound: no such sink is
        configured."""
        sinks = self.sinks if sink is None else [self._known(sink)]
        return list(map(_waiting, self._context.catalog.event_streams(sinks, limit=limit)))

    def sink_status(self, sink: str | None = None) -> list[SinkStatus]:
        """Return how a sink does, or each. Raises NotFound: no such sink is configured."""
        now = self._context.clock.now()
        sinks = self.sinks if sink is None else [self._known(sink)]
        return [_status(state, state.condition(now)) for state in self._context.catalog.sink_states(sinks)]

    def backlog(self) -> Backlog:
        streams = self._context.catalog.event_streams(self.sinks, limit=_LOOKED_AT)
        sinks = self.sink_status()
        parked = {one.sink for one in sinks if one.state == "parked"}
        now = self._context.clock.now()
        oldest = max(((now - stream.oldest_at).total_seconds() for stream in streams), default=0.0)
        return Backlog(
            waiting=sum(stream.waiting for stream in streams),
            parked_streams=sum(stream.parked_at is not None or stream.sink in parked for stream in streams),
            trouble=next((f"{stream.sink}: {stream.error}" for stream in streams if stream.error), ""),
            late=oldest > _LATE_SECONDS,
            oldest_seconds=oldest,
            sinks=sinks,
        )

    def redrive(self, *, sink: str | None = None, project: TenantProject | None = None, skip: bool = False) -> Redriven:
        """Let parked and resting streams go on; with ``skip``, parked ones without the event they stand at.

        Sinks that are parked or rest go on as well, unless one project or its event is meant. Raises NotFound: no such
        sink is configured.
        """
        if sink is not None:
            self._known(sink)
        catalog = self._context.catalog
        sinks = catalog.redrive_sinks(sink) if project is None and not skip else 0
        streams = catalog.redrive_events(sink=sink, project=project, skip=skip)
        self._context.nudge.give()
        return Redriven(redriven=streams, redriven_sinks=sinks)

    def settle(self, *, stop: Callable[[], bool] = lambda: False) -> int:
        """Note which events all sinks have. Returns how many. ``stop`` is asked before each step."""
        return self._all_of(lambda: self._context.catalog.settle_events(self.sinks), stop)

    def prune(self, *, stop: Callable[[], bool] = lambda: False) -> int:
        """Remove events that all sinks have had for long enough. Returns how many."""
        before = self._context.clock.now() - self._kept
        return self._all_of(lambda: self._context.catalog.prune_events(before), stop)

    def _known(self, sink: str) -> str:
        if sink not in self.sinks:
            known = ", ".join(self.sinks) or "none is configured"
            raise NotFound(f"there is no sink {sink[:80]!r}", hint=f"the sinks are: {known}")
        return sink

    @staticmethod
    def _all_of(step: Callable[[], int], stop: Callable[[], bool]) -> int:
        total = 0
        while not stop() and (done := step()):
            total += done
        return total


def _waiting(stream: EventStream) -> WaitingStream:
    return WaitingStream(**asdict(stream))


def _status(state: SinkState, condition: SinkCondition) -> SinkStatus:
    return SinkStatus(**asdict(state), state=condition, detail=_told(state, condition))


def _told(state: SinkState, condition: SinkCondition) -> str:
    said = f"last took an event at {_at(state.ok_at)}" if state.ok_at is not None else "has taken no event yet"
    if condition in ("ok", "unused"):
        return said
    if condition == "parked":
        redrive = f"'manifold events redrive --sink {state.sink}'"
        return f"{state.error}; parked since {_at(state.parked_at)}: {redrive} tries it again; {said}"
    rest = f"left alone until {_at(state.retry_at)}" if condition == "resting" else "to be tried again"
    return f"{state.error}; {rest}, failing since {_at(state.since)}; {said}"


def _at(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC" if moment is not None else "-"
