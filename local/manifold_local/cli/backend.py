"""What commands do with projects, on this machine or at a server: one vocabulary for both."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, overload

from manifold_common.domain.history import Point
from manifold_common.domain.listing import EVERY_PROJECT, CommitFilter, ProjectFilter
from manifold_common.domain.tag import Named
from manifold_common.errors import ManifoldError
from manifold_common.ids import Generation, ProjectId, SessionId, TagName
from manifold_common.services.sessions.sessions import WorkingSetStatus
from manifold_common.shapes.changes import Edited, ExportedFolder, ImportedFolder
from manifold_common.shapes.cursors import COMMITS
from manifold_common.shapes.history import Commit, CommitPage
from manifold_common.shapes.intent import Intent
from manifold_common.shapes.projects import Project
from manifold_common.shapes.requests import CheckoutRequest
from manifold_common.shapes.sessions import CheckedOut, Closed, Committed, Saved, Session
from manifold_common.shapes.tags import Tag

if TYPE_CHECKING:
    from manifold_common.bootstrap import Manifold
    from manifold_common.bootstrap.remote import RemoteManifold
    from manifold_common.domain.access import Principal

    from manifold_local.cli.progress import Report

_PAGE = 500


@dataclass(frozen=True)
class OpenSession:
    shown: Session
    folder: str | None
    """Where its working set is on this machine, or would be."""
    is_here: bool
    elsewhere: str | None
    """The other machine that the session has gone on on, as far as is known; what is here was left behind then."""

    @property
    def session(self) -> SessionId:
        return self.shown.session


class Backend(Protocol):
    """Errors are those of the services."""

    def projects(self, wanted: ProjectFilter = EVERY_PROJECT) -> list[Project]: ...
    def project(self, name_or_id: str, *, with_plain_objects: bool = False) -> Project: ...
    def create(self, name: str) -> Project: ...
    def rename(self, project: ProjectId, name: str) -> Project: ...
    def delete(self, project: Project) -> Project:
        """Returns it as it was, with the time until when it can be brought back, as far as that can be said."""

    def deleted(self, wanted: ProjectFilter = EVERY_PROJECT) -> list[Project]: ...
    def undelete(self, name_or_id: str, name: str | None) -> Project: ...
    def withdraw(self, project: ProjectId) -> bool: ...
    def log(self, project: ProjectId, wanted: CommitFilter, limit: int, cursor: str | None) -> CommitPage: ...
    @overload
    def generation(self, project: ProjectId, named: Named) -> Generation: ...
    @overload
    def generation(self, project: ProjectId, named: Named | None) -> Generation | None:
        """Return which generation a number or a tag names. Raises NotFound: no such tag."""

    def tags(self, project: ProjectId) -> list[Tag]: ...
    def find_tag(self, project: ProjectId, name: TagName) -> Tag | None: ...
    def set_tag(self, project: ProjectId, name: TagName, named: Named, *, expected: Point | None) -> Tag: ...
    def remove_tag(self, project: ProjectId, name: TagName) -> Tag: ...
    def restore(self, project: ProjectId, generation: Generation, paths: Sequence[bytes], intent: Intent) -> Edited: ...
    def import_folder(
        self, project: ProjectId, folder: Path, intent: Intent, *, keep: bool, progress: Report | None
    ) -> ImportedFolder: ...
    def export(
        self, project: ProjectId, destination: Path, generation: Generation | None, *, progress: Report | None
    ) -> ExportedFolder: ...
    def checkout(
        self, session: SessionId, project: ProjectId, request: CheckoutRequest, *, progress: Report | None
    ) -> CheckedOut: ...
    def why_unsaved(self) -> str | None:
        """Say why nobody saves what is changed in working sets; ``None``: a host does."""

    def status(self, session: SessionId, *, checksum: bool) -> WorkingSetStatus: ...
    def save(self, session: SessionId, *, checksum: bool) -> Saved: ...
    def commit(self, session: SessionId, intent: Intent, *, checksum: bool, progress: Report | None) -> Committed: ...
    def close(self, session: SessionId) -> Closed: ...
    def sessions(self, project: ProjectId | None = None) -> list[OpenSession]: ...


class LocalBackend:
    """With the database and store of this machine's configuration."""

    def __init__(self, manifold: Manifold, principal: Principal) -> None:
        self._manifold = manifold
        self._principal = principal

    def projects(self, wanted: ProjectFilter = EVERY_PROJECT) -> list[Project]:
        found: list[Project] = []
        projects, last = self._manifold.projects, ""
        while page := projects.page(self._principal, wanted=wanted, after_name=last, limit=_PAGE):
            found += page
            last = page[-1].name
        return found

    def project(self, name_or_id: str, *, with_plain_objects: bool = False) -> Project:
        projects = self._manifold.projects
        found = projects.resolve(self._principal, name_or_id)
        return projects.with_plain_objects(self._principal, [found])[0] if with_plain_objects else found

    def create(self, name: str) -> Project:
        return self._manifold.projects.create(self._principal, name)

    def rename(self, project: ProjectId, name: str) -> Project:
        return self._manifold.projects.rename(self._principal, project, name)

    def delete(self, project: Project) -> Project:
        return self._manifold.projects.delete(self._principal, project.id)

    def deleted(self, wanted: ProjectFilter = EVERY_PROJECT) -> list[Project]:
        return self._manifold.deleted_projects.all(self._principal, wanted)

    def undelete(self, name_or_id: str, name: str | None) -> Project:
        deleted = self._manifold.deleted_projects
        return deleted.undelete(self._principal, deleted.resolve(self._principal, name_or_id).id, name)

    def withdraw(self, project: ProjectId) -> bool:
        return self._manifold.projects.withdraw(self._principal, project)

    def log(self, project: ProjectId, wanted: CommitFilter, limit: int, cursor: str | None) -> CommitPage:
        history, list_of = self._manifold.history, (self._principal, project, wanted)
        before = COMMITS.read(cursor, *list_of)
        found: list[Commit] = []
        while True:
            most = min(_PAGE, limit - len(found))
            page = history.log_page(self._principal, project, wanted, before=before, limit=most)
            found += page.entries
            before = page.before
            if before is None or len(found) >= limit:
                break
        return CommitPage(items=found, next_cursor=None if before is None else COMMITS.write(before, *list_of))

    @overload
    def generation(self, project: ProjectId, named: Named) -> Generation: ...
    @overload
    def generation(self, project: ProjectId, named: Named | None) -> Generation | None: ...
    def generation(self, project: ProjectId, named: Named | None) -> Generation | None:
        return self._manifold.tags.resolve(self._principal, project, named)

    def tags(self, project: ProjectId) -> list[Tag]:
        return self._manifold.tags.all(self._principal, project)

    def find_tag(self, project: ProjectId, name: TagName) -> Tag | None:
        return self._manifold.tags.find(self._principal, project, name)

    def set_tag(self, project: ProjectId, name: TagName, named: Named, *, expected: Point | None) -> Tag:
        return self._manifold.tags.set(self._principal, project, name, named, expected=expected)[0]

    def remove_tag(self, project: ProjectId, name: TagName) -> Tag:
        return self._manifold.tags.remove(self._principal, project, name)

    def restore(self, project: ProjectId, generation: Generation, paths: Sequence[bytes], intent: Intent) -> Edited:
        return self._manifold.edits.restore(self._principal, project, generation, paths, intent)

    def import_folder(
        self, project: ProjectId, folder: Path, intent: Intent, *, keep: bool, progress: Report | None
    ) -> ImportedFolder:
        return self._manifold.transfer.import_folder(
            self._principal, project, folder, intent, keep=keep, progress=progress
        )

    def export(
        self, project: ProjectId, destination: Path, generation: Generation | None, *, progress: Report | None
    ) -> ExportedFolder:
        return self._manifold.transfer.export(self._principal, project, destination, generation, progress=progress)

    def checkout(
        self, session: SessionId, project: ProjectId, request: CheckoutRequest, *, progress: Report | None
    ) -> CheckedOut:
        return self._manifold.sessions.checkout(self._principal, session, project, request, progress=progress)

    def why_unsaved(self) -> str | None:
        from manifold_local.host_lock import host_is_running

        settings = self._manifold.settings
        if settings.projects.workspace.mode == "legacy":
            return None
        if host_is_running(settings.workdir) is None:
            return "no host is running: nothing is saved but by 'manifold save' and 'manifold commit'"
        if settings.projects.workspace.draft_seconds == 0:
            return "safety saves are off: nothing is saved but by 'manifold save' and 'manifold commit'"
        return None

    def status(self, session: SessionId, *, checksum: bool) -> WorkingSetStatus:
        return self._manifold.sessions.status(self._principal, session, checksum=checksum)

    def save(self, session: SessionId, *, checksum: bool) -> Saved:
        return self._manifold.commits.save(self._principal, session, checksum=checksum)

    def commit(self, session: SessionId, intent: Intent, *, checksum: bool, progress: Report | None) -> Committed:
        return self._manifold.commits.commit(self._principal, session, intent, checksum=checksum, progress=progress)

    def close(self, session: SessionId) -> Closed:
        return self._manifold.sessions.close(self._principal, session)

    def sessions(self, project: ProjectId | None = None) -> list[OpenSession]:
        from manifold_common.services.sessions.session_files import owner_of
        from manifold_common.services.sessions.sessions import session_of

        sets = self._manifold.working_sets.folders
        here = {owner.session for owner in sets.found() if owner.principal == self._principal}
        node = self._manifold.standing.node
        return [
            OpenSession(
                session_of(row),
                folder=os.path.realpath(sets.locate(owner_of(row)).work),
                is_here=row.session in here,
                elsewhere=None if row.node == node else row.node,
            )
            for row in self._manifold.sessions.all(self._principal, project)
        ]


