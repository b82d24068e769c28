"""What JSON says of changes to a tree, as edits."""

from __future__ import annotations

from manifold_common.services.projects.edits import (
    Copy,
    Delete,
    Edit,
    MakeFolder,
    Move,
    PutFile,
    PutLink,
    reading,
)
from manifold_common.shapes.changes import (
    DeleteChange,
    MakeFolderChange,
    MoveChange,
    PutFileChange,
    PutLinkChange,
    TreeChange,
)


def edit_of(change: TreeChange) -> Edit:
    """Raises UnsafePath."""
    match change:
        case PutFileChange():
            return PutFile(change.exact, reading(change.content), mode_of(change.mode), None, change.create_only)
        case PutLinkChange():
            return PutLink(change.exact, change.target_bytes)
        case MakeFolderChange():
            return MakeFolder(change.exact, mode_of(change.mode))
        case DeleteChange():
            return Delete(change.exact, change.recursive)
        case MoveChange():
            return Move(change.source.exact, change.destination.exact, change.overwrite)
        case _:
            return Copy(change.source.exact, change.destination.exact, change.overwrite)


def mode_of(text: str | None) -> int | None:
    return int(text, 8) if text is not None else None
