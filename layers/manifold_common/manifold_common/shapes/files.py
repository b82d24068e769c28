"""Files with their content, many in one answer."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import UNSET, Meta, UnsetType

from manifold_common.domain.tag import Named
from manifold_common.ids import CommitId, Generation, UploadId
from manifold_common.shapes.base import Answer, Count, Dated, Moment, Request
from manifold_common.shapes.history import TreeEntry
from manifold_common.shapes.path import Place, TreePath
from manifold_common.shapes.projects import GENERATION


class ReadFiles(Request, frozen=True):
    paths: Annotated[list[Place], Meta(min_length=1, max_length=1000)]
    generation: Annotated[Named | None, Meta(description=GENERATION)] = None


class FileContent(TreeEntry, frozen=True, kw_only=True):
    """A file with its content; without it what is no file, and what is too large for an answer: read that by itself."""

    ONE_OF: ClassVar = (("text", "content_base64"),)

    etag: Annotated[str, Meta(description="Of a file, for conditions.")] | UnsetType = UNSET
    text: Annotated[str, Meta(description="The content, if it is UTF-8 without NUL.")] | UnsetType = UNSET
    content_base64: Annotated[bytes, Meta(description="Any other content.")] | UnsetType = UNSET


class FileContents(Answer, frozen=True):
    generation: Generation
    commit: Annotated[CommitId | None, Meta(description="Of that generation. Null at generation 0.")]
    items: Annotated[list[FileContent], Meta(description="What is there, in the order in which it was asked for.")]
    absent: Annotated[list[TreePath], Meta(description="What is not there.")]
    left: Annotated[list[TreePath], Meta(description="What did not fit: ask for it next, at this generation.")]


class BegunUpload(Dated, frozen=True):
    """A file that arrives in parts."""

    upload: UploadId
    offset: Annotated[Count, Meta(description="How many bytes of the file are stored.")]
    total_bytes: Annotated[Count | None, Meta(description="Null while it is not known.")]
    expires_at: Annotated[Moment, Meta(description="When it is removed, if nobody goes on with it.")]
    generation: Annotated[Generation | None, Meta(description="With the file in it. Null until it is complete.")]
