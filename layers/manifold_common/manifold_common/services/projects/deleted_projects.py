"""Deleted projects, for as long as they can be brought back: listed, found, and brought back.

A project comes back with its history, tags and keys, and with those of its sessions that hold saved work. All of that
was kept in the catalog and the store; so bringing it back is one statement.
"""

from __future__ import annotations

from contextlib import suppress

from manifold_common.domain.access import Principal
from manifold_common.domain.event import PROJECT_UNDELETED, project_event
from manifold_common.domain.listing import EVERY_PROJECT, ProjectFilter
from manifold_common.domain.project_name import check_project_name
from manifold_common.domain.unknown import unknown_deleted_project
from manifold_common.errors import Conflict, InvalidInput, NotFound
from manifold_common.ids import ProjectId, parse_project_id
from manifold_common.nearest import nearest
from manifold_common.ports.catalog import DeletedPlace, DeletedProject, OutboxEvent
from manifold_common.services.context import Context
from manifold_common.services.kept_work import kept_id
from manifold_common.services.projects.projects import MAX_PAGE, Projects, project_of
from manifold_common.shapes.projects import Project

_MOST_MEANT = 3
_MOST_NAMED = 5
"""Projects of one name that an error tells apart."""
_TRIES = 5
"""Whenever others bring the project back, and delete it again, at that moment."""


class DeletedProjects:
    def __init__(self, context: Context, projects: Projects) -> None:
        self._context = context
        self._projects = projects

    def page(
        self,
        principal: Principal,
        *,
        wanted: ProjectFilter = EVERY_PROJECT,
        after: DeletedPlace | None = None,
        limit: int = 100,
    ) -> list[Project]:
        """Return up to ``limit`` (at most MAX_PAGE) of the user's deleted projects that can be brought back, by name
        and id, those after ``after``."""
        limit = max(1, min(limit, MAX_PAGE))
        return [self._shown(one) for one in self._page(principal, wanted, after, limit)]

    def all(self, principal: Principal, wanted: ProjectFilter = EVERY_PROJECT) -> list[Project]:
        """Return all of the user's deleted projects that can be brought back, by name and id."""
        found: list[Project] = []
        while page := self.page(
            principal, wanted=wanted, after=(found[-1].name, found[-1].id) if found else None, limit=MAX_PAGE
        ):
            found += page
        return found

    def resolve(self, principal: Principal, name_or_id: str) -> Project:
        """Return the user's deleted project of that id, or else of that name; where there is none, the living one: it
        may have been brought back already.

        Raises:
            NotFound: neither can be found. Conflict: several deleted projects have the name.
        """
        with suppress(InvalidInput):
            found = self._find(principal, parse_project_id(name_or_id))
            if found is not None:
                return self._shown(found)
        with suppress(InvalidInput):
            page = self._page(principal, ProjectFilter(prefix=name_or_id), None, _MOST_NAMED)  # itself comes first
            named = [one for one in page if one.row.name == name_or_id]
            if len(named) > 1:
                ids = ", ".join(f"{one.row.project} (deleted {one.deleted_at:%Y-%m-%d %H:%M} UTC)" for one in named)
                raise Conflict(f"several deleted projects were named {name_or_id!r}: {ids}", hint="say which by its id")
            if named:
                return self._shown(named[0])
        try:
            return self._projects.resolve(principal, name_or_id)
        except NotFound:
            page = self._page(principal, EVERY_PROJECT, None, MAX_PAGE)
            like = nearest(name_or_id, (one.row.name for one in page), most=_MOST_MEANT)
            raise unknown_deleted_project(name_or_id, like) from None

    def undelete(self, principal: Principal, project: ProjectId, name: str | None = None) -> Project:
        """Bring a deleted project back, under the name that it had or another one. Where it is there already under that
        name, because the answer to an earlier request was lost, nothing is changed.

        Sessions that hold saved work come back with it. One whose id its user has given to another session meanwhile
        gets an id like those of work that was kept (``kept_id``).

        Raises:
            NotFound: no such project, not this user's, or it cannot be brought back any more. AlreadyExists: the user
            has a project of that name. Conflict: it is not deleted, and has another name. InvalidInput: the name cannot
            be used.
        """
        if name is not None:
            check_project_name(name)
        context, policy = self._context, self._context.policy
        for _ in range(_TRIES):
            deleted = self._find(principal, project)
            if deleted is None:
                return self._living(principal, project, name)
            rows = context.catalog.deleted_sessions(principal.tenant, project)
            data = project_event(principal.tenant, project, principal.user, context.clock.now())
            row = context.catalog.undelete_project(
                deleted,
                deleted.row.name if name is None else name,
                OutboxEvent(PROJECT_UNDELETED, data),
                grace=policy.deleted_project_grace,
                ttl=policy.session_ttl,
                others={(one.user, one.session): kept_id(one.session, context.new_id()) for one in rows},
            )
            if row is not None:
                context.nudge.give()
                return project_of(row)
        raise Conflict(f"project {project} is deleted and brought back again and again", hint="try again")

    def _living(self, principal: Principal, project: ProjectId, name: str | None) -> Project:
        try:
            found = self._projects.get(principal, project)
        except NotFound:
            raise unknown_deleted_project(project) from None
        if name not in (None, found.name):
            raise Conflict(
                f"project {project} is not deleted, and is named {found.name!r}",
                hint=f"'manifold project rename {project} NAME' gives it another name",
            )
        return found

    def _find(self, principal: Principal, project: ProjectId) -> DeletedProject | None:
        grace = self._context.policy.deleted_project_grace
        found = self._context.catalog.find_deleted(principal.tenant, project, grace)
        return found if found is not None and found.row.owner == principal.user else None

    def _page(
        self, principal: Principal, wanted: ProjectFilter, after: DeletedPlace | None, limit: int
    ) -> list[DeletedProject]:
        grace = self._context.policy.deleted_project_grace
        return self._context.catalog.deleted_projects(
            principal.tenant, principal.user, grace, wanted=wanted, after=after, limit=limit
        )

    def _shown(self, deleted: DeletedProject) -> Project:
        return project_of(deleted.row, deleted.deleted_at, self._context.policy.deleted_project_grace)
