"""What a strategy drops of a working set on a client's machine, kept at the server (``services/kept_work.py``)."""

from __future__ import annotations

from contextlib import suppress

from manifold_common.domain.tree import Changes
from manifold_common.engine.tree_log import Snapshot
from manifold_common.engine.working_set.state import WorkingState
from manifold_common.engine.working_set.working_sets import OpenWorkingSet
from manifold_common.errors import ManifoldError
from manifold_common.ids import SessionId, encode_id
from manifold_common.services.kept_work import in_scope, kept_id, read_content
from manifold_common.services.remote.context import RemoteContext
from manifold_common.services.remote.draft_upload import DraftUpload
from manifold_common.services.remote.generation_source import PlannedGenerationSource
from manifold_common.shapes.requests import CheckoutRequest


class RemoteKeptWork:
    """Implements ``Keeper``: opens a session on the server, and uploads its draft."""

    def __init__(self, context: RemoteContext, generations: PlannedGenerationSource) -> None:
        self._context = context
        self._generations = generations

    def keep(
        self, opened: OpenWorkingSet, state: WorkingState, target: Snapshot, lost: Changes, root: int
    ) -> SessionId:
        context, generations, owner = self._context, self._generations, opened.owner
        kept = kept_id(owner.session, encode_id(context.randomness.token(16)))
        at = target.head.point
        try:
            generations.plan_session(kept, owner.project, CheckoutRequest(at.generation, state.scope), content=False)
            upload = DraftUpload(context, generations, kept, at, owner.project)
            with upload.writer() as writer:
                changes = read_content(root, in_scope(lost, target, state.scope), upload.keys.chunker, writer.add)
                content = writer.finish()
            upload.store(changes, content)
            upload.keep()
        except BaseException:
            with suppress(ManifoldError):
                context.server.close_session(kept)
            raise
        return kept
