"""What tells versions of a representation apart, and what an answer to a write says of what it has made.

=====================  =========================================================================================
project                ``"<generation>-<commit id>.<revision>"``: every commit and every rename makes another one
tag                    ``"<generation>-<commit id>@<time>"``: what it names, since when
tree, commit, folder   ``"<generation>-<commit id>"``: what a generation holds never changes
file                   its content's
archive                ``"<generation>-<commit id>:<digest>"``: the tree, and what makes its bytes of it
session                all that is said of it: base, saved work, end
retention              all that is said of it: rules, what is kept, what stands on what
job                    ``W/"<id>-<state>-<revision>"``: weak, since its speed goes on changing between two revisions
other JSON             the answer's own (``Revalidation``)
=====================  =========================================================================================

``Last-Modified`` is the time of the generation, of all that is in it. It is left out of what is younger than a second:
in the same second there may be another version. And out of what was asked for by the name of a tag: where that is moved
back, an older generation comes after a newer one.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

import msgspec
from fastapi import Response
from manifold_common.domain.api_address import API
from manifold_common.domain.history import Point, Version
from manifold_common.domain.moments import microseconds_of
from manifold_common.domain.tree import etag_of
from manifold_common.ids import ProjectId
from msgspec import structs

if TYPE_CHECKING:
    from manifold_common.domain.tag import Named
    from manifold_common.services.archive.exported import ExportedArchive
    from manifold_common.services.projects.edits import Written
    from manifold_common.services.projects.history import OpenFile
    from manifold_common.shapes.changes import Edited
    from manifold_common.shapes.garbage import ProjectRetention
    from manifold_common.shapes.jobs import Job
    from manifold_common.shapes.projects import Project
    from manifold_common.shapes.sessions import Committed, Session
    from manifold_common.shapes.tags import Tag


UNCHANGED = "There was nothing to change."
_SETTLED = timedelta(seconds=1)


class Validators(NamedTuple):
    etag: str
    version: Version | None = None
    """Of the project at the generation that is shown."""
    modified_at: datetime | None = None
    place: str | None = None
    """Of a tag: what else If-Match may name it by, whenever it came there."""
    about: str = "project"
    """What was changed at that time."""

    def headers(self) -> dict[str, str]:
        found = {"ETag": self.etag}
        if self.modified_at is not None and self.modified_at + _SETTLED <= datetime.now(UTC):
            found["Last-Modified"] = format_datetime(self.modified_at.astimezone(UTC), usegmt=True)
        return found

    def asked_by(self, named: Named | None) -> Validators:
        """Return those of an answer to who named the generation so: by a tag, it has no time that only goes on."""
        return self._replace(modified_at=None) if isinstance(named, str) else self


def of_project(found: Project) -> Validators:
    return Validators(f'"{found.version}"', found.version, found.updated_at)


def of_generation(point: Point, modified_at: datetime | None = None) -> Validators:
    return Validators(f'"{point}"', Version(point, None), modified_at)


def of_archive(archive: ExportedArchive) -> Validators:
    return Validators(f'"{archive.version}"', Version(archive.point, None), archive.made_at)


def of_made_archive(etag: str, point: Point) -> Validators:
    return Validators(etag, Version(point, None))


def of_file(file: OpenFile) -> Validators:
    return Validators(file.etag, Version(file.point, None), file.made_at)


def of_tag(found: Tag) -> Validators:
    since = microseconds_of(found.moved_at)
    return Validators(
        f'"{found.point}@{since}"', modified_at=found.moved_at, place=f'"{found.point}"', about=f"tag {found.name!r}"
    )


def of_session(found: Session) -> Validators:
    return Validators(etag_for("\n".join(map(str, structs.astuple(found))).encode()))


def of_retention(found: ProjectRetention) -> Validators:
    return Validators(etag_for(msgspec.json.encode(found)))


def of_job(found: Job) -> Validators:
    return Validators(f'W/"{found.id}-{found.state.value}-{found.revision}"')


def etag_for(content: bytes) -> str:
    return f'"{hashlib.sha256(content).hexdigest()[:32]}"'


def tell_project(response: Response, found: Project, *, is_new: bool = False) -> None:
    response.headers.update(of_project(found).headers())
    if is_new:
        response.headers["Location"] = address_of(found.id)


def tell_tag(response: Response, project: ProjectId, found: Tag, *, is_new: bool) -> None:
    """Say whether a tag was made (201), or was there (200), and its new tag."""
    response.headers["ETag"] = of_tag(found).etag
    response.status_code = 201 if is_new else 200
    if is_new:
        response.headers["Location"] = f"{address_of(project)}/tags/{found.name}"


def tell_session(response: Response, found: Session, *, is_new: bool = False) -> None:
    response.headers.update(of_session(found).headers())
    if is_new:
        response.status_code = 201
        response.headers["Location"] = f"{API}/sessions/{quote(found.session)}"


def tell_job(response: Response, found: Job, *, is_new: bool = False) -> None:
    response.headers.update(of_job(found).headers())
    if is_new:
        response.status_code = 201
        response.headers["Location"] = f"{API}/jobs/{found.id}"


def tell_file(response: Response, done: Written, path: bytes) -> None:
    """Say what has become of a file that was written: made (201) or replaced (200), and its new tag."""
    response.headers["ETag"] = etag_of(done.entry)
    _tell_made(response, done, path, "files")


def tell_folder(response: Response, done: Written, path: bytes) -> None:
    """Say whether a folder was made (201), or was there already (200)."""
    response.headers["ETag"] = of_generation(done.answer.point).etag
    _tell_made(response, done, path, "tree")


def tell_edits(response: Response, done: Edited, *, is_made: bool = False) -> None:
    """Say which generation was made, if any. Args: ``is_made``: the commit is what the request made (201)."""
    tell_commit(response, done)
    if is_made:
        response.status_code = 200 if done.commit is None else 201
        if done.commit is not None:
            response.headers["Location"] = f"{address_of(done.project)}/commits/{done.generation}"


def tell_commit(response: Response, done: Edited | Committed) -> None:
    response.headers["ETag"] = of_generation(done.point).etag


def address_of(project: ProjectId) -> str:
    return f"{API}/projects/{project}"


def _tell_made(response: Response, done: Written, path: bytes, kind: str) -> None:
    response.status_code = 201 if done.is_new else 200
    if done.is_new:
        response.headers["Location"] = f"{address_of(done.answer.project)}/{kind}/{quote(path, safe='/')}"
