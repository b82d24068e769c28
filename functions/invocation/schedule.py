"""What EventBridge sends by the clock."""

from __future__ import annotations

from typing import Literal, TypeVar

from manifold_common.shapes.base import Request

from functions.invocation.decode import CorrelationId, request_of

OF_THE_TEMPLATE = {"source": "manifold.schedule"}


class ScheduledRequest(Request, frozen=True, kw_only=True):
    """Base of what schedules ask for."""

    correlation_id: CorrelationId | None = None
    errors: Literal["raise", "return"] = "raise"
    """How it comes back that something failed: as a failed invocation, which is tried again and counted; or as
    ``{"error": ...}`` in the answer, with what was done and what was not in its details."""


R = TypeVar("R", bound=ScheduledRequest)


def scheduled(kind: type[R], event: object) -> R:
    """Return the request of an event that a program, a person or a schedule sends.

    A schedule asks for everything: with the input of infra/template.yaml, or, without one, by a notice about itself.

    Raises:
        InvalidInput.
    """
    if event == OF_THE_TEMPLATE or (isinstance(event, dict) and event.get("detail-type") == "Scheduled Event"):
        return kind()
    return request_of(kind, event)
