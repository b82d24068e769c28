"""What of files and folders from elsewhere is not kept."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from manifold_common.domain.losses import Loss, Losses
from manifold_common.shapes.base import Answer, Count
from manifold_common.shapes.path import TreePath

NOT_KEPT = "What no project keeps of the files and folders that came in, one item for each kind that there was."


class NotKept(Answer, frozen=True):
    kind: Loss
    count: Annotated[Count, Meta(description="How many paths.")]
    example: Annotated[TreePath, Meta(description="The first of them.")]


def not_kept(losses: Losses) -> list[NotKept]:
    return [NotKept(kind=loss, count=lost.paths, example=TreePath.of(lost.example)) for loss, lost in losses.items()]
