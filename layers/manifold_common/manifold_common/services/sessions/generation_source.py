"""Where a working set's generations come from. On a server that is the log itself."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from manifold_common.domain.history import Point
from manifold_common.domain.quota import Limits
from manifold_common.domain.tree import Changes
from manifold_common.domain.unknown import unknown_session
from manifold_common.engine.block_reader import BlockReader
from manifold_common.engine.keyring import Keyring
from manifold_common.engine.objects import SealedObjects
from manifold_common.engine.session_scope import scope_of
from manifold_common.engine.tree_log import Snapshot
from manifold_common.engine.working_set.owner import Owner
from manifold_common.ids import CommitId, Generation, ProjectId, TenantId
from manifold_common.services.context import Context


class SessionBase(NamedTuple):
    """What is known of a session apart from its working set."""

    project: ProjectId
    base: Point
    patterns: tuple[str, ...]


class GenerationSource(Protocol):
    @property
    def limits(self) -> Limits: ...

    @property
    def objects(self) -> SealedObjects: ...

    def refuse_on_disk(self, owner: Owner, folder: str) -> None:
        """Raises RamUnavailable: the owner's project is encrypted, and ``folder`` lies on a disk."""

    def load(
        self,
        tenant: TenantId,
        project: ProjectId,
        generation: Generation | None = None,
        *,
        commit: CommitId | None = None,
        start: Snapshot | None = None,
    ) -> Snapshot:
        """Return a generation's tree, the newest by default.

        Raises:
            NotFound. StaleStore: the generation has another ``commit``, or ``start`` is not in the history any more.
        """

    def head(self, tenant: TenantId, project: ProjectId) -> Point:
        """Return where the project is. Raises NotFound."""

    def keys(self, tenant: TenantId, project: ProjectId) -> Keyring:
        """Raises NotFound."""

    def block_reader(self, tenant: TenantId, project: ProjectId) -> BlockReader: ...

    def published(self, tenant: TenantId, project: ProjectId, commit: CommitId) -> Changes | None:
        """Return the changes of a commit, or ``None`` if it was never published."""

    def standing(self, owner: Owner) -> SessionBase:
        """Raises NotFound: there is no such session."""


class LogGenerationSource:
    """Read from the project's log."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.limits = context.policy.limits
        self.objects = context.objects
        self.load = context.log.load
        self.block_reader = context.block_reader

    def refuse_on_disk(self, owner: Owner, folder: str) -> None:
        self._context.plaintext.refuse_folder(owner.tenant, owner.project, folder, session=owner.session)

    def head(self, tenant: TenantId, project: ProjectId) -> Point:
        return self._context.catalog.head(tenant, project).point

    def keys(self, tenant: TenantId, project: ProjectId) -> Keyring:
        return self._context.keys.of(tenant, project)

    def published(self, tenant: TenantId, project: ProjectId, commit: CommitId) -> Changes | None:
        row = self._context.catalog.find_commit(tenant, project, commit)
        return None if row is None else self._context.log.read_commit(tenant, project, row).changes

    def standing(self, owner: Owner) -> SessionBase:
        view = self._context.catalog.view_session(owner.tenant, owner.user, owner.session)
        if view is None:
            raise unknown_session(owner.session)
        row = view.session
        return SessionBase(row.project, row.base, scope_of(self._context.keys, row))
