"""What the object store does of what Manifold needs."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from manifold_common.shapes.base import Answer


class Ability(Answer, frozen=True, kw_only=True):
    name: Annotated[str, Meta(description="What was tried.", examples=["create an object"])]
    permission: Annotated[str, Meta(description="What policies in the manner of S3 call it.")]
    ok: Annotated[bool, Meta(description="It works.")]
    problem: Annotated[str, Meta(description="Empty when all is well.")]
    passing: Annotated[
        bool,
        Meta(description="The problem may go away by itself: the store could not be reached, or was too busy."),
    ]


class StoreChecked(Answer, frozen=True, kw_only=True):
    ok: Annotated[bool, Meta(description="All of them work.")]
    abilities: tuple[Ability, ...]
