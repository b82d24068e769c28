"""Whole directories in and out of a server's projects, past the server."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from manifold_common.domain.arguments import checked_flag
from manifold_common.domain.history import Point, require_expected
from manifold_common.domain.paths import ROOT
from manifold_common.domain.tree import Changes, is_significant, totals
from manifold_common.engine.working_set.materialise import materialise
from manifold_common.engine.working_set.scan import Progress, scan
from manifold_common.engine.working_set.state import NO_TRUST
from manifold_common.errors import CommitConflict
from manifold_common.ids import Generation, ProjectId, parse_session_id
from manifold_common.services.projects.transfer import (
    Exported,
    Imported,
    Publication,
    Source,
    imported,
    new_folder,
    opened_source,
)
from manifold_common.services.remote.context import RemoteContext
from manifold_common.services.remote.draft_upload import DraftUpload
from manifold_common.services.remote.generation_source import PlannedGenerationSource
from manifold_common.services.sessions.commit import CommitRequest

_SESSION = "import-"


class RemoteTransfer:
    """Args: ``own_folders``: where Manifold keeps data of its own on this machine. They are never imported."""

    def __init__(self, context: RemoteContext, own_folders: Sequence[Path]) -> None:
        self._context = context
        self._own_folders = own_folders

    def import_folder(
        self,
        project: ProjectId,
        folder: Path,
        request: CommitRequest,
        *,
        keep: bool = False,
        progress: Progress | None = None,
    ) -> Imported:
        """Make the project's tree equal to ``folder``, as one commit. Raises as ``Transfer.import_folder``."""
        checked_flag(keep, "keep")
        with opened_source(folder, self._own_folders) as source:
            return self._import_source(project, source, request, keep, progress)

    def _import_source(
        self, project: ProjectId, source: Source, request: CommitRequest, keep: bool, progress: Progress | None
    ) -> Imported:
        context = self._context
        session = parse_session_id(_SESSION + context.randomness.token(8).hex())
        generations = PlannedGenerationSource(context)
        opened = generations.plan_session(session, project, content=False)
        head = Point(opened.plan.generation, opened.plan.commit)
        try:
            require_expected(head, request.expected)
            return self._import(
                DraftUpload(context, generations, session, head, project), source, request, keep, progress
            )
        except CommitConflict as error:
            # The session is closed again, and its draft is no more than the folder: there is none to settle it in.
            raise CommitConflict(
                error.message,
                paths=error.paths,
                base_generation=head.generation,
                head_generation=int(error.details["head_generation"]),
                project=project,
            ) from None
        finally:
            context.server.close_session(session)

    def _import(
        self, upload: DraftUpload, source: Source, request: CommitRequest, keep: bool, progress: Progress | None
    ) -> Imported:
        base = upload.base
        with upload.writer() as writer:
            found = scan(
                source.root,
                base.tree,
                NO_TRUST,
                chunker=upload.keys.chunker,
                add=writer.add,
                limits=self._context.limits,
                progress=progress,
                without=source.own,
            )
            content = writer.finish()
        changes = Changes(found.changes.upserts, set()) if keep else found.changes
        done = Publication(base.head.generation, None, [], [])
        if is_significant(base.tree, changes) or ROOT not in base.tree:
            upload.store(changes, content)
            made = upload.publish(request)
            conflicts = [path.exact for path in made.conflicts]
            done = Publication(made.generation, made.commit, conflicts, made.kept)
        return imported(base, found, done, writer.new_bytes)

    def export(
        self,
        project: ProjectId,
        destination: Path,
        generation: Generation | None = None,
        *,
        progress: Progress | None = None,
    ) -> Exported:
        """Write a generation into a folder that is empty or does not exist. Raises as ``Transfer.export``."""
        context = self._context
        generations = PlannedGenerationSource(context)
        plan = generations.plan(project, generation)
        snapshot = generations.take(plan)
        generations.turn_pages(plan, lambda start: generations.plan(project, snapshot.head.generation, first=start))
        size, files = totals(snapshot.tree)
        with new_folder(destination, snapshot.tree) as root:
            reader = generations.block_reader(snapshot.tenant, snapshot.project)
            materialise(root, snapshot.tree, snapshot.places, reader, progress)
        return Exported(snapshot.head.generation, files, size)
