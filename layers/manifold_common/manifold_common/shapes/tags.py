"""Tags: names for generations, and what is asked of them."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from manifold_common.domain.history import Point
from manifold_common.domain.tag import Named
from manifold_common.ids import MAX_GENERATION, CommitId, Generation, TagName, UserId
from manifold_common.shapes.base import Dated, Moment, Request
from manifold_common.shapes.page import Page


class Tag(Dated, frozen=True):
    name: Annotated[TagName, Meta(examples=["release-1"])]
    generation: Annotated[Generation, Meta(description="Which it names.", examples=[7])]
    commit: Annotated[CommitId, Meta(description="Of that generation.")]
    user: Annotated[UserId, Meta(description="Who set it last.")]
    created_at: Moment
    moved_at: Annotated[Moment, Meta(description="When it came to where it is.")]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.generation == 0:
            raise ValueError("no tag names the empty project")

    @property
    def point(self) -> Point:
        return Point(self.generation, self.commit)


class TagPage(Page, frozen=True):
    items: Annotated[list[Tag], Meta(description="By name.")]


_Made = Annotated[int, Meta(le=MAX_GENERATION, extra_json_schema={"minimum": 1})]
"""A generation that a commit has made. That 0 is none is told as that, and not as a wrong number."""


class SetTag(Request, frozen=True):
    generation: Annotated[_Made | TagName, Meta(description="What it is to name: number or another tag.", examples=[7])]

    @property
    def named(self) -> Named:
        return Generation(self.generation) if isinstance(self.generation, int) else self.generation
