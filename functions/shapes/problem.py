"""The problem document, as the description of the API says it. Answers are made without it
(functions/invocation/problems.py)."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Problem(BaseModel):
    """What went wrong, as RFC 9457 has it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "urn:manifold:problem:generation_mismatch",
                    "title": "Generation mismatch",
                    "status": 412,
                    "detail": "the project is at generation 8, not at 7 as expected",
                    "code": "generation_mismatch",
                    "hint": "read the project again, then repeat the change with the new generation",
                    "details": {"expected": 7, "head_generation": 8},
                }
            ]
        }
    )

    type: str = Field(description="`urn:manifold:problem:` and the code.")
    title: str = Field(description="The code in words.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What was wrong, and where.")
    code: str = Field(description="Stable name of the error, for programs.")
    hint: str | None = Field(None, description="What to do next.")
    correlation_id: str | None = Field(None, description="Finds the error in the server's log.")
    details: dict[str, Any] = Field(default_factory=dict, description="Facts for programs, such as paths or limits.")
