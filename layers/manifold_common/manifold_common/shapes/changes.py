"""Changes to a project's tree: what is asked for, and what came of it."""

from __future__ import annotations

from typing import Annotated, ClassVar, TypeAlias

from msgspec import Meta

from manifold_common.domain.conflict import Strategy
from manifold_common.domain.history import Point, Seen
from manifold_common.domain.named_request import NamedRequest
from manifold_common.domain.tag import Named
from manifold_common.ids import CommitId, Generation, ProjectId, SessionId
from manifold_common.shapes.base import Answer, Count, Message, Mode, Provenance, Request, SeenGeneration
from manifold_common.shapes.intent import Intent
from manifold_common.shapes.losses import NOT_KEPT, NotKept
from manifold_common.shapes.path import LISTED_PATHS, Place, TreePath

MAX_RESTORED = 10_000
"""Paths that one request names. Each may be a folder."""
MAX_CHANGES = 100_000
DECIDED = f"Paths on which the strategy decided; at most {LISTED_PATHS}."
KEPT = (
    "Sessions that keep, as their drafts, what the strategy `theirs` dropped. Check one out to see it, commit it to "
    "bring it back, or close it."
)
GENERATION_COMMIT = "Commit of that generation, also where nothing was changed. Null at generation 0."
EXPECTED = "As If-Match: do it only on top of this generation; a mismatch is answered by 409."
STRATEGY = "What to do where others changed the same paths."


class Edited(Answer, frozen=True):
    project: ProjectId
    generation: Annotated[Generation, Meta(description="The new generation, or the old one when nothing changed.")]
    commit: Annotated[CommitId | None, Meta(description="Null when nothing changed.")]
    paths: Annotated[
        list[TreePath], Meta(description=f"What changed, by path, without the root; at most {LISTED_PATHS}.")
    ]
    paths_total: Count
    conflicts: Annotated[list[TreePath], Meta(description=DECIDED)]
    kept: Annotated[list[SessionId], Meta(description=KEPT)]
    generation_commit: Annotated[CommitId | None, Meta(description=GENERATION_COMMIT)] = None

    @property
    def point(self) -> Point:
        """The generation, with its commit."""
        return Point(self.generation, self.generation_commit or self.commit)


class ImportedArchive(Edited, frozen=True, kw_only=True):
    entries: Annotated[Count, Meta(description="Files, folders and links taken from the archive.")]
    total_bytes: Annotated[Count, Meta(description="Bytes of all files in the archive.")]
    skipped: Annotated[list[TreePath], Meta(description="Devices and FIFOs, which no project holds.")]
    not_kept: Annotated[list[NotKept], Meta(description=NOT_KEPT)]


class ImportedFolder(Answer, frozen=True):
    project: ProjectId
    generation: Generation
    commit: Annotated[CommitId | None, Meta(description="Null when the project already was like the folder.")]
    entries: Annotated[Count, Meta(description="Files, folders and links in the folder.")]
    total_bytes: Annotated[Count, Meta(description="Bytes of all files in the folder.")]
    new_bytes: Annotated[Count, Meta(description="Raw bytes of content that was not stored before.")]
    skipped: Annotated[list[TreePath], Meta(description="Sockets, FIFOs and devices, which no project holds.")]
    unstable: Annotated[
        list[TreePath], Meta(description="Files that were being written to; imported as they were read.")
    ]
    left_out: Annotated[list[TreePath], Meta(description="Folders in which Manifold keeps its own data.")]
    conflicts: Annotated[list[TreePath], Meta(description=DECIDED)]
    kept: Annotated[list[SessionId], Meta(description=KEPT)]
    not_kept: Annotated[list[NotKept], Meta(description=NOT_KEPT)]


class ExportedFolder(Answer, frozen=True):
    project: ProjectId
    generation: Generation
    path: Annotated[str, Meta(description="The folder, on the machine that was told to write it.")]
    entries: Annotated[Count, Meta(description="Files, folders and links in it.")]
    total_bytes: Annotated[Count, Meta(description="Bytes of all files in it.")]


Expected: TypeAlias = Annotated[SeenGeneration | None, Meta(description=EXPECTED)]


