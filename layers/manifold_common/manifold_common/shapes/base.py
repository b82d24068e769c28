"""What shapes are made of.

A request is strict: a field that it does not have is an error of whoever wrote it. An answer is tolerant, since a newer
server says more; but nothing of it is taken on trust: ids, names, numbers, links and times are of types that refuse,
when they are decoded, what could not be one. Bytes are base64 in JSON.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import Meta

from manifold_common.domain.history import Seen, parse_point
from manifold_common.domain.moments import is_usable
from manifold_common.ids import Generation


class Request(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, frozen=True, kw_only=True):
    """Base of what is asked for. What is left at its default is not sent: a server of before may not know it."""

    ONE_OF: ClassVar[tuple[tuple[str, ...], ...]] = ()
    """Fields of which there has to be just one, for the description of the API."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """Base of what is answered. A field whose type has ``UnsetType`` is left out where there is nothing to say; every
    other one is always sent, whether or not it has a default for servers of before."""

    ONE_OF: ClassVar[tuple[tuple[str, ...], ...]] = ()
    """Fields of which there is one at most, for the description of the API."""


class Dated(Answer, frozen=True, kw_only=True):
    """Base of answers that name times, which are to be such as can be shown and compared."""

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if isinstance(value, datetime) and not is_usable(value):
                raise ValueError(f"{name} is in the year {value.year}")


Count = Annotated[int, Meta(ge=0, le=2**53 - 1)]
Moment = Annotated[datetime, Meta(tz=True)]
Text = Annotated[str, Meta(max_length=64 << 10)]
Message = Annotated[str, Meta(max_length=10_000, description="Why the change was made.")]
Provenance = Annotated[
    dict[str, Any], Meta(max_length=64, description="What made the change: agent run, model, tool calls, cost.")
]
Mode = Annotated[str, Meta(pattern=r"\A0?[0-7]{3}\Z", description="Permission bits in octal.", examples=["644"])]
SeenGeneration = (
    Generation
    | Annotated[
        str,
        Meta(
            pattern=r"\A[0-9]{1,15}-[a-z2-7]{25}[aeimquy4]\Z",
            description="Number and commit id, which no other history gives again.",
        ),
    ]
)
"""A generation that the caller knows: its number, or better ``7-<commit id>``."""


def seen_of(seen: int | str | None) -> Seen | None:
    """Return what a ``SeenGeneration`` stands for. Raises InvalidInput: the commit id is none."""
    if seen is None:
        return None
    return parse_point(seen) if isinstance(seen, str) else Generation(seen)
