"""Sessions: what they are asked for, and what they answer."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, Protocol

from manifold_common.domain.conflict import Strategy
from manifold_common.ids import CommitId, Generation, ProjectId, SessionId
from manifold_common.services.sessions.commit import Committed, Saved
from manifold_common.services.sessions.sessions import CheckedOut, Missing, Status
from pydantic import BaseModel, ConfigDict, Field, StrictBool

from functions.invocation.bounds import LISTED_PATHS, listed
from functions.shapes.base import (
    DROP_LOST_DRAFT,
    DROPPED_DRAFT,
    KEPT,
    BoundedList,
    GenerationNumber,
    Message,
    Provenance,
    SeenGeneration,
    Shape,
)
from functions.shapes.history import DifferenceOut, difference_out, names_of
from functions.shapes.losses import NOT_KEPT, LossOut, losses_out
from functions.shapes.paths import PathOut, paths_out

SEEN = (
    "The highest generation seen before, best with its commit id: `7-<commit id>`. A store that has less, or another "
    "commit there, is refused."
)
CHECKSUM = "Find changes by content, not by times: also what was written through a shared memory map."


class DraftFacts(Protocol):
    @property
    def saved_at(self) -> datetime: ...


class SessionFacts(Protocol):
    """What the services say of a session."""

    @property
    def session(self) -> SessionId: ...
    @property
    def project(self) -> ProjectId: ...
    @property
    def base_generation(self) -> Generation: ...
    @property
    def base_commit(self) -> CommitId | None: ...
    @property
    def draft(self) -> DraftFacts | None: ...
    @property
    def created_at(self) -> datetime: ...
    @property
    def expires_at(self) -> datetime: ...


class OpenSession(Shape):
    model_config = ConfigDict(json_schema_extra={"examples": [{"project": "demo", "session": "agent-1"}]})

    project: str | None = Field(None, description="Name or id; needed for a new session.")
    session: str | None = Field(None, description="Id of a session, new or not; made up when absent.")
    generation: GenerationNumber | None = Field(default=None, description="The newest one by default.")
    paths: BoundedList[str] = Field(
        default_factory=list, max_length=1000, description="Restrict a new session to these (gitignore syntax)."
    )
    strategy: Strategy = Strategy.FAIL
    seen_generation: SeenGeneration | None = Field(default=None, description=SEEN)
    drop_lost_draft: StrictBool = Field(default=False, description=DROP_LOST_DRAFT)


class Checkout(Shape):
    generation: GenerationNumber | None = Field(default=None, description="The newest one by default.")
    strategy: Strategy = Strategy.FAIL
    seen_generation: SeenGeneration | None = Field(default=None, description=SEEN)
    drop_lost_draft: StrictBool = Field(default=False, description=DROP_LOST_DRAFT)


class CommitSession(Shape):
    model_config = ConfigDict(json_schema_extra={"examples": [{"message": "fix the parser"}]})

    message: Message = ""
    provenance: Provenance = Field(default_factory=dict)
    strategy: Strategy = Field(default=Strategy.FAIL, description="What to do where others changed the same paths.")
    expected_generation: SeenGeneration | None = Field(
        default=None, description="As If-Match: the project's newest, whichever one the session is based on."
    )
    checksum: StrictBool = Field(default=False, description=CHECKSUM)


class MissingOut(BaseModel):
    node: str = Field(description="The machine that it was on.")
    is_lost: bool = Field(description="It was on this machine, and is gone. Otherwise it may still be there.")
    since: datetime = Field(description="What was changed in it after that, and not saved, is not restored.")


def missing_out(missing: Missing | None) -> MissingOut | None:
    if missing is None:
        return None
    return MissingOut(node=missing.node, is_lost=missing.is_lost, since=missing.since)


class CheckedOutOut(BaseModel):
    session: str
    project: str
    path: str = Field(description="The working directory, on the server's machine.")
    kind: Literal["new", "warm", "refreshed", "restored"]
    generation: int
    commit: str | None = Field(description="Of that generation. Null at generation 0.")
    head_generation: int
    entries: int = Field(description="Files, folders and links in the working set.")
    total_bytes: int = Field(description="Bytes of all files of the generation.")
    expires_at: datetime
    missing: MissingOut | None = Field(description="The working set that it was restored without, if there was one.")
    dropped_draft: str | None = Field(description=DROPPED_DRAFT)
    conflicts: list[PathOut] = Field(description=f"Paths on which the strategy decided; at most {LISTED_PATHS}.")
    kept: list[str] = Field(description=KEPT)


def checked_out_out(done: CheckedOut) -> CheckedOutOut:
    return CheckedOutOut(
        session=done.session,
        project=done.project,
        path=done.path,
        kind=done.kind.value,
        generation=done.generation,
        commit=done.commit,
        head_generation=done.head_generation,
        entries=done.files,
        total_bytes=done.total_bytes,
        expires_at=done.expires_at,
        missing=missing_out(done.missing),
        dropped_draft=done.dropped_draft,
        conflicts=paths_out(done.conflicts),
        kept=list(done.kept),
    )


class ClosedOut(BaseModel):
    left: str = Field(description="What a process that works in the directory puts there; its removal goes on.")


class SessionOut(BaseModel):
    session: str
    project: str
    base_generation: int = Field(description="The generation that the working set started from.")
    base_commit: str | None = Field(description="Of that generation. Null at generation 0.")
    draft_saved_at: datetime | None = Field(description="When its uncommitted changes were last saved.")
    created_at: datetime
    expires_at: datetime


class SessionList(BaseModel):
    items: list[SessionOut]


def session_out(row: SessionFacts) -> SessionOut:
    return SessionOut(
        session=row.session,
        project=row.project,
        base_generation=row.base_generation,
        base_commit=row.base_commit,
        draft_saved_at=row.draft.saved_at if row.draft else None,
        created_at=row.created_at,
        expires_at=row.expires_at,
    )


class StatusOut(BaseModel):
    session: str
    project: str
    path: str
    base_generation: int
    head_generation: int
    differences: list[DifferenceOut] = Field(description=f"What is not committed; at most {LISTED_PATHS}.")
    differences_total: int
    skipped: list[PathOut] = Field(description="Sockets, FIFOs and devices, which are never committed.")


def status_out(status: Status) -> StatusOut:
    return StatusOut(
        session=status.session,
        project=status.project,
        path=status.path,
        base_generation=status.base_generation,
        head_generation=status.head_generation,
        differences=[difference_out(one) for one in listed(status.differences, names_of)],
        differences_total=len(status.differences),
        skipped=paths_out(status.skipped),
    )


class SavedOut(BaseModel):
    session: str
    project: str
    base_generation: int
    draft: str | None = Field(description="Id of the draft; null when there was nothing to save.")
    changed: int = Field(description="Paths in the draft.")


def saved_out(saved: Saved) -> SavedOut:
    return SavedOut(
        session=saved.session,
        project=saved.project,
        base_generation=saved.base_generation,
        draft=saved.commit,
        changed=saved.changed,
    )


class CommittedOut(BaseModel):
    project: str
    generation: int = Field(description="The new generation, or the working set's when nothing had changed.")
    commit: str | None = Field(description="Null when nothing had changed.")
    added: int
    modified: int
    deleted: int
    new_bytes: int
    rebased: bool = Field(description="Others had committed meanwhile; their changes are now in the working set too.")
    conflicts: list[PathOut] = Field(description=f"Paths on which the strategy decided; at most {LISTED_PATHS}.")
    kept: list[str] = Field(description=KEPT)
    skipped: list[PathOut] = Field(description="Sockets, FIFOs and devices.")
    unstable: list[PathOut] = Field(description="Files that were being written to; committed as they were read.")
    not_kept: list[LossOut] = Field(description=NOT_KEPT)


def committed_out(done: Committed) -> CommittedOut:
    return CommittedOut(
        project=done.project,
        generation=done.generation,
        commit=done.commit,
        added=done.added,
        modified=done.modified,
        deleted=done.deleted,
        new_bytes=done.new_bytes,
        rebased=done.rebased,
        conflicts=paths_out(done.conflicts),
        kept=list(done.kept),
        skipped=paths_out(done.skipped),
        unstable=paths_out(done.unstable),
        not_kept=losses_out(done.losses),
    )
