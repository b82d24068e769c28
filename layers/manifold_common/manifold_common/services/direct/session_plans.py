"""Sessions whose working set is on a client's machine: the server keeps their row, and gives plans for them."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from manifold_common.domain.access import Principal
from manifold_common.domain.arguments import checked_flag, checked_session
from manifold_common.domain.history import Point
from manifold_common.engine.session_scope import scope_of
from manifold_common.engine.staleness import refuse_replaced
from manifold_common.engine.working_set.scope import Scope
from manifold_common.errors import AlreadyExists
from manifold_common.format.buffers import Buffer
from manifold_common.format.layout import commit_key
from manifold_common.format.sealed import MAX_RAW_BYTES, ObjectKind, Seal, unpack_header
from manifold_common.ids import CommitId, ProjectId, SessionId
from manifold_common.ports.catalog import DraftRef, SessionRow
from manifold_common.services.context import Context
from manifold_common.services.direct.draft_sealing import seal_draft
from manifold_common.services.direct.plans import EVERYTHING, Plans, Wanted
from manifold_common.services.sessions.lost_drafts import blaming_draft, drop_if_lost
from manifold_common.services.sessions.sessions import Sessions
from manifold_common.shapes.access import GrantedDraft, Plan, SessionPlan
from manifold_common.shapes.requests import NEWEST, CheckoutRequest


class SessionPlans:
    def __init__(self, context: Context, sessions: Sessions, plans: Plans) -> None:
        self._context = context
        self._sessions = sessions
        self._plans = plans

    def plan(
        self,
        principal: Principal,
        session: SessionId | None = None,
        project: ProjectId | None = None,
        request: CheckoutRequest = NEWEST,
        *,
        wanted: Wanted = EVERYTHING,
        restore: bool = False,
    ) -> SessionPlan:
        """Return what a client needs to bring its working set to where the request says; open the session if need be.

        Args:
            request: its strategy is the client's to follow.
            wanted: its ``patterns`` are not looked at; the session has its own.
            restore: the client has no working set. If work of the session was saved, the plan is for the generation
                that it was done on, and for that work.

        Raises:
            DraftLost: saved work has to be brought back and cannot be read.
            NotFound: no such project, session or generation. AlreadyExists: the session was to be a new one.
            InvalidInput: it is of another project.
            ConfigError: the store gives no links. StaleStore.
        """
        context = self._context
        checked_flag(restore, "restore")
        session = None if session is None else checked_session(session)
        view = None if session is None else context.catalog.view_session(principal.tenant, principal.user, session)
        dropped: CommitId | None = None
        if view is None:
            _ = self._plans.links  # fails before a session is opened that no plan could serve
            Scope(request.paths)
            row = self._sessions.new_session(principal, session, project, request).row
            try:
                row = context.catalog.open_session(row, ttl=context.policy.session_ttl)
            except AlreadyExists:
                # Someone else opened it at this very moment.
                return self.plan(principal, row.session, project, request, wanted=wanted, restore=restore)
        else:
            row = view.session
            self._sessions.check_same(row, project, request)
            refuse_replaced(context.catalog, row.tenant, row.project, view.head.point, request.seen_generation)
            row = replace(row, expires_at=self._sessions.prolong(view))
            if request.drop_lost_draft and (dropped := drop_if_lost(context, row)) is not None:
                row = replace(row, draft=None)
        wanted = msgspec.structs.replace(wanted, patterns=scope_of(context.keys, row))
        draft = None
        if restore and row.draft is not None:
            restored = self._restoring(principal, row, row.draft, wanted)
            if restored is None:
                # Other work was saved at this very moment.
                return self.plan(principal, row.session, project, request, wanted=wanted, restore=True)
            plan, draft = restored
        else:
            plan = self._plans.without_id_key(principal, row.project, request.generation, wanted)
            if wanted.content and (wanted.known is None or plan.known is not None):
                self._move(row, plan)  # else the client's working set is of another history, and will not go on
        return SessionPlan(
            session=row.session,
            opened_at=row.created_at,
            expires_at=row.expires_at,
            paths=list(wanted.patterns),
            id_key=bytes(context.keys.of(principal.tenant, row.project).id_key),
            plan=plan,
            draft=draft,
            dropped_draft=dropped,
        )

    def _move(self, row: SessionRow, plan: Plan) -> None:
        """Let the session stand on the generation that its client goes on to."""
        if row.base != Point(plan.generation, plan.commit):
            self._context.catalog.move_session(
                row.tenant, row.user, row.session, base_generation=plan.generation, base_commit=plan.commit
            )

    def _restoring(
        self, principal: Principal, row: SessionRow, draft: DraftRef, wanted: Wanted
    ) -> tuple[Plan, GrantedDraft] | None:
        context = self._context
        base = context.log.load(row.tenant, row.project, draft.base.generation, commit=draft.base.commit)
        with blaming_draft(row.session, row.project, draft.generation, draft.commit):
            found = context.log.read_commit(row.tenant, row.project, draft)
        if not context.keys.of(row.tenant, row.project).trusts(draft.dek):
            # Its client could not tell it from another one.
            sealed = seal_draft(context, row, draft, base, found)
            if sealed is None:
                return None
            draft, found = sealed
        restored = base.with_changes(found.changes, found.places)
        containers = self._plans.containers(Scope(wanted.patterns).select(restored.tree), restored.places)
        newest = context.catalog.head(row.tenant, row.project).generation
        plan = self._plans.of_tree(principal, base, newest, containers, wanted.first)
        (grant,) = self._plans.grants(principal, row.project, [self._seal_of(row, draft)])
        return plan, GrantedDraft(commit=draft.commit, grant=grant)

    def _seal_of(self, row: SessionRow, draft: DraftRef) -> Seal:
        key = commit_key(row.tenant, row.project, draft.generation, draft.commit)

        def use(data: Buffer) -> Seal:
            return unpack_header(data, key, ObjectKind.COMMIT, draft.dek)

        return self._context.objects.read(key, use, max_bytes=MAX_RAW_BYTES)
