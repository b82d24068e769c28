"""Generations from a server's plans. What a plan says is held against the seals and hashes of what it leads to."""

from __future__ import annotations

from collections.abc import Callable

from manifold_common.domain.tree import Changes, Tree, apply, misfit
from manifold_common.engine.block_reader import BlockReader
from manifold_common.engine.granted_keys import GrantedKeys
from manifold_common.engine.objects import SealedObjects
from manifold_common.engine.tree_log import Snapshot, empty_snapshot
from manifold_common.engine.working_set.owner import Owner
from manifold_common.errors import CorruptObject, InternalError
from manifold_common.format.commit_object import ReadCommit, read_checkpoint, read_commit
from manifold_common.format.places import Container
from manifold_common.format.sealed import MAX_RAW_BYTES, ObjectKind
from manifold_common.ids import CommitId, Generation, ProjectId, TenantId
from manifold_common.ports.catalog import Head
from manifold_common.ports.object_store import Buffer
from manifold_common.ports.remote import GrantedDraft, ObjectGrant, RemotePlan, RemoteSessionPlan
from manifold_common.services.generations import Standing
from manifold_common.services.remote.context import RemoteContext


class PlannedGenerations:
    """Implements ``Generations`` for a client. Not for several threads, except for what its readers do."""

    def __init__(self, context: RemoteContext) -> None:
        self._context = context
        self.objects = SealedObjects(context.links, context.cache)
        self._keys: dict[ProjectId, GrantedKeys] = {}
        self._snapshots: dict[tuple[ProjectId, Generation], Snapshot] = {}
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
        start: Snapshot | None = None,  # noqa: ARG002 - a plan has the whole tree
    ) -> Snapshot:
        known = None if generation is None else self._snapshots.get((project, generation))
        return known or self.take(self._context.server.plan(project, generation, content=False))

    def head(self, tenant: TenantId, project: ProjectId) -> Head:  # noqa: ARG002
        found = self._context.server.project(project)
        return Head(found.generation, found.commit, b"", found.skills_generation)

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

    def standing(self, owner: Owner) -> Standing:
        row = self._context.server.session(owner.session)
        plan = self.enter(self._context.server.plan_session(owner.session, content=False))
        return Standing(row.project, row.base_generation, tuple(plan.paths))

    # --- what plans bring -----------------------------------------------------------------------------------------

    def enter(self, found: RemoteSessionPlan) -> RemoteSessionPlan:
        """Take what comes with a session's plan but the tree."""
        self.keyring(found.plan.project).name_chunks_with(found.id_key)
        self._take_grants(found.plan.project, found.plan.objects)
        return found

    def keyring(self, project: ProjectId) -> GrantedKeys:
        """Return the keys of a project, whether or not any were granted."""
        return self._keys.setdefault(project, GrantedKeys())

    def take(self, plan: RemotePlan) -> Snapshot:
        """Take the grants of a plan; return its tree.

        Raises:
            CorruptObject: the tree does not open, or is not that of the generation.
        """
        keys = self.keyring(plan.project)
        self._take_grants(plan.project, plan.objects)
        if plan.tree is None:
            if plan.commit is not None:
                raise InternalError("the server has planned a generation without its tree")
            return empty_snapshot(plan.tenant, plan.project)
        grant, commit = plan.tree.grant, plan.commit
        if commit is None or grant.kind != ObjectKind.CHECKPOINT:
            raise InternalError("the server has planned a tree that is none")
        own = Container(
            plan.tenant,
            plan.project,
            ObjectKind.CHECKPOINT,
            plan.generation,
            commit,
            grant.object_id,
            grant.dek,
        )
        self._take_grants(plan.project, [grant])
        data = plan.tree.data or self._fetch(own)
        found = read_checkpoint(data, own, keys.opener(own.seal()))
        if found.meta.record_hash != plan.record_hash:
            raise CorruptObject(own.seal().key, "it is not the tree of the commit that the server names")
        tree: Tree = {}
        if misfit(tree, found.changes) is not None:
            raise CorruptObject(own.seal().key, "it puts a path where there is no folder")
        apply(tree, found.changes)
        head = Head(plan.generation, commit, plan.record_hash, plan.skills_generation)
        size = sum([entry.size for entry in tree.values()])
        snapshot = Snapshot(plan.tenant, plan.project, head, tree, found.places, size)
        self._snapshots = {(plan.project, plan.generation): snapshot, **self._snapshots}
        return snapshot

    def read_draft(self, plan: RemotePlan, draft: GrantedDraft) -> ReadCommit:
        """Return saved work: changes to the plan's generation. Raises CorruptObject."""
        grant = draft.grant
        keys = self.keys(plan.tenant, plan.project)
        self._take_grants(plan.project, [grant])
        generation = Generation(plan.generation + 1)
        own = Container(
            plan.tenant, plan.project, ObjectKind.COMMIT, generation, draft.commit, grant.object_id, grant.dek
        )
        commit = read_commit(self._fetch(own), own, keys.opener(own.seal()), keys.id_key)
        if commit.meta.parent_hash != plan.record_hash:
            raise CorruptObject(own.seal().key, "it was not done on the generation that the server names")
        return commit

    def complete(self, first: RemoteSessionPlan, known: Generation | None) -> RemoteSessionPlan:
        """Fetch the rest of a plan that has more objects than one answer holds."""
        plan = first.plan

        def page(start: int) -> RemotePlan:
            return self._context.server.plan_session(
                first.session,
                generation=plan.generation,
                known=known,
                first=start,
                restore=first.draft is not None,
            ).plan

        self.turn_pages(plan, page)
        return first

    def turn_pages(self, plan: RemotePlan, page: Callable[[int], RemotePlan]) -> None:
        """Take all objects of a plan, and again when their links have ended.

        Args:
            page: asks for the plan's objects from a number on.
        """

        def take_from(count: int) -> None:
            while count < plan.objects_total:
                more = page(count)
                if not more.objects or more.commit != plan.commit:
                    raise InternalError("the server's plan has changed while it was read", hint="try again")
                self._take_grants(more.project, more.objects)
                count += len(more.objects)

        self._context.links.renew_with(lambda: take_from(0))
        take_from(len(plan.objects))

    def _take_grants(self, project: ProjectId, grants: list[ObjectGrant]) -> None:
        keys = self.keyring(project)
        for grant in grants:
            keys.grant(grant.object_id, grant.object_key)
        self._context.links.grant(grants)

    def _fetch(self, own: Container) -> Buffer:
        return self._context.links.get(own.seal().key, max_bytes=MAX_RAW_BYTES)
