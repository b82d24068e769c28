"""What projects take: in the store, and on the machine that answers."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from manifold_common.domain.garbage import Kept
from manifold_common.ids import Generation, ProjectId
from manifold_common.shapes.base import Answer, Count, Dated, Moment
from manifold_common.shapes.page import Page

_LIVE = "Needed to read the newest generation, its own or that of a fork."
_HISTORY = (
    "Needed by older generations that are kept, saved work, uploads, or what was deleted and can be brought back."
)
_UNREFERENCED = "Nothing was found to refer to it; some of it may be about to be."
_CONDEMNED = "Garbage that a collection has found, and that is removed when its grace is over. As of now."


class Stored(Answer, frozen=True):
    objects: Count
    bytes: Count

    @classmethod
    def of(cls, kept: Kept) -> Stored:
        return cls(objects=kept.objects, bytes=kept.bytes)


class ProjectUsage(Dated, frozen=True):
    """What a project takes. In the store each object counts once, for the project that has stored it."""

    project: ProjectId
    name: str
    measured_at: Annotated[
        Moment | None,
        Meta(
            description="When `live`, `history` and `unreferenced` were measured: at the last collection that found a "
            "change, or since. Null: not yet, and they are null, too."
        ),
    ]
    measured_generation: Annotated[Generation | None, Meta(description="The project's newest generation then.")]
    generation: Annotated[Generation, Meta(description="The project's newest generation now.")]
    live: Annotated[Stored | None, Meta(description=_LIVE)]
    history: Annotated[Stored | None, Meta(description=_HISTORY)]
    unreferenced: Annotated[Stored | None, Meta(description=_UNREFERENCED)]
    condemned: Annotated[Stored, Meta(description=_CONDEMNED)]
    cache_bytes: Annotated[Count, Meta(description="Of this machine's disk, for sealed copies of what is stored.")]
    ram_bytes: Annotated[Count, Meta(description="Of this machine's RAM folder, for working sets of sessions.")]


class UsageTotal(Dated, frozen=True):
    """What many projects take in the store, as far as they were measured; deleted ones too."""

    projects: Annotated[Count, Meta(description="Those that are not deleted.")]
    deleted_projects: Annotated[Count, Meta(description="Deleted ones that have something stored.")]
    unmeasured_projects: Annotated[Count, Meta(description="Those that are not deleted, and were never measured.")]
    oldest_at: Annotated[Moment | None, Meta(description="When the oldest of these measurements was made.")]
    live: Annotated[Stored, Meta(description=_LIVE)]
    history: Annotated[Stored, Meta(description=_HISTORY)]
    unreferenced: Annotated[Stored, Meta(description=_UNREFERENCED)]
    condemned: Annotated[Stored, Meta(description=_CONDEMNED)]


class MachineUsage(Answer, frozen=True):
    """What all of a tenant's projects take on the machine that answers."""

    cache_bytes: Count
    ram_bytes: Count


class UsagePage(Page, frozen=True):
    items: Annotated[list[ProjectUsage], Meta(description="By name.")]
    user: Annotated[UsageTotal, Meta(description="All projects of the caller, not just those of this page.")]
    tenant: Annotated[UsageTotal, Meta(description="All projects of the tenant.")]
    machine: MachineUsage
