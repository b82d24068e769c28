"""Whether a project is whole."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Final

from msgspec import Meta

from manifold_common.ids import Generation, ProjectId, SessionId, TagName
from manifold_common.shapes.base import Answer, Count, Dated, Moment, Request
from manifold_common.shapes.page import Page

Sample = Annotated[
    float,
    Meta(
        gt=0,
        le=100,
        description="Percentage of the objects whose content is read from beginning to end and checked, chosen by "
        "chance each time; those that are known to be damaged come on top.",
    ),
]

REPAIR: Final = "Bring back what is damaged, as far as it is found elsewhere. What is replaced is kept aside."


class Verify(Request, frozen=True):
    """How thoroughly a project is looked at."""

    read_data: Annotated[bool, Meta(description="Read and check all content; the same as a sample of 100.")] = False
    sample: Sample | None = None
    repair: Annotated[bool, Meta(description=f"{REPAIR} Only by a job: send `Prefer: respond-async`.")] = False


class Damage(Answer, frozen=True):
    object: Annotated[str, Meta(description="Its name in the store.")]
    reason: str
    first_generation: Annotated[Generation | None, Meta(description="The first generation that refers to it.")] = None
    last_generation: Annotated[
        Generation | None, Meta(description="The last generation that cannot be read whole because of it.")
    ] = None
    tags: Annotated[
        tuple[TagName, ...],
        Meta(description="Some of the tags of generations that cannot be read whole because of it."),
    ] = ()
    sessions: Annotated[
        tuple[SessionId, ...], Meta(description="Those whose saved work cannot be read because of it.")
    ] = ()
    paths: Annotated[
        tuple[str, ...],
        Meta(
            description="Some of the paths that cannot be read because of it: of the newest generation, or, if none "
            "is, of older ones."
        ),
    ] = ()


class VerifyReport(Answer, frozen=True):
    """What a verification has found."""

    project: ProjectId
    generation: Annotated[Generation, Meta(description="The project's newest.")]
    ok: Annotated[bool, Meta(description="Nothing is damaged.")] = True
    commits: Count = 0
    checkpoints: Count = 0
    tags: Count = 0
    drafts: Annotated[Count, Meta(description="Saved work of sessions, of every user.")] = 0
    objects: Annotated[Count, Meta(description="Packs and commit objects that some generation or draft refers to.")] = 0
    objects_read: Annotated[Count, Meta(description="Those of them that were read from beginning to end.")] = 0
    stored_bytes: Annotated[Count, Meta(description="Of these objects, as they are stored.")] = 0
    stored_bytes_read: Annotated[Count, Meta(description="Of those that were read from beginning to end.")] = 0
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
    damaged: Annotated[Count, Meta(description="Damaged objects.")] = 0
    problems: Annotated[list[Damage], Meta(description="What is wrong; if there is very much, some of it.")] = []


class Source(Enum):
    """What an object was repaired from."""

    CACHE = "cache"
    """This machine's cache, and what was left of the object itself: it is as it was, byte for byte."""
    CATALOG = "catalog"
    """The database, which has all that a key record says."""
    LOG = "log"
    """Other checkpoints and commits: a checkpoint of the same tree has taken its place."""
    REBUILT = "rebuilt"
    """The trees before and after a commit, and the database: another object with the very record that was published."""
    MOVED = "moved"
    """What it held stands elsewhere now, and nobody needs it any more; it stays where it is, as it is."""


class RepairedObject(Answer, frozen=True):
    object: Annotated[str, Meta(description="Its name in the store.")]
    by: Annotated[
        Source,
        Meta(
            description="`cache`: this machine's cache, byte for byte; `catalog`: the database; `log`: a checkpoint, "
            "by another one of the same tree; `rebuilt`: a commit, from the trees before and after it and the "
            "database, with the very record that was published; `moved`: what it held stands elsewhere now, and nobody "
            "needs it any more."
        ),
    ]


class RepairReport(Answer, frozen=True):
    """What a repair has done, and what a verification has found after it."""

    project: ProjectId
    ok: Annotated[bool, Meta(description="Nothing is damaged any more.")]
    found: Annotated[Count, Meta(description="Damaged objects before it.")]
    repaired: Annotated[
        list[RepairedObject],
        Meta(description="What was found whole, or not to be needed any more, afterwards; by name."),
    ]
    rescued_bytes: Annotated[
        Count,
        Meta(description="Of content that is read from elsewhere now than from damaged objects."),
    ]
    quarantined: Annotated[
        list[str], Meta(description="Where damaged bytes are kept that others have taken the place of.")
    ]
    damaged: Annotated[Count, Meta(description="Damaged objects that are left.")]
    left: Annotated[list[Damage], Meta(description="What is wrong yet; if there is very much, some of it.")]


class DamagedObject(Dated, frozen=True):
    """What a verification has found damaged, and none has found whole since."""

    object: Annotated[str, Meta(description="Its name in the store.")]
    reason: str
    first_generation: Annotated[
        Generation | None, Meta(description="The first generation that refers to it; null: it is a key or saved work.")
    ]
    found_at: Annotated[Moment, Meta(description="When it was found first.")]
    seen_at: Annotated[Moment, Meta(description="When it was found last.")]


class DamagePage(Page, frozen=True):
    items: Annotated[list[DamagedObject], Meta(description="By name.")]
    full: Annotated[
        bool,
        Meta(
            description="As many are known as are kept of one project, 1,000: there may be more. Those beyond are "
            "found again when some of these are whole."
        ),
    ]
