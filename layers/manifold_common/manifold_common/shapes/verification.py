"""Whether a project is whole."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from manifold_common.ids import Generation, ProjectId, SessionId
from manifold_common.shapes.base import Answer, Count


class Damage(Answer, frozen=True):
    object: Annotated[str, Meta(description="Its name in the store.")]
    reason: str
    first_generation: Annotated[Generation | None, Meta(description="The first generation that refers to it.")] = None
    sessions: Annotated[
        tuple[SessionId, ...], Meta(description="Those whose saved work cannot be read because of it.")
    ] = ()
    paths: Annotated[tuple[str, ...], Meta(description="Some of the paths that cannot be read because of it.")] = ()


class VerifyReport(msgspec.Struct, kw_only=True):
    """What a verification has found. It grows while the project is looked at."""

    project: ProjectId
    generation: Annotated[Generation, Meta(description="The project's newest.")]
    ok: Annotated[bool, Meta(description="Nothing is damaged.")] = True
    commits: Count = 0
    checkpoints: Count = 0
    drafts: Annotated[Count, Meta(description="Saved work of sessions, of every user.")] = 0
    objects: Annotated[Count, Meta(description="Packs and commit objects that some generation or draft refers to.")] = 0
    chunks: Count = 0
    bytes_read: Annotated[
        Count, Meta(description="Raw bytes of content that was opened; 0 where content was not to be read.")
    ] = 0
    unreferenced_objects: Annotated[
        Count,
        Meta(
            description="Stored objects of the project that no commit or draft refers to: superseded drafts, which "
            "stay for a while, and what failed attempts left."
        ),
    ] = 0
    unreferenced_bytes: Count = 0
    unencrypted_objects: Annotated[
        Count,
        Meta(
            description="Objects in use that are not encrypted: all of a project that is not, and what is older of one "
            "that is by now."
        ),
    ] = 0
    unencrypted_bytes: Count = 0
    problems: list[Damage] = []
