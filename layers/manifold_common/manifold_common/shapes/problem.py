"""What went wrong, as RFC 9457 has it."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET, Meta, UnsetType

from manifold_common.shapes.base import Answer

_EXAMPLE = {
    "type": "urn:manifold:problem:generation_mismatch",
    "title": "Generation mismatch",
    "status": 412,
    "detail": "the project is at generation 8, not at 7 as expected",
    "code": "generation_mismatch",
    "hint": "read the project again, then repeat the change with the new generation",
    "details": {"expected": 7, "head_generation": 8},
}


class Problem(Answer, frozen=True):
    """What went wrong, as RFC 9457 has it."""

    type: Annotated[str, Meta(description="`urn:manifold:problem:` and the code.", examples=[_EXAMPLE["type"]])]
    title: Annotated[str, Meta(description="The code in words.", examples=[_EXAMPLE["title"]])]
    status: Annotated[int, Meta(description="The HTTP status.", examples=[_EXAMPLE["status"]])]
    detail: Annotated[str, Meta(description="What was wrong, and where.", examples=[_EXAMPLE["detail"]])]
    code: Annotated[str, Meta(description="Stable name of the error, for programs.", examples=[_EXAMPLE["code"]])]
    details: Annotated[
        dict[str, Any],
        Meta(description="Facts for programs, such as paths or limits.", examples=[_EXAMPLE["details"]]),
    ]
    hint: Annotated[str, Meta(description="What to do next.", examples=[_EXAMPLE["hint"]])] | UnsetType = UNSET
    correlation_id: Annotated[str, Meta(description="Finds the error in the server's log.")] | UnsetType = UNSET
