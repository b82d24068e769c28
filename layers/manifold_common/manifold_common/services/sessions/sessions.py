"""Sessions: a user's working set of a project, from checkout to close.

Order of effects of a checkout: the session's row first, then the working set, then its state. A crash in between leaves
a session whose working set the next checkout builds again from its base and draft.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import NamedTuple

from msgspec import structs

from manifold_common.domain.access import Principal
from manifold_common.domain.arguments import checked_flag, checked_session
from manifold_common.domain.conflict import Strategy
from manifold_common.domain.history import Point
from manifold_common.domain.paths import ROOT
from manifold_common.domain.tree import Difference, totals
from manifold_common.domain.unknown import closed_session, unknown_session
from manifold_common.engine.session_scope import scope_of
from manifold_common.engine.staleness import refuse_replaced, refuse_stale
from manifold_common.engine.tree_log import Snapshot
from manifold_common.engine.working_set.location import WorkspaceMode
from manifold_common.engine.working_set.materialise import Progress
from manifold_common.engine.working_set.owner import Owner
from manifold_common.engine.working_set.scope import Scope
from manifold_common.engine.working_set.working_sets import OpenWorkingSet, went_on_elsewhere
from manifold_common.errors import AlreadyExists, InvalidInput, ManifoldError
from manifold_common.ids import Generation, ProjectId, SessionId
from manifold_common.ports.catalog import SessionRow, SessionView
from manifold_common.services.context import Context
from manifold_common.services.projects.projects import Projects
from manifold_common.services.sessions.lost_drafts import drop_if_lost
from manifold_common.services.sessions.relocation import Relocation
from manifold_common.services.sessions.session_files import SessionFiles, Survey, owner_of, working_conflict
from manifold_common.shapes.history import listed_differences
from manifold_common.shapes.path import listed
from manifold_common.shapes.requests import NEWEST, CheckoutRequest
from manifold_common.shapes.sessions import CheckedOut, CheckoutKind, Closed, Missing, Session, Status


class WorkingSetStatus(NamedTuple):
    answer: Status
    differences: list[Difference]
    """All of them, by path. The answer lists only the first."""


class NewSession(NamedTuple):
    """A session that is to be opened."""

    row: SessionRow
    base: Snapshot
    head: Point
    """The project's newest."""


