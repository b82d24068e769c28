"""Changes to a project's tree, as JSON says them."""

from __future__ import annotations

from typing import Annotated, Literal

from manifold_common.domain.conflict import Strategy
from manifold_common.errors import InvalidInput
from manifold_common.services.projects.edits import (
    Copy,
    Delete,
    Edit,
    Edited,
    MakeFolder,
    Move,
    PutFile,
    PutLink,
    reading,
)
from pydantic import BaseModel, ConfigDict, Field, StrictBool

from functions.invocation.bounds import LISTED_PATHS
from functions.shapes.base import (
    KEPT,
    BoundedList,
    GenerationNumber,
    Message,
    Mode,
    Provenance,
    SeenGeneration,
    Shape,
)
from functions.shapes.losses import NOT_KEPT, LossOut
from functions.shapes.paths import PathIn, PathOut, bytes_of, paths_out

MAX_RESTORED = 10_000
"""Paths that one request names. Each may be a folder."""


class EditedOut(BaseModel):
    project: str
    generation: int = Field(description="The new generation, or the old one when nothing changed.")
    commit: str | None = Field(description="Null when nothing changed.")
    paths: list[PathOut] = Field(description=f"What changed; at most {LISTED_PATHS}.")
    paths_total: int
    conflicts: list[PathOut] = Field(description=f"Paths on which the strategy decided; at most {LISTED_PATHS}.")
    kept: list[str] = Field(description=KEPT)


def edited_out(done: Edited) -> EditedOut:
    return EditedOut(
        project=done.project,
        generation=done.generation,
        commit=done.commit,
        paths=paths_out(done.paths),
        paths_total=len(done.paths),
        conflicts=paths_out(done.conflicts),
        kept=list(done.kept),
    )


class NewFolder(PathIn, Shape):
    mode: Mode | None = None
    message: Message = ""
    expected_generation: SeenGeneration | None = None


class Place(PathIn, Shape):
    """A path in a request."""


class MovePaths(Shape):
    source: Place
    destination: Place
    overwrite: StrictBool = False
    message: Message = ""
    expected_generation: SeenGeneration | None = None

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"source": {"path": "a.txt"}, "destination": {"path": "docs/a.txt"}}]}
    )


class PutFileChange(PathIn, Shape):
    """Create or replace a file."""

    op: Literal["put"]
    text: str | None = Field(None, description="The content, as UTF-8.")
    content_base64: str | None = Field(None, description="The content, as any bytes.")
    mode: Mode | None = None
    create_only: StrictBool = False

    def content(self) -> bytes:
        """Raises InvalidInput: not exactly one of the two ways to give content, or not valid."""
        if (self.text is None) == (self.content_base64 is None):
            raise InvalidInput("a change 'put' has either text or content_base64", hint='an empty file has text ""')
        if self.text is not None:
            return self.text.encode("utf-8")
        return bytes_of(self.content_base64 or "", "content_base64")


class PutLinkChange(PathIn, Shape):
    """Create or replace a symbolic link."""

    op: Literal["link"]
    target: str | None = None
    target_base64: str | None = None

    def target_bytes(self) -> bytes:
        """Raises InvalidInput: not exactly one of the two ways to give the target."""
        if (self.target is None) == (self.target_base64 is None):
            raise InvalidInput(
                "a change 'link' has either target or target_base64", hint="say where the link points to"
            )
        if self.target is not None:
            return self.target.encode("utf-8")
        return bytes_of(self.target_base64 or "", "target_base64")


class MakeFolderChange(PathIn, Shape):
    """Create a folder and those above it."""

    op: Literal["mkdir"]
    mode: Mode | None = None


class DeleteChange(PathIn, Shape):
    """Remove a path."""

    op: Literal["delete"]
    recursive: StrictBool = Field(False, description="Needed for a folder that is not empty.")


class MoveChange(Shape):
    """Give a path another name."""

    op: Literal["move"]
    source: Place
    destination: Place
    overwrite: StrictBool = False


class CopyChange(Shape):
    """Make a file, a link, or a folder and all in it appear a second time."""

    op: Literal["copy"]
    source: Place
    destination: Place
    overwrite: StrictBool = False


Change = Annotated[
    PutFileChange | PutLinkChange | MakeFolderChange | DeleteChange | MoveChange | CopyChange,
    Field(discriminator="op"),
]


class NewCommit(Shape):
    """Changes that become one commit: all of them or none."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "message": "say hello",
                    "changes": [
                        {"op": "put", "path": "hello.txt", "text": "hello\n"},
                        {"op": "delete", "path": "old.txt"},
                    ],
                }
            ]
        }
    )

    changes: BoundedList[Change] = Field(min_length=1, max_length=100_000, description="Made in this order.")
    message: Message = ""
    provenance: Provenance = Field(default_factory=dict)
    expected_generation: SeenGeneration | None = Field(None, description="As If-Match; a mismatch is answered by 409.")
    strategy: Strategy = Field(default=Strategy.FAIL, description="What to do where others changed the same paths.")


class Restore(Shape):
    model_config = ConfigDict(json_schema_extra={"examples": [{"generation": 3, "paths": [{"path": "src"}]}]})

    generation: GenerationNumber = Field(description="The generation to bring back.")
    paths: BoundedList[Place] = Field(
        default_factory=list, max_length=MAX_RESTORED, description="Only these, and what is below; all by default."
    )
    message: Message = ""
    provenance: Provenance = Field(default_factory=dict)
    expected_generation: SeenGeneration | None = None
    strategy: Strategy = Strategy.FAIL


class ImportedOut(EditedOut):
    entries: int = Field(description="Files, folders and links taken from the archive.")
    total_bytes: int = Field(description="Bytes of all files in the archive.")
    skipped: list[PathOut] = Field(description="Devices and FIFOs, which no project holds.")
    not_kept: list[LossOut] = Field(description=NOT_KEPT)


def edit_of(change: Change) -> Edit:
    """Raises UnsafePath, InvalidInput."""
    if isinstance(change, PutFileChange):
        return PutFile(change.to_bytes(), reading(change.content()), mode_of(change.mode), None, change.create_only)
    if isinstance(change, PutLinkChange):
        return PutLink(change.to_bytes(), change.target_bytes())
    if isinstance(change, MakeFolderChange):
        return MakeFolder(change.to_bytes(), mode_of(change.mode))
    if isinstance(change, DeleteChange):
        return Delete(change.to_bytes(), change.recursive)
    if isinstance(change, MoveChange):
        return Move(change.source.to_bytes(), change.destination.to_bytes(), change.overwrite)
    assert isinstance(change, CopyChange)
    return Copy(change.source.to_bytes(), change.destination.to_bytes(), change.overwrite)


def mode_of(text: str | None) -> int | None:
    return int(text, 8) if text is not None else None
