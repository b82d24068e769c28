"""What tells versions of a representation apart, and what an answer to a write says of what it has made.

=====================  =========================================================================================
project                ``"<generation>-<commit id>.<revision>"``: every commit and every rename makes another one
tree, commit, folder   ``"<generation>-<commit id>"``: what a generation holds never changes
file                   its content's
archive                ``W/"<generation>-<commit id>"``: the same tree, perhaps compressed otherwise
session                its row's: base, saved work, end
other JSON             the answer's own (``Revalidation``)
=====================  =========================================================================================

``Last-Modified`` is the time of the generation, of all that is in it. It is left out of what is younger than a second:
in the same second there may be another version.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from fastapi import Response
from manifold_common.domain.api_address import API
from manifold_common.domain.history import Point
from manifold_common.domain.tree import etag_of
from manifold_common.ids import ProjectId

from functions.api.entity_tags import Version

if TYPE_CHECKING:
    from manifold_common.services.projects.edits import Edited
    from manifold_common.services.projects.history import OpenFile
    from manifold_common.services.sessions.commit import Committed
    from manifold_common.services.sessions.shown import SessionFacts
    from manifold_common.shapes.projects import Project


REPLAYED = "Idempotency-Replayed"
UNCHANGED = "There was nothing to change."
_SETTLED = timedelta(seconds=1)


class Validators(NamedTuple):
    etag: str
    version: Version | None = None
    """Of the project at the generation that is shown."""
    modified_at: datetime | None = None

    def headers(self) -> dict[str, str]:
        found = {"ETag": self.etag}
        if self.modified_at is not None and self.modified_at + _SETTLED <= datetime.now(UTC):
            found["Last-Modified"] = format_datetime(self.modified_at.astimezone(UTC), usegmt=True)
        return found


def of_project(found: Project) -> Validators:
    version = Version(found.point, found.revision)
    return Validators(version.etag, version, found.updated_at)


def of_generation(point: Point, modified_at: datetime | None = None, *, is_weak: bool = False) -> Validators:
    etag = f'W/"{point}"' if is_weak else f'"{point}"'
    return Validators(etag, Version(point, None), modified_at)


def of_file(file: OpenFile) -> Validators:
    return Validators(file.etag, Version(file.point, None), file.made_at)


def of_session(row: SessionFacts) -> Validators:
    saved_at = row.draft.saved_at if row.draft else None
    facts = (row.session, row.project, row.base_generation, row.base_commit, saved_at, row.created_at, row.expires_at)
    return Validators(etag_for("\n".join(map(str, facts)).encode()))


def etag_for(content: bytes) -> str:
    return f'"{hashlib.sha256(content).hexdigest()[:32]}"'


def tell_project(response: Response, found: Project, *, is_new: bool = False) -> None:
    response.headers.update(of_project(found).headers())
    if is_new:
        response.headers["Location"] = address_of(found.id)


def tell_session(response: Response, row: SessionFacts, *, is_new: bool = False) -> None:
    response.headers.update(of_session(row).headers())
    if is_new:
        response.status_code = 201
        response.headers["Location"] = f"{API}/sessions/{quote(row.session)}"


def tell_file(response: Response, done: Edited, path: bytes) -> None:
    """Say what has become of a file that was written: made (201) or replaced (200), and its new tag."""
    response.headers["ETag"] = etag_of(done.entries[path])
    _tell_made(response, done, path, "files")


def tell_folder(response: Response, done: Edited, path: bytes) -> None:
    """Say whether a folder was made (201), or was there already (200)."""
    response.headers["ETag"] = of_generation(done.point).etag
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
    tell_repeated(response, done)


def tell_repeated(response: Response, done: Edited | Committed) -> None:
    if done.repeated:
        response.headers[REPLAYED] = "true"


def address_of(project: ProjectId) -> str:
    return f"{API}/projects/{project}"


def _tell_made(response: Response, done: Edited, path: bytes, kind: str) -> None:
    tell_repeated(response, done)
    is_new = path in done.made
    response.status_code = 201 if is_new else 200
    if is_new:
        response.headers["Location"] = f"{address_of(done.project)}/{kind}/{quote(path, safe='/')}"