class Sessions:
    def __init__(self, context: Context, files: SessionFiles, relocation: Relocation, projects: Projects) -> None:
        self._context = context
        self._files = files
        self._relocation = relocation
        self._working_sets = files.working_sets
        self._projects = projects

    # --- finding --------------------------------------------------------------------------------------------------

    def view(self, principal: Principal, session: SessionId) -> SessionView:
        """Raises NotFound: the user has no such session."""
        found = self._context.catalog.view_session(principal.tenant, principal.user, session)
        if found is None:
            if any((one.principal, one.session) == (principal, session) for one in self._working_sets.folders.found()):
                raise closed_session(session)
            raise unknown_session(session, (row.session for row in self.all(principal)))
        return found

    def get(self, principal: Principal, session: SessionId) -> Session:
        """Raises as ``view``."""
        return session_of(self.view(principal, session).session)

    def all(self, principal: Principal, project: ProjectId | None = None) -> list[SessionRow]:
        """Return the rows of the user's sessions, by id."""
        return self._context.catalog.list_sessions(principal.tenant, principal.user, project)

    def page(
        self,
        principal: Principal,
        project: ProjectId | None = None,
        *,
        after: SessionId | None = None,
        limit: int = 100,
    ) -> list[Session]:
        """Return up to ``limit`` of the user's sessions by id, those after ``after``."""
        rows = self._context.catalog.list_sessions(principal.tenant, principal.user, project, after=after, limit=limit)
        return list(map(session_of, rows))

    def owner(self, principal: Principal, session: SessionId) -> Owner:
        """Return whose working set it is, without the catalog where this process knows. Raises NotFound."""
        known = self._working_sets.known(principal, session)
        if known is None:
            known = owner_of(self.view(principal, session).session)
            self._working_sets.know(known)
        return known

    # --- checkout -------------------------------------------------------------------------------------------------

    def checkout(
        self,
        principal: Principal,
        session: SessionId | None = None,
        project: ProjectId | None = None,
        request: CheckoutRequest = NEWEST,
        *,
        progress: Progress | None = None,
    ) -> CheckedOut:
        """Bring a session's working set to where the request says, making both if need be.

        Uncommitted changes are kept, and merged with what others committed.

        Args:
            session: ``None``: a new one.
            project: of a new session; that of an open one need not be named.

        Raises:
            DraftLost: saved work of the session has to be brought here and cannot be read.
            NotFound: no such project, session or generation. AlreadyExists: the session was to be a new one.
            InvalidInput: it is of another project.
            CommitConflict: the working set and others' commits changed the same paths, and no strategy was given that
                decides; nothing was touched.
            RamUnavailable: the project is encrypted, and working sets lie on a disk here. NoSpace, QuotaExceeded: there
                is no room. SessionBusy. StaleStore.
        """
        view = None
        if session is not None:
            session = checked_session(session)
            view = self._context.catalog.view_session(principal.tenant, principal.user, session)
        if view is None:
            return self._open(principal, session, project, request, progress)
        row, head = view.session, view.head
        self.check_same(row, project, request)
        if request.drop_lost_draft and (dropped := drop_if_lost(self._context, row)) is not None:
            done = self.checkout(principal, session, project, request, progress=progress)
            return structs.replace(done, dropped_draft=dropped)
        self._files.refuse_on_disk(owner_of(row))
        with self._working_sets.open(owner_of(row)) as opened:
            if opened.base is None or opened.base.generation > head.generation:
                # Looked up before the lock was had: whoever held it may have committed, or saved a draft.
                view = self.view(principal, row.session)
            refuse_replaced(self._context.catalog, row.tenant, row.project, view.head.point, request.seen_generation)
            return self._go_on(opened, view, request, progress)

    def _open(
        self,
        principal: Principal,
        session: SessionId | None,
        project: ProjectId | None,
        request: CheckoutRequest,
        progress: Progress | None,
    ) -> CheckedOut:
        context, scope = self._context, Scope(request.paths)
        row, base, head = self.new_session(principal, session, project, request)
        row = replace(row, working_set=self._relocation.new_id(), node=context.node)
        self._files.refuse_on_disk(owner_of(row))
        session = row.session
        self._files.check_room(scope.select(base.tree))
        try:
            row = context.catalog.open_session(row, ttl=context.policy.session_ttl)
        except AlreadyExists:
            # Someone else opened it at this very moment.
            return self.checkout(principal, session, project, request, progress=progress)
        with self._working_sets.open(owner_of(row)) as opened:
            if opened.location.exists() and self._working_sets.folders.mode is WorkspaceMode.EPHEMERAL:
                # Someone else found the session, and was here first.
                done = self._go_on(opened, self.view(principal, session), request, progress)
                return structs.replace(done, kind=CheckoutKind.NEW)
            try:
                if opened.location.exists():
                    self._bring(opened, row, base.head.point, request.strategy)
                else:
                    self._files.build(opened, base, request.paths, progress=progress, working_set=row.working_set)
                return self._result(opened, CheckoutKind.NEW, head.generation, row.expires_at)
            except BaseException:
                with suppress(ManifoldError):
                    context.catalog.end_session(row)
                raise

    def new_session(
        self,
        principal: Principal,
        session: SessionId | None,
        project: ProjectId | None,
        request: CheckoutRequest,
    ) -> NewSession:
        """Return the row of a session that is to be opened; the catalog says when that was.

        Raises NotFound: no such project or generation. InvalidInput: the id cannot be one. StaleStore.
        """
        context = self._context
        if project is None:
            raise unknown_session(session or SessionId(""))
        head = self._projects.get(principal, project).point
        refuse_replaced(context.catalog, principal.tenant, project, head, request.seen_generation)
        base = context.log.load(principal.tenant, project, request.generation)
        session = SessionId(context.new_id()) if session is None else checked_session(session)
        return NewSession(context.session_row(principal, session, base, request.paths), base, head)

    def check_same(self, row: SessionRow, project: ProjectId | None, request: CheckoutRequest) -> None:
        """Hold an open session against what is asked for.

        Raises:
            AlreadyExists: it was to be a new one. InvalidInput: it was opened on another project, or with other paths.
        """
        if request.only_new:
            raise AlreadyExists(f"session '{row.session}' is open already", hint="choose another session id")
        if project is not None and row.project != project:
            raise InvalidInput(
                f"session '{row.session}' works on another project",
                hint="choose another session id, or commit what that session has, and close it",
            )
        if request.paths and request.paths != scope_of(self._context.keys, row):
            raise InvalidInput(
                f"session '{row.session}' was opened with other paths",
                hint="open a new session for another set of paths",
            )

    def _go_on(
        self,
        opened: OpenWorkingSet,
        view: SessionView,
        request: CheckoutRequest,
        progress: Progress | None,
    ) -> CheckedOut:
        """Check out a session that there is. Its lock is held."""
        row, head, generation = view.session, view.head, request.generation
        if opened.base is not None:
            refuse_stale(head.point, opened.base)
        expires_at = self.prolong(view)  # before the work, in which its end may come
        missing = None if opened.location.exists() else self._missing(row)
        arrived, row = self._relocation.arrive(opened, row, request.strategy, progress)
        target = head.point if generation is None or generation == head.generation else Point(generation)
        moved = self._bring(opened, row, target, request.strategy)
        kind = CheckoutKind.RESTORED if arrived else CheckoutKind.REFRESHED if moved else CheckoutKind.WARM
        return structs.replace(self._result(opened, kind, head.generation, expires_at), missing=missing)

    def _missing(self, row: SessionRow) -> Missing | None:
        if row.working_set is None or row.node is None or row.durable_at is None:
            return None
        aside = self._working_sets.folders.retired.find(row.working_set)
        return Missing(
            node=row.node,
            is_lost=aside is None and row.node == self._context.node,
            since=row.durable_at,
            set_aside="" if aside is None else aside.folder,
        )

    def _bring(self, opened: OpenWorkingSet, row: SessionRow, target: Point, strategy: Strategy) -> bool:
        """Make the working set be at ``target``; tell whether it was not. Its lock is held.

        Raises:
            StaleStore: it stands on a generation that is not in the project's history any more.
        """
        state = self._files.state_of(opened, strategy)
        if state.base.head.point == target:
            return False
        snapshot = self._context.log.load(
            row.tenant, row.project, target.generation, commit=target.commit, start=state.base
        )
        if state.base.head.point == snapshot.head.point:
            return False
        self._files.check_growth(state, snapshot)
        conflicts = self._files.move_to(opened, snapshot, strategy)
        if conflicts and strategy is Strategy.FAIL:
            raise working_conflict(opened.owner, conflicts, state.base.head.generation, target.generation)
        self._context.catalog.move_session(
            row.tenant,
            row.user,
            row.session,
            base_generation=snapshot.head.generation,
            base_commit=snapshot.head.commit,
        )
        return True

    def prolong(self, view: SessionView) -> datetime:
        """Push the session's end back when half its time is over (a warm checkout should not write)."""
        row, ttl = view.session, self._context.policy.session_ttl
        if view.left > ttl / 2:
            return row.expires_at
        return self._context.catalog.prolong_session(row.tenant, row.user, row.session, ttl)

    def note_use(self, owner: Owner) -> None:
        """Put the session's end off, as a checkout does. Raises NotFound."""
        self.prolong(self.view(owner.principal, owner.session))

    def _result(self, opened: OpenWorkingSet, kind: CheckoutKind, head: Generation, expires_at: datetime) -> CheckedOut:
        self._working_sets.know(opened.owner)
        return checked_out(opened, kind, head, expires_at)

    # --- status and close -----------------------------------------------------------------------------------------

    def status(self, principal: Principal, session: SessionId, *, checksum: bool = False) -> WorkingSetStatus:
        """Say what the working set has changed. Stores nothing. Raises NotFound, SessionBusy.

        Args:
            checksum: find that by content, not by times.
        """
        checked_flag(checksum, "checksum")
        view = self.view(principal, session)
        with self._working_sets.open(owner_of(view.session)) as opened:
            state = self._files.standing_state(opened)
            seen = self._files.survey(opened, state, checksum=checksum)
            return status_of(opened, seen, view.head.generation)

    def close(self, principal: Principal, session: SessionId) -> Closed:
        """Drop the session, its working set and its draft. Closing one that is closed already is no error.

        If the session has gone on elsewhere, what was changed here and saved nowhere is set aside: nobody who looked at
        the session has seen it.

        What a process in the folder writes while it is removed may be left; housekeeping goes on to remove it.
        """
        view = self._context.catalog.view_session(principal.tenant, principal.user, session)
        if view is None:
            return Closed(session=session)
        row = view.session
        with self._working_sets.open(owner_of(row)) as opened:
            was_left = not row.is_at(opened.id) and self._relocation.has_own_changes(opened, row)
            self._context.catalog.close_session(principal.tenant, principal.user, session)
            if was_left:
                done = self._working_sets.set_aside(opened, went_on_elsewhere(session))
                return Closed(session=session, set_aside=done.folder)
            return Closed(session=session, left=self._working_sets.wipe(opened) or "")


