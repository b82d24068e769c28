"""The catalog's outbox: events as they were written with the changes, and how far each sink has got with them.

A *sink* is a place that gets every event: a Kafka topic, a webhook. A *stream* is one project's events on their way to
one sink. Streams do not wait for each other; within one, events are delivered in the order of ``sequence``. Whoever
delivers *claims* streams first. A claim is a lease: it ends with its report or with its time, so a process that was
killed holds nothing up for long. A report under a lease that another one has taken over changes nothing.

How the sinks themselves do is in ``sinks``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from manifold_common.ids import Generation, ProjectId, TenantId, TenantProject
from manifold_common.ports.catalog.sinks import SinkReport


class OutboxEvent(NamedTuple):
    """A fact for the outside world, written in the transaction that made it true."""

    type: str
    """For instance ``manifold.project.commit``."""
    data: Mapping[str, Any]
    """JSON-serialisable."""


class OutboxRow(NamedTuple):
    """An event as it was written."""

    sequence: int
    tenant: TenantId
    project: ProjectId
    type: str
    generation: Generation
    data: Mapping[str, Any]
    created_at: datetime


@dataclass(frozen=True, slots=True)
class EventClaim:
    """A stream that is the caller's until its lease ends."""

    tenant: TenantId
    project: ProjectId
    rows: Sequence[OutboxRow]
    """The next ones, in order. Rarely empty: another has just delivered them. It has to be reported all the same."""
    refusals: int
    """How often the sink has refused the first of ``rows``."""
    failures: int = 0
    """How many attempts in a row have ended at the first of ``rows``, for whatever reason."""
    sink_failures: int = 0
    """How often in a row the sink has failed. With any, this is the one claim that tries whether it works again."""


@dataclass(frozen=True, slots=True)
class EventReport:
    """What became of a claim."""

    tenant: TenantId
    project: ProjectId
    delivered: int | None
    """Sequence of the last row that the sink has taken, and with it all before; ``None``: it took none."""
    error: str | None = None
    """Why it did not take the next one."""
    refused: bool = False
    """The next row itself was refused, or is to be treated so, which is counted."""
    retry_at: datetime | None = None
    """The stream rests until then."""
    park: bool = False
    """The stream stands still until an operator redrives it."""


@dataclass(frozen=True, slots=True)
class EventStream:
    """A stream that has something waiting, for operators."""

    sink: str
    tenant: TenantId
    project: ProjectId
    next_sequence: int
    """Of the first row that waits."""
    waiting: int
    """Rows that wait."""
    oldest_at: datetime
    """When the first of them was written."""
    refusals: int
    retry_at: datetime | None
    parked_at: datetime | None
    error: str | None
    """Why the last attempt failed."""


class Outbox(Protocol):
    def list_events(self, *, after: int = 0, project: TenantProject | None = None, limit: int = 100) -> list[OutboxRow]:
        """Return events of every tenant, delivered or not, by sequence, those after ``after``.

        Within a project the sequence is the order in which things happened. Across projects a transaction that was
        slow to finish may show up with a lower sequence than one seen before.
        """

    def recent_events(self, *, project: TenantProject | None = None, limit: int = 100) -> list[OutboxRow]:
        """Return the last events, delivered or not, by sequence."""

    def claim_events(
        self, sink: str, lease: str, *, seconds: float, streams: int = 100, events: int = 100
    ) -> list[EventClaim]:
        """Claim streams of ``sink`` that have events waiting, those that wait longest first.

        Left out are streams that are claimed, parked or at rest, and everything while the sink is parked or at rest.
        After a failure of the sink the first claim gets a single event, of the stream that has failed least often, and
        the others nothing until it is reported or has run out. A sink that is new gets what is not settled.

        Args:
            lease: an id of the caller's own, new for each call.
            seconds: until others may claim the same streams.
            streams, events: at most so many streams, and events of each.
        """

    def report_events(
        self, sink: str, lease: str, reports: Sequence[EventReport], how: SinkReport | None = None
    ) -> int:
        """Write down what became of claims and end them. Returns how many still were the caller's.

        After a report with progress refusals and failures count from 0. Failures of the sink that were under way at the
        same time count as one.

        Args:
            how: how the sink did; ``None``: nothing was learned of it.
        """

    def settle_events(self, sinks: Sequence[str]) -> int:
        """Note which events every one of ``sinks`` has taken; without sinks, all. Returns how many, of up to 10,000."""

    def prune_events(self, before: datetime) -> int:
        """Remove events that were settled before that time. Returns how many, of up to 10,000."""

    def event_streams(self, sinks: Sequence[str], *, limit: int = 1000) -> list[EventStream]:
        """Return the streams of ``sinks`` with something waiting: parked ones first, then by their oldest event."""

    def redrive_events(
        self, *, sink: str | None = None, project: TenantProject | None = None, skip: bool = False
    ) -> int:
        """Let streams that are parked or at rest go on at once. Returns how many.

        Args:
            sink, project: only these; default all.
            skip: parked streams only, and each without its first event, which that sink will never get.
        """
