"""What may be asked of the commit function. A change looks like one of ``POST /api/projects/<project>/commits``."""

from __future__ import annotations

from typing import Annotated, Any

from manifold_common.domain.arguments import optional_request
from manifold_common.domain.conflict import Strategy
from manifold_common.domain.history import parse_point
from manifold_common.domain.paths import check_path, from_text
from manifold_common.services.projects.edits import (
    Copy,
    Delete,
    Edit,
    EditOptions,
    MakeFolder,
    Move,
    PutFile,
    PutLink,
    reading,
)
from msgspec import Meta, Struct, field

from functions.invocation.decode import refusal_of
from functions.invocation.principal import OnBehalf

Mode = Annotated[str, Meta(pattern=r"^0?[0-7]{3}$")]


class Place(Struct, forbid_unknown_fields=True, kw_only=True):
    """A path: as text, or as base64 where it is not UTF-8."""

    path: str | None = None
    path_base64: bytes | None = None

    def to_bytes(self, field: str) -> bytes:
        """Raises InvalidInput, UnsafePath."""
        if self.path is not None and self.path_base64 is None:
            return from_text(self.path)
        if self.path_base64 is not None and self.path is None:
            return check_path(self.path_base64)
        raise refusal_of(f"{field}.path", "give either path or path_base64")


class Put(Place, tag_field="op", tag="put", kw_only=True):
    """Create or replace a file."""

    text: str | None = None
    content_base64: bytes | None = None
    mode: Mode | None = None
    create_only: bool = False

    def edit(self, field: str) -> Edit:
        content = _either(self.text, self.content_base64, f"{field}.text", "give either text or content_base64")
        return PutFile(self.to_bytes(field), reading(content), _mode(self.mode), None, self.create_only)


class Link(Place, tag_field="op", tag="link", kw_only=True):
    """Create or replace a symbolic link."""

    target: str | None = None
    target_base64: bytes | None = None

    def edit(self, field: str) -> Edit:
        target = _either(self.target, self.target_base64, f"{field}.target", "give either target or target_base64")
        return PutLink(self.to_bytes(field), target)


class MakeDir(Place, tag_field="op", tag="mkdir", kw_only=True):
    """Create a folder and those above it."""

    mode: Mode | None = None

    def edit(self, field: str) -> Edit:
        return MakeFolder(self.to_bytes(field), _mode(self.mode))


class Remove(Place, tag_field="op", tag="delete", kw_only=True):
    """Remove a path."""

    recursive: bool = False
    """Needed for a folder that is not empty."""

    def edit(self, field: str) -> Edit:
        return Delete(self.to_bytes(field), self.recursive)


class _FromTo(Struct, forbid_unknown_fields=True, kw_only=True):
    source: Place
    destination: Place
    overwrite: bool = False


class Rename(_FromTo, tag_field="op", tag="move", kw_only=True):
    """Give a path another name."""

    def edit(self, field: str) -> Edit:
        source, destination = self.source.to_bytes(f"{field}.source"), self.destination.to_bytes(f"{field}.destination")
        return Move(source, destination, self.overwrite)


class Duplicate(_FromTo, tag_field="op", tag="copy", kw_only=True):
    """Make a file, a link, or a folder and all in it appear a second time."""

    def edit(self, field: str) -> Edit:
        source, destination = self.source.to_bytes(f"{field}.source"), self.destination.to_bytes(f"{field}.destination")
        return Copy(source, destination, self.overwrite)


class CommitRequest(OnBehalf, tag_field="action", tag="commit", kw_only=True):
    """Make changes as one commit: all of them or none."""

    project: str
    """Name or id."""
    changes: Annotated[list[Put | Link | MakeDir | Remove | Rename | Duplicate], Meta(min_length=1, max_length=100_000)]
    """Made in this order."""
    message: Annotated[str, Meta(max_length=10_000)] = ""
    provenance: Annotated[dict[str, Any], Meta(max_length=64)] = field(default_factory=dict)
    """What made the change: agent run, model, tool calls, cost."""
    expected_generation: (
        Annotated[int, Meta(ge=0, le=2**53 - 1)] | Annotated[str, Meta(pattern=r"^[0-9]{1,15}-[a-z2-7]{26}$")] | None
    ) = None
    """Commit only on top of this very generation, best as ``7-<commit id>``."""
    strategy: Strategy = Strategy.FAIL
    """What to do where others changed the same paths."""
    request_id: str | None = None
    """The caller's own name for this request: a second one of that name changes nothing, and is answered like the
    first."""

    def edits(self) -> list[Edit]:
        """Raises InvalidInput, UnsafePath."""
        return [change.edit(f"changes[{number}]") for number, change in enumerate(self.changes)]

    def options(self) -> EditOptions:
        """Raises InvalidInput."""
        expected = parse_point(str(self.expected_generation)) if self.expected_generation is not None else None
        request = optional_request(self.request_id)
        return EditOptions(self.message, self.provenance, expected, self.strategy, request)


def _either(text: str | None, data: bytes | None, field: str, reason: str) -> bytes:
    if text is not None and data is None:
        return text.encode()
    if data is not None and text is None:
        return data
    raise refusal_of(field, reason)


def _mode(text: str | None) -> int | None:
    return int(text, 8) if text is not None else None
