"""Brings events from the outbox to a sink: at least once, none missing, in order within a project.

Order of effects: streams are claimed in the catalog, their events sent, and what became of them reported, which ends
the claim. Killed in between, the claim runs out and the events are sent again by whoever comes next. Any number of
relays may work for one sink at the same time: a stream is one relay's until its claim ends.

What does not arrive waits. Trouble of the sink is the sink's, noted in the catalog for all relays: it is given rest,
longer each time and never shorter than it asks for, then tried with a single event; one that says it is gone is parked
as a whole. An event that a sink *refuses* is its stream's matter: it is sent again as well, and after some refusals the
stream is parked: the events of that project wait, at that sink, until an operator lets them go on (docs/events.md).

An event at which a sink fails again and again, while it takes others in between, is treated as refused: it is likely to
be what makes the sink fail.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from manifold_common.domain.event import ORIGIN, PROJECT_COMMIT, CloudEvent, linked
from manifold_common.domain.panic import panics_as_errors
from manifold_common.ids import encode_id
from manifold_common.ports.catalog import EventClaim, EventReport, OutboxRow, SinkReport
from manifold_common.ports.catalog.outbox import Outbox
from manifold_common.ports.clock import Clock, Randomness
from manifold_common.ports.event_publisher import Delivery, EventPublisher, Outcome
from manifold_common.services.events.delivery_rules import RelayRules

_log = logging.getLogger(__name__)

_LEASE_MARGIN_SECONDS = 10.0
_MAX_REASON = 500
_SECOND_TRY_SECONDS = 1.0
"""The longest rest that a process waits for which ends when nothing more is to be sent."""


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
        outbox: Outbox,
        publisher: EventPublisher,
        *,
        clock: Clock,
        randomness: Randomness,
        rules: RelayRules | None = None,
        base_url: str = "",
    ) -> None:
        self._outbox = outbox
        self._publisher = publisher
        self._clock = clock
        self._randomness = randomness
        self._rules = rules or RelayRules()
        self._base_url = base_url
        self._rest_seconds = 0.0
        self._fails = False

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
        claimed_at = self._clock.now()
        claims = self._outbox.claim_events(
            self.sink, lease, seconds=self.lease_seconds, streams=rules.streams, events=rules.events
        )
        self._rest_seconds = 0.0
        if not claims:
            return Pass(0, failed=False, more=False)
        events = [cloud_event(row, self._base_url) for claim in claims for row in claim.rows]
        outcomes = self._publish(events)
        how = self._judge(claims, outcomes, claimed_at)
        remaining = iter(outcomes)
        reports = [self._report(claim, remaining) for claim in claims]
        self._outbox.report_events(self.sink, lease, reports, how)
        taken = sum(outcome.delivery is Delivery.TAKEN for outcome in outcomes)
        works_again = how.answered and claims[0].sink_failures > 0
        return Pass(taken, how.error is not None, more=how.error is None and (taken > 0 or works_again))

    @property
    def lease_seconds(self) -> float:
        """How long a claim lasts: longer than sending can take."""
        return self.send_seconds + _LEASE_MARGIN_SECONDS

    @property
    def send_seconds(self) -> float:
        """The longest that a batch takes."""
        return self._rules.publish_seconds + self._publisher.timeout_seconds

    def pause_seconds(self) -> float:
        """Return for how long the sink was given rest by the last pass; 0 unless it failed."""
        return self._rest_seconds

    def close(self) -> None:
        self._publisher.close()

    def _judge(self, claims: Sequence[EventClaim], outcomes: Sequence[Outcome], claimed_at: datetime) -> SinkReport:
        """Say how the sink did; tell of the first failure, and of their end."""
        kinds = {outcome.delivery for outcome in outcomes}
        answered = not kinds.isdisjoint({Delivery.TAKEN, Delivery.REFUSED})
        trouble = [outcome for outcome in outcomes if outcome.delivery.is_trouble]
        if not trouble:
            if answered and self._fails:
                _log.info("%s takes events again", self.sink)
                self._fails = False
            return SinkReport(claimed_at, answered)
        # What the sink says of itself counts for more than a connection that broke.
        worst = max(trouble, key=lambda o: (o.delivery is Delivery.GONE, o.wait_seconds or 0.0))
        failures = (0 if answered else claims[0].sink_failures) + 1
        self._rest_seconds = self._rules.rest_seconds(failures, self._randomness, worst)
        park = worst.delivery is Delivery.GONE
        if park:
            _log.error("%s is parked, and its events wait for an operator: %s", self.sink, worst.reason)
        elif not self._fails:
            _log.warning("%s does not take events; they wait: %s", self.sink, worst.reason)
        self._fails = True
        retry_at = self._clock.now() + timedelta(seconds=self._rest_seconds)
        return SinkReport(claimed_at, answered, worst.reason[:_MAX_REASON], None if park else retry_at, park)

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
        failures = (claim.failures if delivered is None else 0) + 1
        # The sink did its part for others since this event failed last: so the event may be what it fails at.
        may_be_its_fault = stopped.delivery in (Delivery.FAILED, Delivery.TURNED_AWAY)
        suspect = may_be_its_fault and failures > 1 and not claim.sink_failures
        refused = suspect or stopped.delivery is Delivery.REFUSED
        refusals = (claim.refusals if delivered is None else 0) + refused
        park = refused and refusals >= self._rules.max_refusals
        # Even where the sink is the trouble, the stream rests by itself: it must not be first in the queue for ever.
        rest = timedelta(seconds=self._rules.rest_seconds(failures, self._randomness))
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


class Drained(NamedTuple):
    """What became of what waited for one sink."""

    taken: int
    failed: bool
    """The sink does not take events: they wait."""
    stopped: bool
    """There may be more, but there was no time."""


def drain(relay: Relay, clock: Clock, stop: Callable[[], bool]) -> Drained:
    """Deliver until nothing waits, for a process that ends then. ``stop`` is asked before each batch.

    A sink that fails is tried once more, since a connection that was frozen may have been dead. One that wants a longer
    rest than a process that ends should wait for is not.

    Raises:
        CatalogUnavailable: as ``Relay.run_once``.
    """
    taken = failures = 0
    while not stop():
        done = relay.run_once()
        taken += done.taken
        if done.failed:
            failures += 1
        elif done.taken:
            failures = 0  # not so when nothing was sent, since what failed is at rest
        if failures > 1 or relay.pause_seconds() > _SECOND_TRY_SECONDS:
            return Drained(taken, failed=True, stopped=False)
        if done.failed:
            clock.sleep(relay.pause_seconds())
        elif not done.more:
            return Drained(taken, failed=failures > 0, stopped=False)
    return Drained(taken, failed=failures > 0, stopped=True)


def cloud_event(row: OutboxRow, base_url: str = "") -> CloudEvent:
    """Return an event as it is sent. ``base_url`` is that of this server, for the link to a commit's changes."""
    data = dict(row.data)
    origin = data.pop(ORIGIN, {})
    if row.type == PROJECT_COMMIT:
        data = linked(data, base_url, row.project, row.generation)
    return CloudEvent(
        # A catalog that was rebuilt counts from 1 again; with the time, ids stay unique.
        id=f"{row.sequence}-{row.created_at:%Y%m%dT%H%M%S%f}",
        type=row.type,
        tenant=row.tenant,
        project=row.project,
        generation=row.generation,
        time=row.created_at,
        data=data,
        origin=origin,
    )
