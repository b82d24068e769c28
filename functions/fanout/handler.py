"""Delivers what waits in the outbox: woken by the queue after a change, by the clock, or by hand.

It takes no records of the events' own topic: it would only send them there again. What is to be done for an event is
other consumers' work (``maintenance`` takes them).
"""

from __future__ import annotations

from typing import Any, Literal

from manifold_common.bootstrap import Manifold, build_relays
from manifold_common.bootstrap.chores import CHORES
from manifold_common.errors import PartlyDone
from manifold_common.services.events.relay import Relay, drain
from manifold_common.shapes.base import Request

from functions.invocation import metrics
from functions.invocation.batch import each_message, kind_of
from functions.invocation.decode import CorrelationId, json_of, refusal_of, request_of
from functions.invocation.entry import Call, function
from functions.invocation.logs import logger
from functions.invocation.schedule import ScheduledRequest, scheduled

_PUBLISH_SECONDS = 5.0
_REPORT_SECONDS = 2.0


class FanoutRequest(ScheduledRequest, frozen=True, kw_only=True):
    """Deliver what waits. There is nothing to choose."""


class Nudge(Request, frozen=True, kw_only=True):
    """A message of the queue."""

    nudge: Literal[1]
    correlation_id: CorrelationId | None = None
    """Of the request that wrote an event."""


@function("fanout")
def handler(event: Any, call: Call) -> dict[str, Any]:
    """Deliver until nothing waits, a sink fails, or time runs out; answer what became of it.

    By the clock and by hand, also note which events all sinks have, so that these are removed in time: whoever delivers
    knows to whom, and nobody else has to.

    Raises:
        PartlyDone: a sink takes no events. Not to the queue, whose messages would only be sent again for it.
    """
    kind = kind_of(event)
    if kind == "kafka":
        raise refusal_of("eventSource", "this function delivers to the topic and takes nothing from it")
    if kind is None:
        scheduled(FanoutRequest, event)
        answer = _deliver(call)
        answer["settled"] = CHORES["settle_events"].run(call.manifold, call.ends_within(_REPORT_SECONDS))
        failed = [name for name, sink in answer["sinks"].items() if sink["failed"]]
        if failed:
            raise PartlyDone(
                f"{', '.join(failed)} does not take events; {answer['waiting']} wait",
                hint="'manifold events list' says why; they are sent again until they are taken",
                **answer,
            )
        return answer
    done: list[dict[str, Any]] = []

    def heed(record: Any) -> None:
        nudge = request_of(Nudge, json_of(record.body, "the message"), "the message")
        if nudge.correlation_id is not None:
            logger.info("woken", woken_by=nudge.correlation_id)
        if not done:  # once for all of the batch: a nudge says only that there is something
            done.append(_deliver(call))

    return each_message(event, heed)


def _deliver(call: Call) -> dict[str, Any]:
    clock, sinks = call.manifold.context.clock, {}
    half = call.seconds_left() / 2  # a timeout shorter than a batch can take must not mean that none is ever begun
    for relay in call.kept(_relays):
        done = drain(relay, clock, call.ends_within(min(relay.send_seconds + _REPORT_SECONDS, half)))
        sinks[relay.sink] = done._asdict()
    backlog = call.manifold.events.backlog()
    for sink in backlog.sinks:
        sinks[sink.sink]["state"] = sink.state
    metrics.count("events.relayed", sum(done["taken"] for done in sinks.values()))
    away = [done for done in sinks.values() if done["failed"] or done.get("state", "ok") not in ("ok", "unused")]
    metrics.count("events.failed_sinks", len(away))
    metrics.count("events.waiting", backlog.waiting)
    metrics.count("events.parked_streams", backlog.parked_streams)
    metrics.seconds("events.oldest.age", backlog.oldest_seconds)
    return {"sinks": sinks, "waiting": backlog.waiting, "oldest_seconds": backlog.oldest_seconds}


def _relays(manifold: Manifold) -> list[Relay]:
    return build_relays(manifold, publish_seconds=_PUBLISH_SECONDS)
