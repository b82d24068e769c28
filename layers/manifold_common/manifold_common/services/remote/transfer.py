"""Whole directories in and out of a server's projects, past the server."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from manifold_common.domain.arguments import checked_flag
from manifold_common.domain.history import Point, require_expected
from manifold_common.engine.working_set.materialise import materialise
from manifold_common.engine.working_set.scan import Progress
from manifold_common.errors import CommitConflict, ManifoldError
from manifold_common.ids import Generation, ProjectId, SessionId, parse_project_id, parse_session_id
from manifold_common.services.projects.transfer import (
    Publication,
    Source,
    exported,
    imported,
    new_folder,
    opened_source,
    read_source,
)
from manifold_common.services.remote.context import RemoteContext
from manifold_common.services.remote.draft_upload import DraftUpload
from manifold_common.services.remote.generation_source import PlannedGenerationSource
from manifold_common.shapes.changes import ExportedFolder, ImportedFolder
from manifold_common.shapes.intent import Intent

_SESSION = "import-"
_log = logging.getLogger(__name__)


def _note_left_open(session: SessionId) -> None:
    _log.warning("session %s of an import could not be closed, and may be open", session)


class RemoteTransfer:
    """Args: ``own_folders``: where Manifold keeps data of its own on this machine. They are never imported."""

    def __init__(self, context: RemoteContext, own_folders: Sequence[Path]) -> None:
        self._context = context
        self._own_folders = own_folders

    def import_folder(
        self,
        project: ProjectId,
        folder: Path,
        intent: Intent,
        *,
        keep: bool = False,
        progress: Progress | None = None,
        left_open: Callable[[SessionId], None] = _note_left_open,
    ) -> ImportedFolder:
        """Make the project's tree equal to ``folder``, as one commit. Raises as ``Transfer.import_folder``.

        Args:
            left_open: told of the session that this was done in where that cannot be closed again.
        """
        checked_flag(keep, "keep")
        parse_project_id(project)
        with opened_source(folder, self._own_folders) as source, self._session(left_open) as session:
            return self._import_source(session, project, source, intent, keep, progress)

    @contextmanager
    def _session(self, left_open: Callable[[SessionId], None]) -> Iterator[SessionId]:
        """Yield a session to open, which is closed at the end. What became of the work stands, whatever that does."""
        session = parse_session_id(_SESSION + self._context.randomness.token(8).hex())
        try:
            yield session
        finally:
            try:
                self._context.server.close_session(session)
            except ManifoldError:
                left_open(session)

    def _import_source(
        self,
        session: SessionId,
        project: ProjectId,
        source: Source,
        intent: Intent,
        keep: bool,
        progress: Progress | None,
    ) -> ImportedFolder:
        context = self._context
        generations = PlannedGenerationSource(context)
        opened = generations.plan_session(session, project, content=False)
        head = Point(opened.plan.generation, opened.plan.commit)
        try:
            require_expected(head, intent.expected)
            return self._import(
                DraftUpload(context, generations, session, head, project), source, intent, keep, progress
            )
        except CommitConflict as error:
            # The session is closed in the end, and its draft is no more than the folder: there is none to settle it in.
            raise CommitConflict(
                error.message,
                paths=error.paths,
                base_generation=head.generation,
                head_generation=int(error.details["head_generation"]),
                project=project,
            ) from None

    def _import(
        self, upload: DraftUpload, source: Source, intent: Intent, keep: bool, progress: Progress | None
    ) -> ImportedFolder:
        base = upload.base
        with upload.writer() as writer:
            incoming = read_source(source, base, writer, self._context.limits, keep=keep, progress=progress)
        done = Publication(base.head.generation, None, [], [])
        if incoming.is_news:
            upload.store(incoming.changes, incoming.content)
            made = upload.publish(intent)
            conflicts = made.conflicts
            done = Publication(made.generation, made.commit, conflicts, made.kept)
        return imported(incoming, done)

    def export(
        self,
        project: ProjectId,
        destination: Path,
        generation: Generation | None = None,
        *,
        progress: Progress | None = None,
    ) -> ExportedFolder:
        """Write a generation into a folder that is empty or does not exist. Raises as ``Transfer.export``."""
        context = self._context
        generations = PlannedGenerationSource(context)
        plan = generations.plan(parse_project_id(project), generation)
        snapshot = generations.take(plan)
        generations.turn_pages(plan, lambda start: generations.plan(project, snapshot.head.generation, first=start))
        with new_folder(destination, snapshot.tree) as root:
            reader = generations.block_reader(snapshot.tenant, snapshot.project)
            materialise(root, snapshot.tree, snapshot.places, reader, progress)
        return exported(snapshot, destination)
