"""Trees, and the entries in them."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import Enum
from typing import Any

from manifold_common.domain.tree import DIRECTORY, FILE, Entry
from pydantic import BaseModel, Field

from functions.invocation.path_text import path_fields
from functions.shapes.paths import PathOut


class Kind(Enum):
    FILE = "file"
    FOLDER = "folder"
    LINK = "link"


class EntryOut(PathOut):
    kind: Kind
    mode: str = Field(description="Permission bits in octal.", examples=["644"])
    modified_at: str = Field(description="Time to the nanosecond.", examples=["2026-05-04T10:20:30.123456789Z"])
    size: int = Field(description="Bytes; 0 for folders and links.", examples=[1234])
    target: str | None = Field(None, description="Where a link points to.", exclude_if=lambda value: value is None)
    target_base64: str | None = Field(
        None, description="Its exact bytes, when they are not UTF-8.", exclude_if=lambda value: value is None
    )


class TreePage(BaseModel):
    generation: int
    items: list[EntryOut] = Field(description="By path.")
    next: str | None = Field(description="Give it as `after` to get the next page; null on the last one.")


def entry_out(path: bytes, entry: Entry) -> EntryOut:
    kind = Kind.FILE if entry.kind == FILE else Kind.FOLDER if entry.kind == DIRECTORY else Kind.LINK
    fields: dict[str, Any] = path_fields(path)
    if kind is Kind.LINK:
        fields |= path_fields(entry.content, "target")
    return EntryOut(
        kind=kind, mode=f"{entry.mode:03o}", modified_at=time_text(entry.mtime_ns), size=entry.size, **fields
    )


def time_text(time_ns: int) -> str:
    """Return a time in RFC 3339 form, exact to the nanosecond."""
    seconds, rest = divmod(time_ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09}Z"
