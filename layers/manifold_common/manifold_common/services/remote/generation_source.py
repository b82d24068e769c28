"""Generations from a server's plans. What a plan says is held against what was asked for, and against the seals and
hashes of what it leads to.

A server decides what a project holds, and may say of it what it likes. What it may not do is answer about something
else: another session, project or generation than was asked for, or in the name of another user than before. Such an
answer is refused whole (``BadAnswer``), before anything on this machine follows from it.
"""

from __future__ import annotations

from collections.abc import Callable

from manifold_common.domain.access import Principal
from manifold_common.domain.history import Point, Seen, history_replaced
from manifold_common.domain.tree import Changes, misfit
from manifold_common.engine.block_reader import BlockReader
from manifold_common.engine.granted_keys import GrantedKeys
from manifold_common.engine.objects import SealedObjects
from manifold_common.engine.staleness import refuse_stale
from manifold_common.engine.tree_log import Snapshot, empty_snapshot
from manifold_common.engine.working_set.owner import Owner
from manifold_common.errors import BadAnswer, CorruptObject, InternalError
from manifold_common.format.commit_object import ReadCommit, read_checkpoint, read_commit
from manifold_common.format.layout import checkpoint_name
from manifold_common.format.places import Container
from manifold_common.format.sealed import MAX_RAW_BYTES, ObjectKind
from manifold_common.ids import PLAIN, CommitId, Generation, ProjectId, SessionId, TenantId
from manifold_common.ports.catalog import Head
from manifold_common.ports.object_store import Buffer
from manifold_common.services.remote.context import RemoteContext
from manifold_common.services.sessions.generation_source import SessionBase
from manifold_common.shapes.access import GrantedDraft, ObjectGrant, Plan, SessionPlan
from manifold_common.shapes.answer_checks import check_plan, session_of
from manifold_common.shapes.requests import NEWEST, CheckoutRequest
from manifold_common.shapes.sessions import Session


