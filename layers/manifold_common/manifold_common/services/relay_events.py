"""Brings events from the outbox to a sink: at least once, none missing, in order within a project.

Order of effects: streams are claimed in the catalog, their events sent, and what became of them reported, which ends
the claim. Killed in between, the claim runs out and the events are sent again by whoever comes next. Any number of
relays may work for one sink at the same time: a stream is one relay's until its claim ends.

What does not arrive: a sink that fails is given rest, longer each time, and nothing is skipped. An event that a sink
*refuses* is sent again as well, and after some refusals its stream is parked: the events of that project wait, at that
sink, until an operator lets them go on (docs/events.md).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple

from manifold_common.domain.event import PROJECT_COMMIT, CloudEvent, diff_link
from manifold_common.domain.panic import panics_as_errors
from manifold_common.ids import encode_id
from manifold_common.ports.catalog import Catalog
from manifold_common.ports.clock import Clock, Randomness
from manifold_common.ports.event_publisher import Delivery, EventPublisher, Outcome
from manifold_common.ports.outbox import EventClaim, EventReport, OutboxRow

_log = logging.getLogger(__name__)

PUBLISH_SECONDS = 20.0
_LEASE_MARGIN_SECONDS = 10.0
_MAX_REASON = 500
_SHORT_REST = 3
"""Failures beyond these make no stream rest longer: what was down is found up again by the relay's own pauses."""


@dataclass(frozen=True, slots=True)
class RelayRules:
    max_refusals: int = 20
    """Refusals of an event after which its stream is parked."""
    publish_seconds: float = PUBLISH_SECONDS
    """Nothing is sent later than this after a claim."""
    streams: int = 100
    """Streams in one claim."""
    events: int = 100
    """Events of each."""
    pause_seconds: float = 0.5
    """Rest after the first failure; doubled with each that follows, give or take a half."""
    max_pause_seconds: float = 30.0


class Pass(NamedTuple):
    """What one round did."""

    taken: int
    """Events that the sink has taken."""
    failed: bool
    """The sink failed, and should be left alone for ``pause_seconds``."""
    more: bool
    """There may be more to do at once."""


