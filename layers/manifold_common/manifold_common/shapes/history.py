"""What was committed: trees and their entries, commits, and what differs between two generations."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from enum import Enum
from typing import Annotated, Any

from msgspec import UNSET, Meta, UnsetType

from manifold_common.domain import tree
from manifold_common.ids import CommitId, Generation, SessionId, UserId
from manifold_common.shapes.base import Count, Dated, Mode, Moment, Text
from manifold_common.shapes.page import Page
from manifold_common.shapes.path import TreePath, first_of, text_of


class Kind(Enum):
    FILE = "file"
    FOLDER = "folder"
    LINK = "link"


_KINDS = {tree.FILE: Kind.FILE, tree.DIRECTORY: Kind.FOLDER, tree.SYMLINK: Kind.LINK}


def kind_of(kind: Kind) -> int:
    """Return what trees call it."""
    return next(known for known, shown in _KINDS.items() if shown is kind)


class TreeEntry(TreePath, frozen=True, kw_only=True, gc=False):
    kind: Kind
    mode: Mode
    modified_at: Annotated[
        str,
        Meta(
            pattern=r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}\.[0-9]{9}Z\Z",
            description="Time to the nanosecond.",
            examples=["2026-05-04T10:20:30.123456789Z"],
        ),
    ]
    size: Annotated[Count, Meta(description="Bytes; 0 for folders and links.", examples=[1234])]
    target: Annotated[str, Meta(description="Where a link points to.")] | UnsetType = UNSET
    target_base64: Annotated[bytes, Meta(description="Its exact bytes, when they are not UTF-8.")] | UnsetType = UNSET

    @classmethod
    def at(cls, path: bytes, entry: tree.Entry) -> TreeEntry:
        return cls(*text_of(path), **entry_facts(entry))


def entry_facts(entry: tree.Entry) -> dict[str, Any]:
    """Return what is told of an entry beside its path."""
    target, exact = text_of(entry.content) if entry.kind == tree.SYMLINK else (UNSET, UNSET)
    return {
        "kind": _KINDS[entry.kind],
        "mode": f"{entry.mode:03o}",
        "modified_at": time_text(entry.mtime_ns),
        "size": entry.size,
        "target": target,
        "target_base64": exact,
    }


class FileFacts(TreeEntry, frozen=True, kw_only=True):
    """A file of one generation, without its content."""

    generation: Generation

    @classmethod
    def of_file(cls, path: bytes, entry: tree.Entry, generation: Generation) -> FileFacts:
        return cls(*text_of(path), **entry_facts(entry), generation=generation)


class TreePage(Page, frozen=True):
    generation: Generation
    items: Annotated[list[TreeEntry], Meta(description="By path.")]


class Commit(Dated, frozen=True):
    generation: Generation
    id: CommitId
    parent: Annotated[CommitId | None, Meta(description="Null for generation 1.")]
    author: UserId
    session: Annotated[SessionId | None, Meta(description="The session that committed, if it was one.")]
    created_at: Moment
    message: Text
    provenance: Annotated[dict[str, Any], Meta(description="What made the change, as whoever committed has said.")]
    added: Annotated[Count, Meta(description="Paths that were not there before.")]
    modified: Count
    deleted: Count
    new_bytes: Annotated[Count, Meta(description="Raw bytes of content that was not stored before.")]


class CommitPage(Page, frozen=True):
    items: Annotated[list[Commit], Meta(description="Newest first.")]


class ChangeKind(Enum):
    """How two versions of one path differ."""

    ADDED = "added"
    DELETED = "deleted"
    MODIFIED = "modified"
    """The content, or where a link points to."""
    KIND = "kind"
    """A file became a link, or the like."""
    MODE = "mode"
    """Only the permissions differ, and perhaps the time."""
    TIME = "time"
    """Only the modification time differs."""


class TreeDifference(TreePath, frozen=True, kw_only=True, gc=False):
    change: Annotated[
        ChangeKind,
        Meta(
            description="`modified`: the content differs. `kind`: a file became a link, or the like. `mode`, `time`: "
            "nothing but the permissions, or the modification time."
        ),
    ]
    before: Annotated[TreeEntry | None, Meta(description="Null: it was not there.")]
    after: Annotated[TreeEntry | None, Meta(description="Null: it is not there any more.")]

    @classmethod
    def between(cls, difference: tree.Difference) -> TreeDifference:
        path, before, after = difference
        return cls(
            *text_of(path),
            change=change_of(difference),
            before=None if before is None else TreeEntry.at(path, before),
            after=None if after is None else TreeEntry.at(path, after),
        )


def change_of(difference: tree.Difference) -> ChangeKind:
    before, after = difference.before, difference.after
    if before is None:
        return ChangeKind.ADDED
    if after is None:
        return ChangeKind.DELETED
    if before.kind != after.kind:
        return ChangeKind.KIND
    if before.content != after.content:
        return ChangeKind.MODIFIED
    return ChangeKind.MODE if before.mode != after.mode else ChangeKind.TIME


def listed_differences(differences: Sequence[tree.Difference]) -> list[TreeDifference]:
    """Return the first of them, as ``first_of``."""
    return list(map(TreeDifference.between, first_of(differences, _name_bytes)))


def _name_bytes(difference: tree.Difference) -> int:
    path, before, after = difference
    links = (entry for entry in (before, after) if entry and entry.kind == tree.SYMLINK)
    return 3 * len(path) + sum(len(entry.content) for entry in links)


class DiffPage(Page, frozen=True):
    before: Annotated[Generation, Meta(description="The older generation.")]
    after: Generation
    items: Annotated[list[TreeDifference], Meta(description="By path.")]


class CommitWithDifferences(Commit, frozen=True):
    """A commit, and what it changed."""

    differences: Annotated[list[TreeDifference], Meta(description="By path.")]


def time_text(time_ns: int) -> str:
    """Return a time in RFC 3339 form, exact to the nanosecond."""
    seconds, rest = divmod(time_ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC).isoformat()[:19]}.{rest:09}Z"
