"""Tags: names for generations, and what is asked of them."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from manifold_common.domain.history import Point
from manifold_common.domain.tag import Named
from manifold_common.ids import CommitId, Generation, TagName, UserId
from manifold_common.shapes.base import Dated, Moment, Request
from manifold_common.shapes.page import Page


class Tag(Dated, frozen=True):
    name: Annotated[TagName, Meta(examples=["release-1"])]
    generation: Annotated[Generation, Meta(description="Which it names.", examples=[7])]
    commit: Annotated[CommitId, Meta(description="Of that generation.")]
    user: Annotated[UserId, Meta(description="Who set it last.")]
    created_at: Moment
    moved_at: Annotated[Moment, Meta(description="When it came to where it is.")]

    @property
    def point(self) -> Point:
        return Point(self.generation, self.commit)


class TagPage(Page, frozen=True):
    items: Annotated[list[Tag], Meta(description="By name.")]


class SetTag(Request, frozen=True):
    generation: Annotated[Named, Meta(description="What it is to name: number or another tag.", examples=[7])]