class ChangeRequest(Request, frozen=True, kw_only=True):
    """What a request says of the change that it asks for."""

    message: Message = ""
    provenance: Provenance = {}
    expected_generation: Expected = None
    strategy: Annotated[Strategy, Meta(description=STRATEGY)] = Strategy.FAIL

    def intent(self, expected: Seen | None, request: NamedRequest | None) -> Intent:
        """Return what is meant. Args: ``expected``: what this and the headers ask for; ``request``: its name."""
        return Intent(self.message, self.provenance, expected, self.strategy, request)


class NewFolder(Place, frozen=True, kw_only=True):
    mode: Mode | None = None
    message: Message = ""
    expected_generation: Expected = None


class MovePaths(Request, frozen=True):
    source: Annotated[Place, Meta(examples=[{"path": "a.txt"}])]
    destination: Annotated[Place, Meta(examples=[{"path": "docs/a.txt"}])]
    overwrite: bool = False
    message: Message = ""
    expected_generation: Expected = None


class PutFileChange(Place, frozen=True, kw_only=True, tag_field="op", tag="put"):
    """Create or replace a file: with `text`, or with `content_base64`."""

    ONE_OF: ClassVar = (("text", "content_base64"),)

    text: Annotated[str | None, Meta(description="The content, as UTF-8.")] = None
    content_base64: Annotated[bytes | None, Meta(description="The content, as any bytes.")] = None
    mode: Mode | None = None
    create_only: bool = False

    def __post_init__(self) -> None:
        Place.__post_init__(self)
        if (self.text is None) == (self.content_base64 is None):
            raise ValueError('give either text or content_base64; an empty file has text ""')

    @property
    def content(self) -> bytes:
        return self.content_base64 if self.content_base64 is not None else (self.text or "").encode()


class PutLinkChange(Place, frozen=True, kw_only=True, tag_field="op", tag="link"):
    """Create or replace a symbolic link: to `target`, or to `target_base64`."""

    ONE_OF: ClassVar = (("target", "target_base64"),)

    target: Annotated[str | None, Meta(description="Where it points to, as text.")] = None
    target_base64: Annotated[bytes | None, Meta(description="The same, as any bytes.")] = None

    def __post_init__(self) -> None:
        Place.__post_init__(self)
        if (self.target is None) == (self.target_base64 is None):
            raise ValueError("give either target or target_base64: where the link points to")

    @property
    def target_bytes(self) -> bytes:
        return self.target_base64 if self.target_base64 is not None else (self.target or "").encode()


class MakeFolderChange(Place, frozen=True, kw_only=True, tag_field="op", tag="mkdir"):
    """Create a folder and those above it."""

    mode: Mode | None = None


class DeleteChange(Place, frozen=True, kw_only=True, tag_field="op", tag="delete"):
    """Remove a path."""

    recursive: Annotated[bool, Meta(description="Needed for a folder that is not empty.")] = False


class _FromTo(Request, frozen=True):
    source: Place
    destination: Place
    overwrite: bool = False


class MoveChange(_FromTo, frozen=True, tag_field="op", tag="move"):
    """Give a path another name."""


class CopyChange(_FromTo, frozen=True, tag_field="op", tag="copy"):
    """Make a file, a link, or a folder and all in it appear a second time."""


TreeChange: TypeAlias = PutFileChange | PutLinkChange | MakeFolderChange | DeleteChange | MoveChange | CopyChange


class NewCommit(ChangeRequest, frozen=True, kw_only=True):
    """Changes that become one commit: all of them or none."""

    changes: Annotated[
        list[TreeChange],
        Meta(
            min_length=1,
            max_length=MAX_CHANGES,
            description="Made in this order.",
            examples=[
                [{"op": "put", "path": "hello.txt", "text": "hello\n"}, {"op": "delete", "path": "old.txt"}],
            ],
        ),
    ]


class Restore(ChangeRequest, frozen=True, kw_only=True):
    generation: Annotated[Named, Meta(description="The generation to bring back: number or tag.", examples=[3])]
    paths: Annotated[
        list[Place],
        Meta(
            max_length=MAX_RESTORED,
            description="Only these, and what is below; all by default.",
            examples=[[{"path": "src"}]],
        ),
    ] = []
