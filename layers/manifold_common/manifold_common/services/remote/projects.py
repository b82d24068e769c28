"""Projects of a server."""

from __future__ import annotations

from collections.abc import Sequence

from manifold_common.domain.arguments import (
    checked_count,
    checked_generation,
    listed_paths,
    optional_generation,
)
from manifold_common.errors import Conflict, NotFound
from manifold_common.ids import Generation, ProjectId, parse_project_id
from manifold_common.ports.remote import RemoteCommit, RemoteServer
from manifold_common.services.projects.edits import Edited
from manifold_common.services.projects.history import LogEntry
from manifold_common.shapes.intent import NO_INTENT, Intent
from manifold_common.shapes.projects import Project


class RemoteProjects:
    def __init__(self, server: RemoteServer) -> None:
        self._server = server

    def all(self) -> list[Project]:
        """Return all, by name."""
        return self._server.projects()

    def resolve(self, name_or_id: str) -> Project:
        """Return the project of that name, or of that id. Raises NotFound."""
        return self._server.project(name_or_id)

    def create(self, name: str) -> Project:
        """Raises AlreadyExists, InvalidInput."""
        return self._server.create_project(name)

    def delete(self, project: ProjectId) -> None:
        """Raises NotFound."""
        self._server.delete_project(parse_project_id(project))

    def withdraw(self, project: ProjectId) -> bool:
        """Delete a project if it is empty, and no session is open on it. Returns whether it was deleted."""
        try:
            self._server.delete_project(parse_project_id(project), only_unused=True)
        except (NotFound, Conflict):
            return False
        return True

    def rename(self, project: ProjectId, name: str) -> Project:
        """Raises NotFound, AlreadyExists, InvalidInput."""
        return self._server.rename_project(parse_project_id(project), name)

    def log(self, project: ProjectId, *, before: Generation | None = None, limit: int = 100) -> list[LogEntry]:
        """Return up to ``limit`` commits, newest first, those before ``before``. Raises NotFound."""
        before = optional_generation(before, "before")
        found = self._server.commits(parse_project_id(project), before=before, limit=checked_count(limit, "limit"))
        return [_entry(one) for one in found]

    def restore(
        self, project: ProjectId, generation: Generation, paths: Sequence[bytes] = (), intent: Intent = NO_INTENT
    ) -> Edited:
        """Make a new generation in which ``paths`` (none: everything) are as they were. Raises as ``Edits.restore``."""
        done = self._server.restore(
            parse_project_id(project),
            checked_generation(generation, "generation"),
            listed_paths(paths, "paths"),
            intent,
        )
        return Edited(
            project=project,
            generation=done.generation,
            commit=done.commit,
            paths=[found.exact for found in done.paths],
            conflicts=[found.exact for found in done.conflicts],
            kept=done.kept,
        )


def _entry(found: RemoteCommit) -> LogEntry:
    return LogEntry(
        generation=found.generation,
        commit=found.id,
        parent=found.parent,
        author=found.author,
        session=found.session,
        created_at=found.created_at,
        message=found.message,
        provenance=found.provenance,
        added=found.added,
        modified=found.modified,
        deleted=found.deleted,
        new_bytes=found.new_bytes,
    )
