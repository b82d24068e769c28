"""Projects: create, find, list, rename, delete."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta

from msgspec import structs

from manifold_common.domain.access import Principal
from manifold_common.domain.event import PROJECT_CREATED, PROJECT_DELETED, PROJECT_RENAMED, project_event
from manifold_common.domain.history import Version
from manifold_common.domain.keys import Encryption, KeyRecord
from manifold_common.domain.listing import EVERY_PROJECT, ProjectFilter
from manifold_common.domain.patience import patience
from manifold_common.domain.project_name import can_be_text, check_project_name
from manifold_common.domain.unknown import unknown_project
from manifold_common.engine.tree_log import EMPTY_HEAD
from manifold_common.errors import (
    AlreadyExists,
    CatalogUnavailable,
    InvalidInput,
    ManifoldError,
    NotFound,
    Unavailable,
)
from manifold_common.format.key_record import encode_key_record
from manifold_common.format.layout import commit_key, wrapped_key_key
from manifold_common.ids import Generation, ProjectId, TenantProject, parse_project_id
from manifold_common.nearest import nearest
from manifold_common.ports.catalog import OutboxEvent, ProjectRow, Publication
from manifold_common.services.context import Context
from manifold_common.shapes.projects import PlainObjects, Project

MAX_PAGE = 2000
_MOST_MEANT = 3
_ACKNOWLEDGEMENT_TRIES = 3
_ACKNOWLEDGEMENT_PAUSE_SECONDS = 0.25
_ACKNOWLEDGEMENT_SECONDS = 300.0


class Projects:
    def __init__(self, context: Context) -> None:
        self._context = context

    def create(self, principal: Principal, name: str) -> Project:
        """Make an empty project.

        Raises:
            InvalidInput: the name cannot be used. AlreadyExists: the user has a project of that name.
        """
        check_project_name(name)
        context = self._context
        project = ProjectId(context.new_id())
        return self.register(principal, project, name, [context.keys.make(principal.tenant, project)])

    def register(
        self,
        principal: Principal,
        project: ProjectId,
        name: str,
        keys: Sequence[KeyRecord],
        *,
        fork_of: tuple[ProjectId, Generation] | None = None,
        source: Version | None = None,
        first: Publication | None = None,
    ) -> Project:
        """Add a project with its keys, oldest first: to the bucket (so that it can be opened without the catalog),
        then to the catalog, in one transaction with its first commit, whose object is stored already.

        Where it is certain that the project does not come to be, what was stored for it is removed.
        """
        context = self._context
        tenant = principal.tenant
        now = context.clock.now()
        encryption = Encryption.of(keys)
        row = ProjectRow(tenant, project, principal.user, name, EMPTY_HEAD, 0, 0, now, now, encryption)
        event = OutboxEvent(PROJECT_CREATED, project_event(tenant, project, principal.user, now))
        stored = [commit_key(tenant, project, first.commit.generation, first.commit.commit)] if first else []
        unknown: Unavailable | None = None
        try:
            for key in keys:
                stored.append(wrapped_key_key(tenant, project, key.dek))
                context.store.put(stored[-1], encode_key_record(key))
            begun = context.clock.monotonic()
            for attempt in range(_ACKNOWLEDGEMENT_TRIES):
                if attempt:
                    context.clock.sleep(_ACKNOWLEDGEMENT_PAUSE_SECONDS * 2**attempt)
                try:
                    context.catalog.create_project(row, keys, event, fork_of=fork_of, source=source, first=first)
                except Unavailable as error:
                    failed = not isinstance(error, CatalogUnavailable)  # this try did nothing; one before it may have
                    if failed and unknown is None:
                        raise
                    unknown = error
                    if failed or context.clock.monotonic() - begun >= patience(_ACKNOWLEDGEMENT_SECONDS):
                        break
                    continue
                except AlreadyExists:
                    # After a try with an unknown outcome that may be this very project: only the answer was lost.
                    if unknown is None or not self._exists(row):
                        raise
                context.nudge.give()
                return project_of(_with_first(row, first))
        except ManifoldError:
            if unknown is None:  # else an earlier try might still get through
                with suppress(ManifoldError):
                    context.objects.discard(stored)
            raise
        assert unknown is not None
        raise CatalogUnavailable(
            f"it is not known whether the project {name!r} was created: {unknown.message}",
            hint="look for it in the list of projects before trying again",
        ) from unknown

    def _exists(self, row: ProjectRow) -> bool:
        try:
            self._context.catalog.get_project(row.tenant, row.project)
        except NotFound:
            return False
        return True

    def get(self, principal: Principal, project: ProjectId) -> Project:
        """Raises NotFound: no such project, or not this user's."""
        try:
            row = self._context.catalog.get_project(principal.tenant, project)
        except NotFound:
            raise unknown_project(project) from None
        if row.owner != principal.user:
            raise unknown_project(project)
        return project_of(row)

    def resolve(self, principal: Principal, name_or_id: str) -> Project:
        """Return the user's project of that id, or else of that name. Raises NotFound."""
        with suppress(InvalidInput, NotFound):
            return self.get(principal, parse_project_id(name_or_id))
        if not can_be_text(name_or_id):
            raise unknown_project(name_or_id)
        row = self._context.catalog.find_project(principal.tenant, principal.user, name_or_id)
        if row is None:
            raise unknown_project(name_or_id, self._like(principal, name_or_id))
        return project_of(row)

    def resolve_even_deleted(self, principal: Principal, name_or_id: str) -> TenantProject:
        """Return which project is meant by a name or an id; by its id also one that was deleted. Raises NotFound."""
        try:
            return principal.tenant, self.resolve(principal, name_or_id).id
        except NotFound:
            with suppress(InvalidInput):
                return principal.tenant, parse_project_id(name_or_id)
            raise

    def _like(self, principal: Principal, name: str) -> list[str]:
        """Return which of the user's projects may have been meant."""
        rows = self.page(principal, limit=MAX_PAGE)
        if len(rows) == MAX_PAGE:
            rows = self.page(principal, after_name=name[:1], limit=MAX_PAGE)
        return nearest(name, (row.name for row in rows), most=_MOST_MEANT)

    def page(
        self,
        principal: Principal,
        *,
        wanted: ProjectFilter = EVERY_PROJECT,
        after_name: str = "",
        limit: int = 100,
    ) -> list[Project]:
        """Return up to ``limit`` (at most MAX_PAGE) projects by name, those after ``after_name``."""
        limit = max(1, min(limit, MAX_PAGE))
        rows = self._context.catalog.list_projects(
            principal.tenant, principal.user, wanted=wanted, after_name=after_name, limit=limit
        )
        return list(map(project_of, rows))

    def with_plain_objects(self, principal: Principal, projects: Sequence[Project]) -> list[Project]:
        """Return the projects, those that are partly encrypted with a count of what they have stored in the clear."""
        partly = [project.id for project in projects if project.encryption is Encryption.PARTLY]
        counted = self._context.catalog.plain_objects(principal.tenant, partly) if partly else {}
        plain = {project: PlainObjects(objects=one.objects, bytes=one.stored_bytes) for project, one in counted.items()}
        return [
            structs.replace(project, unencrypted=plain[project.id]) if project.id in plain else project
            for project in projects
        ]

    def rename(self, principal: Principal, project: ProjectId, name: str, expected: Version | None = None) -> Project:
        """Raises InvalidInput, AlreadyExists, NotFound. GenerationMismatch, PreconditionFailed: it is in another state
        than ``expected``."""
        check_project_name(name)
        self.get(principal, project)
        event = project_event(principal.tenant, project, principal.user, self._context.clock.now())
        row = self._context.catalog.rename_project(
            principal.tenant, project, name, OutboxEvent(PROJECT_RENAMED, event), expected=expected
        )
        self._context.nudge.give()
        return project_of(row)

    def delete(self, principal: Principal, project: ProjectId, expected: Version | None = None) -> Project:
        """Make the project and its history invisible. For a while it can be brought back (``DeletedProjects``).

        Returns it as it was, with the time until when that is so.

        Raises NotFound. GenerationMismatch, PreconditionFailed: it is in another state than ``expected``.
        """
        return self._delete(principal, project, expected, only_unused=False)

    def withdraw(self, principal: Principal, project: ProjectId, expected: Version | None = None) -> bool:
        """Delete a project if it is empty, and no session is open on it. Returns whether it was deleted.

        Raises GenerationMismatch, PreconditionFailed: it is in another state than ``expected``.
        """
        try:
            self._delete(principal, project, expected, only_unused=True)
        except NotFound:
            return False
        return True

    def _delete(
        self, principal: Principal, project: ProjectId, expected: Version | None, *, only_unused: bool
    ) -> Project:
        found = self.get(principal, project)
        event = OutboxEvent(
            PROJECT_DELETED, project_event(principal.tenant, project, principal.user, self._context.clock.now())
        )
        deleted_at = self._context.catalog.delete_project(
            principal.tenant, project, event, expected=expected, only_unused=only_unused
        )
        self._context.nudge.give()
        self._context.keys.forget(principal.tenant, project)
        self._context.log.forget(principal.tenant, project)
        until = _restorable_until(deleted_at, self._context.policy.deleted_project_grace)
        return structs.replace(found, deleted_at=deleted_at, restorable_until=until)


