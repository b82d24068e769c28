"""How events come to their sinks."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from manifold_common.domain.event import SinkCondition
from manifold_common.ids import ProjectId, TenantId
from manifold_common.shapes.base import Answer, Count, Dated, Moment

_RETRY = "Nothing is sent before; null: no attempt has failed."
_PARKED = "Since when it waits for `manifold events redrive`; null: it does not."


class SinkStatus(Dated, frozen=True, kw_only=True):
    sink: str
    state: Annotated[
        SinkCondition,
        Meta(description="`resting`: nothing is sent for now. `failing`: it is about to be tried again."),
    ]
    detail: Annotated[str, Meta(description="For people.")]
    failures: Annotated[Count, Meta(description="In a row; 0: it works, or nothing was sent yet.")]
    since: Annotated[Moment | None, Meta(description="Since when it works, or does not; null: nothing was sent yet.")]
    ok_at: Annotated[Moment | None, Meta(description="When it last did its part, give or take a second.")]
    failed_at: Moment | None
    retry_at: Annotated[Moment | None, Meta(description=_RETRY)]
    parked_at: Annotated[Moment | None, Meta(description=_PARKED)]
    error: Annotated[str | None, Meta(description="Why it does not work.")]


class WaitingStream(Dated, frozen=True, kw_only=True):
    """One project's events on their way to one sink. Nothing overtakes there."""

    sink: str
    tenant: TenantId
    project: ProjectId
    next_sequence: Annotated[Count, Meta(description="Of the first event that waits, in the order of writing.")]
    waiting: Annotated[Count, Meta(description="Events that wait.")]
    oldest_at: Annotated[Moment, Meta(description="When the first of them was written.")]
    refusals: Annotated[Count, Meta(description="How often the sink has turned down the first of them.")]
    retry_at: Annotated[Moment | None, Meta(description=_RETRY)]
    parked_at: Annotated[Moment | None, Meta(description=_PARKED)]
    error: Annotated[str | None, Meta(description="Why the last attempt failed.")]


class Delivery(Answer, frozen=True, kw_only=True):
    sinks: list[SinkStatus]
    streams: Annotated[list[WaitingStream], Meta(description="Parked ones first, then by age.")]


class Redriven(Answer, frozen=True, kw_only=True):
    redriven: Annotated[Count, Meta(description="Streams that go on.")]
    redriven_sinks: Annotated[Count, Meta(description="Sinks that are tried again.")]