def session_of(row: SessionRow) -> Session:
    """Return a session as callers see it: its row without what is internal to the catalog."""
    return Session(
        session=row.session,
        project=row.project,
        base_generation=row.base_generation,
        base_commit=row.base_commit,
        draft_saved_at=row.draft.saved_at if row.draft else None,
        created_at=row.created_at,
        expires_at=row.expires_at,
    )


def status_of(opened: OpenWorkingSet, seen: Survey, head: Generation) -> WorkingSetStatus:
    """Return the status of a working set after a survey. Args: ``head``: the project's newest generation."""
    found = seen.differences()
    answer = Status(
        session=opened.owner.session,
        project=opened.owner.project,
        path=opened.location.work,
        base_generation=seen.state.base.head.generation,
        head_generation=head,
        differences=listed_differences(found),
        differences_total=len(found),
        skipped=listed(seen.found.skipped),
    )
    return WorkingSetStatus(answer, found)


def checked_out(opened: OpenWorkingSet, kind: CheckoutKind, head: Generation, expires_at: datetime) -> CheckedOut:
    """Return the answer to a checkout that is done. Args: ``head``: the project's newest generation."""
    assert opened.state is not None
    base, scope = opened.state.base, Scope(opened.state.scope)
    size, files = base.tree_bytes, len(base.tree) - (ROOT in base.tree)
    if not scope.is_whole:
        size, files = totals(scope.select(base.tree))
    return CheckedOut(
        session=opened.owner.session,
        project=opened.owner.project,
        path=opened.location.work,
        kind=kind,
        generation=base.head.generation,
        commit=base.head.commit,
        head_generation=head,
        entries=files,
        total_bytes=size,
        expires_at=expires_at,
        conflicts=listed(sorted(set(opened.decided))),
        kept=list(opened.kept),
    )
