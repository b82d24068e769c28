"""Sessions: what they are asked for, and what they answer."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

from msgspec import Meta, structs

from manifold_common.domain.conflict import Strategy
from manifold_common.domain.history import Point
from manifold_common.domain.tag import Named
from manifold_common.ids import SLUG, CommitId, Generation, ProjectId, SessionId
from manifold_common.shapes.base import Answer, Count, Dated, Moment, Request, SeenGeneration, seen_of
from manifold_common.shapes.changes import DECIDED, GENERATION_COMMIT, KEPT, STRATEGY, ChangeRequest
from manifold_common.shapes.history import TreeDifference
from manifold_common.shapes.losses import NOT_KEPT, NotKept
from manifold_common.shapes.page import Page
from manifold_common.shapes.path import LISTED_PATHS, TreePath
from manifold_common.shapes.projects import GENERATION
from manifold_common.shapes.requests import CheckoutRequest

SEEN = (
    "The highest generation seen before, best with its commit id: `7-<commit id>`. A store that has less, or another "
    "commit there, is refused."
)
CHECKSUM = "Find changes by content, not by times: also what was written through a shared memory map."
DROP_LOST_DRAFT = "Give up saved work of the session if it cannot be read. What can be read is kept."
DROPPED_DRAFT = "Id of saved work that could not be read and was given up, as was asked."
WORKING_DIRECTORY = "The working directory, on the machine that works in it: a server's, or that of a client of one."
SPECIAL = "Sockets, FIFOs and devices, which are never committed."

Patterns = Annotated[list[str], Meta(max_length=1000)]
Seen = Annotated[SeenGeneration | None, Meta(description=SEEN)]


class Checkout(Request, frozen=True):
    generation: Annotated[Named | None, Meta(description=GENERATION)] = None
    strategy: Annotated[Strategy, Meta(description=STRATEGY)] = Strategy.FAIL
    seen_generation: Seen = None
    drop_lost_draft: Annotated[bool, Meta(description=DROP_LOST_DRAFT)] = False

    def request(self, generation: Generation | None, *, only_new: bool = False) -> CheckoutRequest:
        """Args: ``generation``: which one the request names."""
        return CheckoutRequest(
            generation=generation,
            strategy=self.strategy,
            seen_generation=seen_of(self.seen_generation),
            drop_lost_draft=self.drop_lost_draft,
            only_new=only_new,
        )


class OpenSession(Checkout, frozen=True):
    project: Annotated[str | None, Meta(description="Name or id; needed for a new session.", examples=["demo"])] = None
    session: Annotated[
        Annotated[str, Meta(extra_json_schema={"pattern": SLUG})] | None,
        Meta(description="Id of a session, new or not; made up when absent.", examples=["agent-1"]),
    ] = None
    paths: Annotated[Patterns, Meta(description="Restrict a new session to these (gitignore syntax).")] = []

    def request(self, generation: Generation | None, *, only_new: bool = False) -> CheckoutRequest:
        return structs.replace(super().request(generation, only_new=only_new), paths=tuple(self.paths))


class CommitSession(ChangeRequest, frozen=True, kw_only=True):
    expected_generation: Annotated[
        SeenGeneration | None,
        Meta(description="As If-Match: the project's newest, whichever one the session is based on."),
    ] = None
    checksum: Annotated[bool, Meta(description=CHECKSUM)] = False


class Missing(Dated, frozen=True):
    node: Annotated[str, Meta(description="The machine that it was on.")]
    is_lost: Annotated[bool, Meta(description="It was on this machine, and is gone. Otherwise it may still be there.")]
    since: Annotated[Moment, Meta(description="What was changed in it after that, and not saved, is not restored.")]
    set_aside: Annotated[str, Meta(description="Its directory, if it was set aside on this machine. Else empty.")] = ""


class CheckoutKind(Enum):
    NEW = "new"
    WARM = "warm"
    """The generation had not changed: nothing was touched."""
    REFRESHED = "refreshed"
    RESTORED = "restored"
    """Built again from its base and its draft, on this or another machine."""


class CheckedOut(Dated, frozen=True, kw_only=True):
    session: SessionId
    project: ProjectId
    path: Annotated[str, Meta(description=WORKING_DIRECTORY)]
    kind: Annotated[
        CheckoutKind,
        Meta(
            description="`warm`: nothing was touched, since the generation had not changed. `restored`: built again "
            "from its base and its draft, on this or another machine."
        ),
    ]
    generation: Generation
    commit: Annotated[CommitId | None, Meta(description="Of that generation. Null at generation 0.")]
    head_generation: Generation
    entries: Annotated[Count, Meta(description="Files, folders and links in the working set.")]
    total_bytes: Annotated[Count, Meta(description="Bytes of all files of the generation.")]
    expires_at: Moment
    missing: Annotated[
        Missing | None, Meta(description="The working set that it was restored without, if there was one.")
    ] = None
    dropped_draft: Annotated[CommitId | None, Meta(description=DROPPED_DRAFT)] = None
    conflicts: Annotated[list[TreePath], Meta(description=DECIDED)]
    kept: Annotated[list[SessionId], Meta(description=KEPT)]


class Closed(Answer, frozen=True):
    session: SessionId
    left: Annotated[
        str,
        Meta(description="What a process that works in the directory puts there; its removal goes on. Empty: nothing."),
    ] = ""
    set_aside: Annotated[
        str,
        Meta(
            description="The directory of what was left on this machine when the session went on elsewhere, and was "
            "saved nowhere: it was set aside. Empty: nothing was."
        ),
    ] = ""
    has_newer: Annotated[
        bool, Meta(description="Another session of that name was opened meanwhile, and stays. Only a client says so.")
    ] = False


class Session(Dated, frozen=True):
    session: SessionId
    project: ProjectId
    base_generation: Annotated[Generation, Meta(description="The generation that the working set started from.")]
    base_commit: Annotated[CommitId | None, Meta(description="Of that generation. Null at generation 0.")]
    draft_saved_at: Annotated[Moment | None, Meta(description="When its uncommitted changes were last saved.")]
    created_at: Moment
    expires_at: Moment


class SessionPage(Page, frozen=True):
    items: Annotated[list[Session], Meta(description="By id.")]


class Status(Answer, frozen=True):
    session: SessionId
    project: ProjectId
    path: Annotated[str, Meta(description=WORKING_DIRECTORY)]
    base_generation: Generation
    head_generation: Generation
    differences: Annotated[list[TreeDifference], Meta(description=f"What is not committed; at most {LISTED_PATHS}.")]
    differences_total: Count
    skipped: Annotated[list[TreePath], Meta(description=SPECIAL)]


class Saved(Answer, frozen=True):
    session: SessionId
    project: ProjectId
    base_generation: Generation
    draft: Annotated[CommitId | None, Meta(description="Id of the draft; null when there was nothing to save.")]
    changed: Annotated[Count, Meta(description="Paths in the draft.")]


class Committed(Answer, frozen=True):
    project: ProjectId
    generation: Annotated[
        Generation, Meta(description="The new generation, or the working set's when nothing had changed.")
    ]
    commit: Annotated[CommitId | None, Meta(description="Null when nothing had changed.")]
    added: Count
    modified: Count
    deleted: Count
    new_bytes: Count
    rebased: Annotated[
        bool, Meta(description="Others had committed meanwhile; their changes are now in the working set too.")
    ]
    conflicts: Annotated[list[TreePath], Meta(description=DECIDED)]
    kept: Annotated[list[SessionId], Meta(description=KEPT)]
    skipped: Annotated[list[TreePath], Meta(description=SPECIAL)]
    unstable: Annotated[
        list[TreePath], Meta(description="Files that were being written to; committed as they were read.")
    ]
    not_kept: Annotated[list[NotKept], Meta(description=NOT_KEPT)]
    generation_commit: Annotated[CommitId | None, Meta(description=GENERATION_COMMIT)] = None
    behind: Annotated[
        Annotated[str, Meta(pattern=r"\A[a-z_]{1,64}\Z")] | None,
        Meta(
            description="Code of the error for which the working set could not follow. The commit is made all the "
            "same, and the session's next checkout brings the working set there."
        ),
    ] = None

    @property
    def point(self) -> Point:
        """The generation, with its commit."""
        return Point(self.generation, self.generation_commit or self.commit)
