"""What all shapes are made of."""

from __future__ import annotations

import json
from typing import Annotated, Any, TypeVar

from manifold_common.domain.arguments import MAX_GENERATION
from manifold_common.domain.history import Seen, parse_point
from manifold_common.ids import Generation
from pydantic import AfterValidator, BaseModel, ConfigDict, FailFast, Field, StrictInt, model_validator

T = TypeVar("T")

MAX_FIELDS = 64
"""Of one object in a request, which has names of its own choice only in the provenance. Each unknown one is a fault,
and a fault takes a hundred times what it takes to write."""
DROP_LOST_DRAFT = "Give up saved work of the session if it cannot be read. What can be read is kept."
DROPPED_DRAFT = "Id of saved work that could not be read and was given up, as was asked."

BoundedList = Annotated[list[T], FailFast()]
"""Of a request; to be given a ``max_length``. Its first fault ends it: a million faults are a million errors."""

GenerationNumber = Annotated[StrictInt, Field(ge=0, le=MAX_GENERATION)]
SeenGeneration = GenerationNumber | Annotated[str, Field(pattern=r"^[0-9]{1,15}-[a-z2-7]{26}$")]
"""A generation that the caller knows: its number, or number and commit id, which no other history gives again."""


def seen_of(seen: int | str | None) -> Seen | None:
    """Raises InvalidInput: the commit id is none."""
    if seen is None:
        return None
    return parse_point(seen) if isinstance(seen, str) else Generation(seen)


def _plain_json(value: dict[str, Any]) -> dict[str, Any]:
    """Refuse what Python reads from JSON, but no JSON can say again."""
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (UnicodeEncodeError, ValueError, RecursionError):
        raise ValueError("it holds numbers or text that JSON cannot hold") from None
    return value


KEPT = (
    "Sessions that keep, as their drafts, what the strategy `theirs` dropped. Check one out to see it, commit it to "
    "bring it back, or close it."
)
Provenance = Annotated[
    dict[str, Any],
    AfterValidator(_plain_json),
    Field(description="What made the change: agent run, model, tool calls, cost.", max_length=64),
]
Message = Annotated[str, Field(max_length=10_000, description="Why the change was made.")]
Mode = Annotated[str, Field(pattern=r"^0?[0-7]{3}$", description="Permission bits in octal.", examples=["644"])]


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class Shape(BaseModel):
    """Base of request bodies: unknown fields are refused, and input does not appear in errors."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _few_fields(cls, data: Any) -> Any:
        if isinstance(data, dict) and len(data) > MAX_FIELDS:
            raise ValueError(f"it has {len(data)} fields, over the limit of {MAX_FIELDS}")
        return data

    @model_validator(mode="before")
    @classmethod
    def _real_text(cls, data: Any) -> Any:
        """Refuse lone surrogates, which Python takes from JSON but which no bytes stand for."""
        for value in data.values() if isinstance(data, dict) else ():
            for text in value if isinstance(value, list) else (value,):
                if isinstance(text, str) and not _is_text(text):
                    raise ValueError("it holds text that is not Unicode")
        return data