class RemoteBackend:
    """At a server: content goes between this machine and the server's object store.

    Args:
        left_open: says that a session, which a command had opened for its work, may be open still.
    """

    def __init__(self, remote: RemoteManifold, left_open: Callable[[SessionId], None]) -> None:
        self._remote = remote
        self._left_open = left_open

    def projects(self, wanted: ProjectFilter = EVERY_PROJECT) -> list[Project]:
        return self._remote.projects.all(wanted)

    def project(self, name_or_id: str, *, with_plain_objects: bool = False) -> Project:  # noqa: ARG002 - always has them
        return self._remote.projects.resolve(name_or_id)

    def create(self, name: str) -> Project:
        return self._remote.projects.create(name)

    def rename(self, project: ProjectId, name: str) -> Project:
        return self._remote.projects.rename(project, name)

    def delete(self, project: Project) -> Project:
        self._remote.projects.delete(project.id)
        with suppress(ManifoldError):  # it is deleted, whatever more can be said of it
            found = self._remote.projects.deleted(ProjectFilter(prefix=project.name))
            return next((one for one in found if one.id == project.id), project)
        return project

    def deleted(self, wanted: ProjectFilter = EVERY_PROJECT) -> list[Project]:
        return self._remote.projects.deleted(wanted)

    def undelete(self, name_or_id: str, name: str | None) -> Project:
        return self._remote.projects.undelete(name_or_id, name)

    def withdraw(self, project: ProjectId) -> bool:
        return self._remote.projects.withdraw(project)

    def log(self, project: ProjectId, wanted: CommitFilter, limit: int, cursor: str | None) -> CommitPage:
        return self._remote.projects.log_page(project, wanted, limit=limit, cursor=cursor)

    @overload
    def generation(self, project: ProjectId, named: Named) -> Generation: ...
    @overload
    def generation(self, project: ProjectId, named: Named | None) -> Generation | None: ...
    def generation(self, project: ProjectId, named: Named | None) -> Generation | None:
        return self._remote.tags.resolve(project, named)

    def tags(self, project: ProjectId) -> list[Tag]:
        return self._remote.tags.all(project)

    def find_tag(self, project: ProjectId, name: TagName) -> Tag | None:
        return self._remote.tags.find(project, name)

    def set_tag(self, project: ProjectId, name: TagName, named: Named, *, expected: Point | None) -> Tag:
        return self._remote.tags.set(project, name, named, expected=expected)

    def remove_tag(self, project: ProjectId, name: TagName) -> Tag:
        return self._remote.tags.remove(project, name)

    def restore(self, project: ProjectId, generation: Generation, paths: Sequence[bytes], intent: Intent) -> Edited:
        return self._remote.projects.restore(project, generation, paths, intent)

    def import_folder(
        self, project: ProjectId, folder: Path, intent: Intent, *, keep: bool, progress: Report | None
    ) -> ImportedFolder:
        return self._remote.transfer.import_folder(
            project, folder, intent, keep=keep, progress=progress, left_open=self._left_open
        )

    def export(
        self, project: ProjectId, destination: Path, generation: Generation | None, *, progress: Report | None
    ) -> ExportedFolder:
        return self._remote.transfer.export(project, destination, generation, progress=progress)

    def checkout(
        self, session: SessionId, project: ProjectId, request: CheckoutRequest, *, progress: Report | None
    ) -> CheckedOut:
        return self._remote.sessions.checkout(session, project, request, progress=progress)

    def why_unsaved(self) -> str | None:
        return "the server does not see this folder: nothing is saved but by 'manifold save' and 'manifold commit'"

    def status(self, session: SessionId, *, checksum: bool) -> WorkingSetStatus:
        return self._remote.sessions.status(session, checksum=checksum)

    def save(self, session: SessionId, *, checksum: bool) -> Saved:
        return self._remote.sessions.save(session, checksum=checksum)

    def commit(self, session: SessionId, intent: Intent, *, checksum: bool, progress: Report | None) -> Committed:
        return self._remote.sessions.commit(session, intent, checksum=checksum, progress=progress)

    def close(self, session: SessionId) -> Closed:
        return self._remote.sessions.close(session)

    def sessions(self, project: ProjectId | None = None) -> list[OpenSession]:
        here = {owner.session: owner for owner in self._remote.sessions.here()}
        return [
            OpenSession(
                row,
                folder=self._remote.sessions.folder_of(here[row.session]) if row.session in here else None,
                is_here=row.session in here,
                elsewhere=None,  # no server removes what clients have
            )
            for row in self._remote.sessions.all(project)
        ]