class Relay:
    """Feeds one sink. Used by one thread at a time; several relays, in any processes, may feed the same sink."""

    def __init__(
        self,
        catalog: Catalog,
        publisher: EventPublisher,
        *,
        clock: Clock,
        randomness: Randomness,
        rules: RelayRules | None = None,
        base_url: str = "",
    ) -> None:
        self._catalog = catalog
        self._publisher = publisher
        self._clock = clock
        self._randomness = randomness
        self._rules = rules or RelayRules()
        self._base_url = base_url
        self._failures = 0

    @property
    def sink(self) -> str:
        return self._publisher.name

    def run_once(self) -> Pass:
        """Deliver a batch of what waits.

        Raises:
            CatalogUnavailable: nothing was claimed, or it is not known whether the report arrived. In either case the
                next passes go on where the reports end.
        """
        rules = self._rules
        lease = encode_id(self._randomness.token(16))
        claims = self._catalog.claim_events(
            self.sink, lease, seconds=self.lease_seconds, streams=rules.streams, events=rules.events
        )
        if not claims:
            return Pass(0, failed=False, more=False)
        events = [cloud_event(row, self._base_url) for claim in claims for row in claim.rows]
        outcomes = self._publish(events)
        taken = sum(outcome.delivery is Delivery.TAKEN for outcome in outcomes)
        self._note(taken, [outcome for outcome in outcomes if outcome.delivery is Delivery.FAILED])
        remaining = iter(outcomes)
        reports = [self._report(claim, remaining) for claim in claims]
        self._catalog.report_events(self.sink, lease, reports)
        return Pass(taken, self._failures > 0, more=taken > 0)

    @property
    def lease_seconds(self) -> float:
        """How long a claim lasts: longer than sending can take."""
        return self.send_seconds + _LEASE_MARGIN_SECONDS

    @property
    def send_seconds(self) -> float:
        """The longest that a batch takes."""
        return self._rules.publish_seconds + self._publisher.timeout_seconds

    def pause_seconds(self) -> float:
        """Return how long to leave the sink alone after the failures so far; 0 without one."""
        return self._pause(self._failures) if self._failures else 0.0

    def close(self) -> None:
        self._publisher.close()

    def _note(self, taken: int, failed: Sequence[Outcome]) -> None:
        """Count failures in a row; tell of the first, and of their end."""
        if failed and not taken:
            self._failures += 1
            if self._failures == 1:
                _log.warning("%s does not take events; they wait: %s", self.sink, failed[0].reason)
        elif self._failures and taken:
            self._failures = 0
            _log.info("%s takes events again", self.sink)

    def _publish(self, events: Sequence[CloudEvent]) -> Sequence[Outcome]:
        try:
            with panics_as_errors():
                return self._publisher.publish(events, seconds=self._rules.publish_seconds)
        except Exception as error:
            # Whatever it was, the claims must end and the reason must reach the operator.
            _log.exception("sending events to %s failed in an unforeseen way", self.sink)
            return [Outcome(Delivery.FAILED, f"unforeseen {type(error).__name__}")] * len(events)

    def _report(self, claim: EventClaim, outcomes: Iterator[Outcome]) -> EventReport:
        delivered: int | None = None
        stopped: Outcome | None = None
        for row in claim.rows:
            outcome = next(outcomes)
            if stopped is None and outcome.delivery is Delivery.TAKEN:
                delivered = row.sequence
            elif stopped is None:
                stopped = outcome
        if stopped is None or stopped.delivery is Delivery.UNSENT:
            return EventReport(claim.tenant, claim.project, delivered)
        refused = stopped.delivery is Delivery.REFUSED
        refusals = (claim.refusals if delivered is None else 0) + refused
        park = refused and refusals >= self._rules.max_refusals
        # Even where the sink is the trouble, the stream rests a little: it must not be first in the queue for ever.
        rest = timedelta(seconds=self._pause(refusals if refused else min(self._failures, _SHORT_REST)))
        if park:
            _log.error(
                "events of project %s are parked: %s refused one %d times: %s",
                claim.project, self.sink, refusals, stopped.reason,
            )  # fmt: skip
        return EventReport(
            claim.tenant,
            claim.project,
            delivered,
            error=stopped.reason[:_MAX_REASON],
            refused=refused,
            retry_at=None if park else self._clock.now() + rest,
            park=park,
        )

    def _pause(self, failures: int) -> float:
        bound = min(self._rules.max_pause_seconds, self._rules.pause_seconds * 2.0 ** min(max(failures - 1, 0), 30))
        return bound * (0.5 + self._randomness.uniform())


class Drained(NamedTuple):
    """What became of what waited for one sink."""

    taken: int
    failed: bool
    """The sink does not take events: they wait."""
    stopped: bool
    """There may be more, but there was no time."""


def drain(relay: Relay, clock: Clock, stop: Callable[[], bool]) -> Drained:
    """Deliver until nothing waits, for a process that ends then. ``stop`` is asked before each batch.

    A sink that fails is tried once more: a connection that was frozen may have been dead.

    Raises:
        CatalogUnavailable: as ``Relay.run_once``.
    """
    taken = failures = 0
    while not stop():
        done = relay.run_once()
        taken += done.taken
        failures = failures + 1 if done.failed else 0
        if failures > 1:
            return Drained(taken, failed=True, stopped=False)
        if failures:
            clock.sleep(relay.pause_seconds())
        elif not done.more:
            return Drained(taken, failed=False, stopped=False)
    return Drained(taken, failed=failures > 0, stopped=True)


def cloud_event(row: OutboxRow, base_url: str = "") -> CloudEvent:
    """Return an event as it is sent. ``base_url`` is that of this server, for the link to a commit's changes."""
    data = dict(row.data)
    if row.type == PROJECT_COMMIT:
        data["changes_url"] = diff_link(base_url, row.project, row.generation)
    return CloudEvent(
        # A catalog that was rebuilt counts from 1 again; with the time, ids stay unique.
        id=f"{row.sequence}-{row.created_at:%Y%m%dT%H%M%S%f}",
        type=row.type,
        tenant=row.tenant,
        project=row.project,
        generation=row.generation,
        time=row.created_at,
        data=data,
    )
