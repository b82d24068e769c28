"""Projects of a server."""

from __future__ import annotations

from collections.abc import Sequence

from manifold_common.domain.arguments import (
    checked_count,
    checked_generation,
    checked_text,
    listed_paths,
)
from manifold_common.domain.listing import EVERY_COMMIT, EVERY_PROJECT, CommitFilter, ProjectFilter
from manifold_common.domain.project_name import check_project_name
from manifold_common.domain.unknown import unknown_project
from manifold_common.errors import Conflict, NotFound
from manifold_common.ids import Generation, ProjectId, parse_project_id
from manifold_common.ports.remote import RemoteServer
from manifold_common.shapes.changes import Edited
from manifold_common.shapes.history import Commit, CommitPage
from manifold_common.shapes.intent import NO_INTENT, Intent
from manifold_common.shapes.projects import Project


class RemoteProjects:
    def __init__(self, server: RemoteServer) -> None:
        self._server = server

    def all(self, wanted: ProjectFilter = EVERY_PROJECT) -> list[Project]:
        """Return all that are wanted, by name."""
        return self._server.projects(wanted)

    def resolve(self, name_or_id: str) -> Project:
        """Return the project of that name, or of that id. Raises NotFound; InvalidInput: it is no text."""
        return self._server.project(_in_address(name_or_id))

    def create(self, name: str) -> Project:
        """Raises AlreadyExists, InvalidInput."""
        check_project_name(name)
        return self._server.create_project(name)

    def delete(self, project: ProjectId) -> None:
        """Raises NotFound."""
        self._server.delete_project(parse_project_id(project))

    def deleted(self, wanted: ProjectFilter = EVERY_PROJECT) -> list[Project]:
        """Return all that can be brought back and are wanted, by name and id."""
        return self._server.deleted_projects(wanted)

    def undelete(self, name_or_id: str, name: str | None = None) -> Project:
        """Bring a deleted project back, of that id or else of that name. Raises as ``DeletedProjects``."""
        known = _in_address(name_or_id)
        if name is not None:
            check_project_name(name)
        return self._server.undelete_project(known, name)

    def withdraw(self, project: ProjectId) -> bool:
        """Delete a project if it is empty, and no session is open on it. Returns whether it was deleted."""
        try:
            self._server.delete_project(parse_project_id(project), only_unused=True)
        except (NotFound, Conflict):
            return False
        return True

    def rename(self, project: ProjectId, name: str) -> Project:
        """Raises NotFound, AlreadyExists, InvalidInput."""
        check_project_name(name)
        return self._server.rename_project(parse_project_id(project), name)

    def log(self, project: ProjectId, wanted: CommitFilter = EVERY_COMMIT, *, limit: int = 100) -> list[Commit]:
        """Return up to ``limit`` commits that are wanted, newest first. Raises NotFound."""
        return self.log_page(project, wanted, limit=limit).items

    def log_page(
        self, project: ProjectId, wanted: CommitFilter = EVERY_COMMIT, *, limit: int = 100, cursor: str | None = None
    ) -> CommitPage:
        """Return up to ``limit`` commits that are wanted, newest first, from ``cursor`` on. Raises as ``commits``."""
        count = max(1, checked_count(limit, "limit"))
        if cursor is not None:
            checked_text(cursor, "cursor")
        return self._server.commits(parse_project_id(project), wanted, limit=count, cursor=cursor)

    def restore(
        self, project: ProjectId, generation: Generation, paths: Sequence[bytes] = (), intent: Intent = NO_INTENT
    ) -> Edited:
        """Make a new generation in which ``paths`` (none: everything) are as they were. Raises as ``Edits.restore``."""
        return self._server.restore(
            parse_project_id(project),
            checked_generation(generation, "generation"),
            listed_paths(paths, "paths"),
            intent,
        )


def _in_address(name_or_id: str) -> str:
    """Return what may stand in an address. Raises NotFound: elsewhere is where it would lead."""
    name = checked_text(name_or_id, "the project's name")
    if not name or "/" in name or name.startswith("."):
        raise unknown_project(name)
    return name
