"""What the services say of sessions, as the world hears it."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from manifold_common.ids import CommitId, Generation, ProjectId, SessionId
from manifold_common.shapes import sessions as shapes
from manifold_common.shapes.history import listed_differences
from manifold_common.shapes.losses import not_kept
from manifold_common.shapes.path import listed

if TYPE_CHECKING:  # who tells of a checkout has no use for commits
    from manifold_common.services.sessions.commit import Committed, Saved
    from manifold_common.services.sessions.sessions import CheckedOut, Missing, Status


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


def _missing(missing: Missing | None) -> shapes.Missing | None:
    if missing is None:
        return None
    return shapes.Missing(node=missing.node, is_lost=missing.is_lost, since=missing.since)


def checked_out_shown(done: CheckedOut) -> shapes.CheckedOut:
    return shapes.CheckedOut(
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
        missing=_missing(done.missing),
        dropped_draft=done.dropped_draft,
        conflicts=listed(done.conflicts),
        kept=list(done.kept),
    )


def session_shown(row: SessionFacts) -> shapes.Session:
    return shapes.Session(
        session=row.session,
        project=row.project,
        base_generation=row.base_generation,
        base_commit=row.base_commit,
        draft_saved_at=row.draft.saved_at if row.draft else None,
        created_at=row.created_at,
        expires_at=row.expires_at,
    )


def status_shown(status: Status) -> shapes.Status:
    return shapes.Status(
        session=status.session,
        project=status.project,
        path=status.path,
        base_generation=status.base_generation,
        head_generation=status.head_generation,
        differences=listed_differences(status.differences),
        differences_total=len(status.differences),
        skipped=listed(status.skipped),
    )


def saved_shown(saved: Saved) -> shapes.Saved:
    return shapes.Saved(
        session=saved.session,
        project=saved.project,
        base_generation=saved.base_generation,
        draft=saved.commit,
        changed=saved.changed,
    )


def committed_shown(done: Committed) -> shapes.Committed:
    return shapes.Committed(
        project=done.project,
        generation=done.generation,
        commit=done.commit,
        added=done.added,
        modified=done.modified,
        deleted=done.deleted,
        new_bytes=done.new_bytes,
        rebased=done.rebased,
        conflicts=listed(done.conflicts),
        kept=list(done.kept),
        skipped=listed(done.skipped),
        unstable=listed(done.unstable),
        not_kept=not_kept(done.losses),
    )