class PlannedGenerationSource:
    """Implements ``GenerationSource`` for a client. Not for several threads, except for what its readers do."""

    def __init__(self, context: RemoteContext) -> None:
        self._context = context
        self.objects = SealedObjects(context.links, context.cache)
        self._keys: dict[ProjectId, GrantedKeys] = {}
        self._snapshots: dict[tuple[ProjectId, Point], Snapshot] = {}
        self._principal: Principal | None = None
        self.limits = context.limits

    # --- what working sets ask for --------------------------------------------------------------------------------

    def refuse_on_disk(self, owner: Owner, folder: str) -> None:
        """A client's working sets lie in RAM, or it does not start."""

    def load(
        self,
        tenant: TenantId,  # noqa: ARG002 - the server knows whose it is
        project: ProjectId,
        generation: Generation | None = None,
        *,
        commit: CommitId | None = None,
        start: Snapshot | None = None,  # noqa: ARG002 - a plan has the whole tree
    ) -> Snapshot:
        known = None
        if generation is not None and commit is not None:
            known = self._snapshots.get((project, Point(generation, commit)))
        if known is not None:
            return known
        plan = self.plan(project, generation, content=False)
        if commit is not None and plan.commit != commit:
            raise history_replaced(Point(plan.generation, commit), plan.head_generation)
        return self.take(plan)

    def head(self, tenant: TenantId, project: ProjectId) -> Point:  # noqa: ARG002
        return self._context.server.project(project).point

    def keys(self, tenant: TenantId, project: ProjectId) -> GrantedKeys:  # noqa: ARG002
        """Raises InternalError: no session of that project was entered."""
        found = self._keys.get(project)
        if found is None:
            raise InternalError(f"no keys of project {project} were granted")
        return found

    def block_reader(self, tenant: TenantId, project: ProjectId) -> BlockReader:
        return BlockReader(self.keys(tenant, project), self.objects, self._context.workers)

    def published(self, tenant: TenantId, project: ProjectId, commit: CommitId) -> Changes | None:  # noqa: ARG002
        """A client notes no commits: published or not, its next checkout finds files and generation alike."""
        return None

    def standing(self, owner: Owner) -> SessionBase:
        row = self.session(owner.session)
        plan = self.plan_session(owner.session, content=False)
        return SessionBase(row.project, Point(row.base_generation, row.base_commit), tuple(plan.paths))

    # --- what plans bring -----------------------------------------------------------------------------------------

    def plan(
        self, project: ProjectId, generation: Generation | None = None, *, first: int = 0, content: bool = True
    ) -> Plan:
        """Raises NotFound; BadAnswer: the plan is for something else."""
        plan = self._context.server.plan(project, generation, first=first, content=content)
        self.check(plan, project, generation)
        if plan.id_key is not None:
            self.keyring(project).name_chunks_with(plan.id_key)
        return plan

    def session(self, session: SessionId) -> Session:
        """Raises NotFound."""
        return self._context.server.session(session)

    def plan_session(
        self,
        session: SessionId,
        project: ProjectId | None = None,
        request: CheckoutRequest = NEWEST,
        *,
        known: Seen | None = None,
        first: int = 0,
        content: bool = True,
        restore: bool = False,
    ) -> SessionPlan:
        """Return a session's plan, after taking what comes with it but the tree.

        Raises:
            BadAnswer: the plan is for something else. StaleStore. Others as ``RemoteServer.plan_session``.
        """
        found = self._context.server.plan_session(
            session, project, request, known=known, first=first, content=content, restore=restore
        )
        if found.draft is not None and not restore:
            raise BadAnswer("the server brings saved work that was not asked for")
        if request.paths and tuple(found.paths) != request.paths:
            raise BadAnswer("the server has opened the session with other paths than it was asked to")
        refuse_stale(newest_of(found.plan), request.seen_generation)
        return self.enter(found, session, project, None if found.draft else request.generation)

    def enter(
        self,
        found: SessionPlan,
        session: SessionId,
        project: ProjectId | None = None,
        generation: Generation | None = None,
    ) -> SessionPlan:
        """Take what comes with a session's plan but the tree. Raises BadAnswer: it is for something else."""
        session_of(session)(found)
        self.check(found.plan, project, generation)
        self.keyring(found.plan.project).name_chunks_with(found.id_key)
        self._take_grants(found.plan, found.plan.objects)
        return found

    def check(self, plan: Plan, project: ProjectId | None, generation: Generation | None) -> None:
        """Raises BadAnswer: the plan is for another project, generation or user."""
        principal = Principal(plan.tenant, plan.user)
        check_plan(plan, project, generation)
        if self._principal not in (None, principal):
            raise BadAnswer("the server answers in the name of another user than before")
        self._principal = principal

    def keyring(self, project: ProjectId) -> GrantedKeys:
        """Return the keys of a project, whether or not any were granted."""
        return self._keys.setdefault(project, GrantedKeys())

    def take(self, plan: Plan) -> Snapshot:
        """Take the grants of a plan; return its tree.

        Raises:
            CorruptObject: the tree does not open, or is not that of the generation.
        """
        keys = self.keyring(plan.project)
        self._take_grants(plan, plan.objects)
        if plan.tree is None:
            if plan.commit is not None:
                raise BadAnswer("the server has planned a generation without its tree")
            return empty_snapshot(plan.tenant, plan.project)
        grant, commit = plan.tree.grant, plan.commit
        if commit is None or grant.kind != ObjectKind.CHECKPOINT:
            raise BadAnswer("the server has planned a tree that is none")
        own = Container(
            plan.tenant,
            plan.project,
            ObjectKind.CHECKPOINT,
            plan.generation,
            _checkpoint_name(grant, commit),
            grant.object_id,
            grant.dek,
        )
        self._take_grants(plan, [grant])
        data = plan.tree.data or self._fetch(own)
        with self._context.memory.account(own.seal().key) as account:
            found = read_checkpoint(data, own, keys.opener(own.seal()), account.take)
        if found.meta.record_hash != plan.record_hash:
            raise CorruptObject(own.seal().key, "it is not the tree of the commit that the server names")
        empty = empty_snapshot(plan.tenant, plan.project)
        _check_fit(empty, found.changes, own)
        head = Head(plan.generation, commit, plan.record_hash, plan.skills_generation)
        snapshot = empty.with_changes(found.changes, found.places, head=head)
        self._snapshots[plan.project, head.point] = snapshot
        return snapshot

    def read_draft(self, plan: Plan, draft: GrantedDraft, base: Snapshot) -> ReadCommit:
        """Return saved work: changes to the plan's generation, which is ``base``. Raises CorruptObject."""
        grant = draft.grant
        keys = self.keys(plan.tenant, plan.project)
        self._take_grants(plan, [grant])
        if grant.dek == PLAIN and plan.tree is not None and plan.tree.grant.dek != PLAIN:
            raise CorruptObject(grant.key, "it is not encrypted, though its project is")
        generation = Generation(plan.generation + 1)
        own = Container(
            plan.tenant, plan.project, ObjectKind.COMMIT, generation, draft.commit, grant.object_id, grant.dek
        )
        with self._context.memory.account(own.seal().key) as account:
            commit = read_commit(self._fetch(own), own, keys.opener(own.seal()), keys.id_key, account.take)
        if commit.meta.parent_hash != plan.record_hash:
            raise CorruptObject(own.seal().key, "it was not done on the generation that the server names")
        _check_fit(base, commit.changes, own)
        return commit

    def complete(self, first: SessionPlan, known: Point | None) -> SessionPlan:
        """Fetch the rest of a plan that has more objects than one answer holds."""
        plan = first.plan

        def page(start: int) -> Plan:
            at = CheckoutRequest(plan.generation)
            restore = first.draft is not None
            return self.plan_session(first.session, plan.project, at, known=known, first=start, restore=restore).plan

        self.turn_pages(plan, page)
        return first

    def turn_pages(self, plan: Plan, page: Callable[[int], Plan]) -> None:
        """Take all objects of a plan, and again when their links have ended.

        Args:
            page: asks for the plan's objects from a number on.
        """

        def take_from(count: int) -> None:
            while count < plan.objects_total:
                more = page(count)
                if not more.objects or more.commit != plan.commit:
                    raise BadAnswer("the server's plan has changed while it was read", hint="try again")
                self._take_grants(more, more.objects)
                count += len(more.objects)

        self._context.links.renew_with(lambda: take_from(0))
        take_from(len(plan.objects))

    def _take_grants(self, plan: Plan, grants: list[ObjectGrant]) -> None:
        keys = self.keyring(plan.project)
        for grant in grants:
            keys.grant(grant.object_id, grant.object_key)
        self._context.links.grant(grants)

    def _fetch(self, own: Container) -> Buffer:
        return self._context.links.get(own.seal().key, max_bytes=MAX_RAW_BYTES)


def _check_fit(base: Snapshot, changes: Changes, own: Container) -> None:
    if misfit(base.tree, changes) is not None:
        raise CorruptObject(own.seal().key, "it puts a path where there is no folder")


def newest_of(plan: Plan) -> Point:
    """Return the project's newest generation, with its commit where that is the one planned."""
    return Point(plan.head_generation, plan.commit if plan.generation == plan.head_generation else None)


def _checkpoint_name(grant: ObjectGrant, commit: CommitId) -> str:
    """Return the name of the granted tree: with its object id, or without, as a server of before names it."""
    named = checkpoint_name(commit, grant.object_id)
    return named if grant.key.endswith(f"-{named}") else commit
