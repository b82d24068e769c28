"""Commits, and what they changed."""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from typing import Any

from manifold_common.domain.tree import SYMLINK, Difference
from manifold_common.services.projects.history import LogEntry
from pydantic import BaseModel, Field

from functions.invocation.path_text import path_fields
from functions.shapes.paths import PathOut
from functions.shapes.trees import EntryOut, entry_out


class CommitOut(BaseModel):
    generation: int
    id: str
    parent: str | None
    author: str
    session: str | None
    created_at: datetime
    message: str
    provenance: dict[str, Any]
    added: int
    modified: int
    deleted: int
    new_bytes: int = Field(description="Raw bytes of content that was not stored before.")


class CommitPage(BaseModel):
    items: list[CommitOut] = Field(description="Newest first.")
    next: int | None = Field(description="Give it as `before` to get the next page; null on the last one.")


def commit_out(entry: LogEntry) -> CommitOut:
    return CommitOut(
        generation=entry.generation,
        id=entry.commit,
        parent=entry.parent,
        author=entry.author,
        session=entry.session,
        created_at=entry.created_at,
        message=entry.message,
        provenance=entry.provenance,
        added=entry.added,
        modified=entry.modified,
        deleted=entry.deleted,
        new_bytes=entry.new_bytes,
    )


class ChangeKind(Enum):
    ADDED = "added"
    MODIFIED = "modified"
    DELETED = "deleted"


class DifferenceOut(PathOut):
    change: ChangeKind
    before: EntryOut | None
    after: EntryOut | None


class DiffPage(BaseModel):
    before: int = Field(description="The older generation.")
    after: int
    items: list[DifferenceOut] = Field(description="By path.")
    next: str | None = Field(description="Give it as `after_path` to get the next page; null on the last one.")


def difference_out(difference: Difference) -> DifferenceOut:
    path, before, after = difference
    kind = ChangeKind.ADDED if before is None else ChangeKind.DELETED if after is None else ChangeKind.MODIFIED
    return DifferenceOut(
        change=kind,
        before=entry_out(path, before) if before else None,
        after=entry_out(path, after) if after else None,
        **path_fields(path),
    )


def names_of(difference: Difference) -> int:
    """Return how many bytes of names a difference is shown with."""
    path, before, after = difference
    return 3 * len(path) + sum(len(entry.content) for entry in (before, after) if entry and entry.kind == SYMLINK)
