"""Tags: names for generations, set, moved, removed, and read as the generations that they name."""

from __future__ import annotations

from datetime import datetime
from typing import TypeAlias, overload

from manifold_common.domain.access import Principal
from manifold_common.domain.arguments import checked_count, optional_generation, optional_point
from manifold_common.domain.event import PROJECT_TAGGED, PROJECT_UNTAGGED, tag_event
from manifold_common.domain.history import Point
from manifold_common.domain.tag import MAX_TAGS, Named, Wherever, checked_named
from manifold_common.domain.unknown import empty_generation, unknown_tag
from manifold_common.errors import AlreadyExists, PreconditionFailed
from manifold_common.ids import Generation, ProjectId, TagName, parse_tag_name
from manifold_common.nearest import nearest
from manifold_common.ports.catalog import OutboxEvent, TagRow
from manifold_common.services.context import Context
from manifold_common.services.projects.projects import Projects
from manifold_common.shapes.tags import Tag

_MOST_MEANT = 3
_TRIES = 100
"""Whenever others have moved a tag at the same moment, of who changes it wherever it is."""

Expected: TypeAlias = Point | Tag | Wherever


class Tags:
    def __init__(self, context: Context, projects: Projects) -> None:
        self._context = context
        self._projects = projects

    def page(
        self, principal: Principal, project: ProjectId, *, after_name: str = "", limit: int = MAX_TAGS
    ) -> list[Tag]:
        """Return up to ``limit`` tags by name, those after ``after_name``. Raises NotFound."""
        self._projects.get(principal, project)
        limit = max(1, checked_count(limit, "limit"))
        after_name = parse_tag_name(after_name) if after_name else ""
        rows = self._context.catalog.list_tags(principal.tenant, project, after_name=after_name, limit=limit)
        return list(map(_tag_of, rows))

    def all(self, principal: Principal, project: ProjectId) -> list[Tag]:
        """Return all tags of a project, by name. Raises NotFound."""
        self._projects.get(principal, project)
        return list(map(_tag_of, self._context.catalog.list_tags(principal.tenant, project)))

    def find(self, principal: Principal, project: ProjectId, name: TagName) -> Tag | None:
        """Return the tag of that name. Raises NotFound: no such project."""
        self._projects.get(principal, project)
        row = self._context.catalog.find_tag(principal.tenant, project, parse_tag_name(name))
        return None if row is None else _tag_of(row)

    def get(self, principal: Principal, project: ProjectId, name: TagName) -> Tag:
        """Raises NotFound."""
        found = self.find(principal, project, name)
        if found is None:
            rows = self._context.catalog.list_tags(principal.tenant, project)
            raise unknown_tag(name, nearest(name, (row.name for row in rows), most=_MOST_MEANT))
        return found

    @overload
    def resolve(self, principal: Principal, project: ProjectId, named: Named) -> Generation: ...
    @overload
    def resolve(self, principal: Principal, project: ProjectId, named: Named | None) -> Generation | None: ...
    def resolve(self, principal: Principal, project: ProjectId, named: Named | None) -> Generation | None:
        """Return the generation that a number or a tag names; a number may be none that there is.

        Raises NotFound: no such tag.
        """
        if isinstance(named, str):
            return self.get(principal, project, named).generation
        return optional_generation(named, "generation")

    def set(
        self,
        principal: Principal,
        project: ProjectId,
        name: TagName,
        named: Named,
        *,
        expected: Expected | None = None,
        only_new: bool = False,
    ) -> tuple[Tag, bool]:
        """Make a tag, or move it from ``expected``. Where it is there already, nothing is changed.

        Args:
            expected: where it has to be; or as what it was seen, so that it was not moved meanwhile, not even back; or
                ``WHEREVER``: it only has to be there.
            only_new: make it, or fail, also where it is there already.

        Returns:
            The tag, and whether it was made.

        Raises:
            NotFound: no such project or generation. AlreadyExists: it is elsewhere, and was not to be moved; or
                it is there, and was to be new.
            PreconditionFailed: it is not at ``expected``. QuotaExceeded: the project has as many as it may.
        """
        parse_tag_name(name)
        expected = _checked(expected)
        self._projects.get(principal, project)
        generation = self.resolve(principal, project, checked_named(named, "generation"))
        if generation == 0:
            raise empty_generation()
        context, tenant = self._context, principal.tenant
        point = context.catalog.commit_at(tenant, project, generation).point
        event = self._event(PROJECT_TAGGED, principal, project, name, point)
        for _ in range(_TRIES if expected is Wherever.WHEREVER else 1):
            at, since = self._seen(principal, project, name, expected)
            done = context.catalog.set_tag(
                tenant, project, name, point, principal.user, event, expected=at, moved_at=since
            )
            if done is not None:
                break
        else:
            raise self._elsewhere(principal, project, name, point, expected)
        if only_new and not done.is_changed:
            raise AlreadyExists(
                f"the tag {name!r} is at generation {point.generation} already",
                hint="choose another name, or take it as it is",
                generation=point.generation,
            )
        if done.is_changed:
            context.nudge.give()
        return _tag_of(done.row), done.is_changed and expected is None

    def remove(
        self, principal: Principal, project: ProjectId, name: TagName, *, expected: Expected | None = None
    ) -> Tag:
        """Remove a tag, and return what it was.

        Args:
            expected: as for ``set``; ``None``: wherever it is.

        Raises:
            NotFound. PreconditionFailed: it is not at ``expected``, or others move it over and over.
        """
        expected = _checked(expected)
        for _ in range(_TRIES):
            found = self.get(principal, project, name) if expected is None else self.find(principal, project, name)
            if found is None or not _is_as_seen(found, expected):
                break
            event = self._event(PROJECT_UNTAGGED, principal, project, name, found.point)
            if self._context.catalog.remove_tag(
                principal.tenant, project, name, event, expected=found.point, moved_at=found.moved_at
            ):
                self._context.nudge.give()
                return found
        raise _moved(name)

    def _seen(
        self, principal: Principal, project: ProjectId, name: TagName, expected: Expected | None
    ) -> tuple[Point | None, datetime | None]:
        """Return where a tag has to be, and since when, if that matters. Raises PreconditionFailed: it is nowhere."""
        if expected is Wherever.WHEREVER:
            expected = self.find(principal, project, name)
            if expected is None:
                raise _moved(name)
        return (expected.point, expected.moved_at) if isinstance(expected, Tag) else (expected, None)

    def _event(self, type_: str, principal: Principal, project: ProjectId, name: TagName, point: Point) -> OutboxEvent:
        now = self._context.clock.now()
        facts = tag_event(principal.tenant, project, principal.user, name, point.generation, point.commit, now)
        return OutboxEvent(type_, facts)

    def _elsewhere(
        self, principal: Principal, project: ProjectId, name: TagName, wanted: Point, expected: Expected | None
    ) -> AlreadyExists | PreconditionFailed:
        found = None if expected is not None else self.find(principal, project, name)
        if found is None:
            return _moved(name)
        return AlreadyExists(
            f"the tag {name!r} is at generation {found.generation} already",
            hint=f"'manifold tag PROJECT {wanted.generation} {name} --move' moves it; over HTTP, If-Match does: "
            f'"{found.point}"',
            generation=found.generation,
        )


def _is_as_seen(found: Tag, expected: Expected | None) -> bool:
    if isinstance(expected, Tag):
        return (found.point, found.moved_at) == (expected.point, expected.moved_at)
    return found.point == expected if isinstance(expected, Point) else True


def _checked(expected: Expected | None) -> Expected | None:
    """Raises InvalidInput: it says of no place where a tag is."""
    return expected if isinstance(expected, Tag | Wherever) else optional_point(expected, "expected")


def _moved(name: TagName) -> PreconditionFailed:
    return PreconditionFailed(
        f"the tag {name!r} is not where it was seen: it was moved or removed meanwhile",
        hint="look where it is, and decide anew: 'manifold tags PROJECT' shows it",
    )


def _tag_of(row: TagRow) -> Tag:
    return Tag(
        name=row.name,
        generation=row.generation,
        commit=row.commit,
        user=row.user,
        created_at=row.created_at,
        moved_at=row.moved_at,
    )
