"""Tags of a server's projects."""

from __future__ import annotations

from typing import overload

from manifold_common.domain.history import Point
from manifold_common.domain.tag import Named, checked_named
from manifold_common.errors import NotFound, UnknownAddress
from manifold_common.ids import Generation, ProjectId, TagName, parse_project_id, parse_tag_name
from manifold_common.ports.remote import RemoteServer
from manifold_common.shapes.tags import Tag


class RemoteTags:
    def __init__(self, server: RemoteServer) -> None:
        self._server = server

    def all(self, project: ProjectId) -> list[Tag]:
        """Return all tags of a project, by name; a server of before has none. Raises NotFound."""
        try:
            return self._server.tags(parse_project_id(project))
        except UnknownAddress:
            return []

    def get(self, project: ProjectId, name: TagName) -> Tag:
        """Raises NotFound."""
        return self._server.tag(parse_project_id(project), parse_tag_name(name))

    def find(self, project: ProjectId, name: TagName) -> Tag | None:
        """Return the tag of that name, if it is there."""
        try:
            return self.get(project, name)
        except NotFound:
            return None

    @overload
    def resolve(self, project: ProjectId, named: Named) -> Generation: ...
    @overload
    def resolve(self, project: ProjectId, named: Named | None) -> Generation | None: ...
    def resolve(self, project: ProjectId, named: Named | None) -> Generation | None:
        """Return the generation that a number or a tag names; a number may be none that there is.

        Raises NotFound: no such tag.
        """
        return self.get(project, named).generation if isinstance(named, str) else named

    def set(self, project: ProjectId, name: TagName, named: Named, *, expected: Point | None = None) -> Tag:
        """Make a tag, or move it from ``expected``. Raises as ``Tags.set``."""
        named = checked_named(named, "generation")
        return self._server.set_tag(parse_project_id(project), parse_tag_name(name), named, expected=expected)

    def remove(self, project: ProjectId, name: TagName) -> Tag:
        """Remove a tag, and return what it was. Raises NotFound; PreconditionFailed: it was moved meanwhile."""
        found = self.get(project, name)
        self._server.remove_tag(project, name, expected=found.point)
        return found
