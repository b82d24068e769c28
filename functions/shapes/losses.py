"""What of files and folders from elsewhere is not kept."""

from __future__ import annotations

from manifold_common.domain.losses import Loss, Losses
from pydantic import BaseModel, Field

from functions.shapes.paths import PathOut, path_out

NOT_KEPT = "What no project keeps of the files and folders that came in, one item for each kind that there was."


class LossOut(BaseModel):
    kind: Loss
    count: int = Field(description="How many paths.")
    example: PathOut = Field(description="The first of them.")


def losses_out(losses: Losses) -> list[LossOut]:
    return [LossOut(kind=loss, count=lost.paths, example=path_out(lost.example)) for loss, lost in losses.items()]
