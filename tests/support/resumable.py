"""Short words for tests of resumable uploads."""

from __future__ import annotations

from typing import Any

from manifold_common.adapters.memory.clock import ManualClock
from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.ids import ProjectId
from manifold_common.services.projects.edits import ReadInto
from manifold_common.services.projects.edits import reading as reader
from manifold_common.services.resumable.records import About
from manifold_common.services.resumable.uploads import Incoming, UploadState


def begin(manifold: Manifold, project: ProjectId, total: int | None, path: bytes = b"big") -> UploadState:
    return manifold.resumable_uploads.create(LOCAL_PRINCIPAL, project, About(path), total)


def send(manifold: Manifold, to: UploadState, offset: int, part: bytes | ReadInto, **said: Any) -> UploadState:
    read = reader(part) if isinstance(part, bytes) else part
    incoming = Incoming(offset, read, lambda about: (None, False), **said)
    return manifold.resumable_uploads.append(LOCAL_PRINCIPAL, to.project, to.upload, incoming)


def look(manifold: Manifold, at: UploadState) -> UploadState:
    return manifold.resumable_uploads.look(LOCAL_PRINCIPAL, at.project, at.upload)


def tidy(manifold: Manifold, clock: ManualClock) -> None:
    """Let the time pass in which a writer may still be at work, and the chore run."""
    clock.advance(2 * 3600)
    manifold.resumable_uploads.sweep()


def packs(manifold: Manifold) -> set[str]:
    return {one.key for one in manifold.context.store.list("t") if "/packs/" in one.key}


def packs_in_use(manifold: Manifold, project: ProjectId) -> set[str]:
    """Return the packs that the newest generation refers to."""
    snapshot = manifold.history.snapshot(LOCAL_PRINCIPAL, project)
    keys = {place.block.container.seal().key for place in snapshot.places.values()}
    return {key for key in keys if "/packs/" in key}