def project_of(row: ProjectRow, deleted_at: datetime | None = None, grace: timedelta = timedelta(0)) -> Project:
    """Return a project as callers see it: its row without what is internal to the catalog.

    Args:
        grace: how long it can be brought back, after ``deleted_at``.
    """
    return Project(
        id=row.project,
        name=row.name,
        owner=row.owner,
        generation=row.head.generation,
        skills_generation=row.head.skills_generation,
        commit=row.head.commit,
        total_bytes=row.tree_bytes,
        entries=row.tree_files,
        created_at=row.created_at,
        updated_at=row.updated_at,
        encryption=row.encryption,
        revision=row.revision,
        deleted_at=deleted_at,
        restorable_until=None if deleted_at is None else _restorable_until(deleted_at, grace),
    )


def _restorable_until(deleted_at: datetime, grace: timedelta) -> datetime | None:
    """Return until when a project can be brought back; ``None``: it cannot be."""
    return deleted_at + grace if grace else None


def _with_first(row: ProjectRow, first: Publication | None) -> ProjectRow:
    """Return what the catalog says of a project after its first commit."""
    if first is None:
        return row
    commit = first.commit
    skills = commit.generation if first.touches_skills else row.head.skills_generation
    return replace(
        row,
        head=first.base._replace(
            generation=commit.generation,
            commit=commit.commit,
            record_hash=commit.record_hash,
            skills_generation=skills,
            committed_at=commit.created_at,
        ),
        tree_bytes=first.tree_bytes,
        tree_files=first.tree_files,
        updated_at=max(row.updated_at, commit.created_at),
    )
