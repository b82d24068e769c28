"""Delivers what waits in the outbox: woken by the queue after a change, by the clock, or by hand.

It takes no records of the events' own topic: it would only send them there again. What is to be done for an event is
other consumers' work (``maintenance`` takes them).
"""

from __future__ import annotations

from typing import Any, Literal

from manifold_common.bootstrap import Manifold, build_relays
from manifold_common.services.relay_events import Relay, drain

from functions.invocation import metrics
from functions.invocation.batch import each, kind_of
from functions.invocation.decode import Request, json_of, refusal_of, request_of
from functions.invocation.entry import Call, function
from functions.invocation.schedule import scheduled

_PUBLISH_SECONDS = 5.0
_REPORT_SECONDS = 2.0


class FanoutRequest(Request):
    """Deliver what waits. There is nothing to choose."""


class Nudge(Request):
    """A message of the queue."""

    nudge: Literal[1]


@function("fanout")
def handler(event: Any, call: Call) -> dict[str, Any]:
    """Deliver until nothing waits, a sink fails, or time runs out; answer what became of it."""
    kind = kind_of(event)
    if kind == "kafka":
        raise refusal_of("eventSource", "this function delivers to the topic and takes nothing from it")
    if kind is None:
        scheduled(FanoutRequest, event)
        return _deliver(call)
    done: list[dict[str, Any]] = []

    def heed(record: Any) -> None:
        request_of(Nudge, json_of(record.body, "the message"), "the message")
        if not done:  # once for all of the batch: a nudge says only that there is something
            done.append(_deliver(call))

    return each(kind, event, heed)


def _deliver(call: Call) -> dict[str, Any]:
    clock, sinks = call.manifold.context.clock, {}
    half = call.seconds_left() / 2  # a timeout shorter than a batch can take must not mean that none is ever begun
    for relay in call.kept(_relays):
        done = drain(relay, clock, call.ends_within(min(relay.send_seconds + _REPORT_SECONDS, half)))
        sinks[relay.sink] = done._asdict()
    events = call.manifold.events
    backlog = events.backlog()
    for news in events.sink_news():
        sinks[news.state.sink]["state"] = news.condition
    metrics.count("events.relayed", sum(done["taken"] for done in sinks.values()))
    metrics.count("events.waiting", backlog.waiting)
    metrics.count("events.parked_streams", backlog.parked_streams)
    metrics.seconds("events.oldest.age", backlog.oldest_seconds)
    return {"sinks": sinks, "waiting": backlog.waiting, "oldest_seconds": backlog.oldest_seconds}


def _relays(manifold: Manifold) -> list[Relay]:
    return build_relays(manifold, publish_seconds=_PUBLISH_SECONDS)
