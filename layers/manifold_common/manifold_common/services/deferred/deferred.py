"""Restores, imports and archives that a job does, for clients that do not wait for them.

Order of effects: what is asked for is kept, with its body; then the job is begun, which names it. Cut off between, the
request is kept for nothing until its time is over, and the client was not told of a job. The job commits under one
name, and then notes what came of it; cut off between, the next worker finds the commit by its name.

A request that has a name (Idempotency-Key) is one job however often it is sent: the job's id is made of that name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import msgspec
from blake3 import blake3

from manifold_common.domain.access import Principal
from manifold_common.domain.arguments import checked_bytes, checked_flag, listed_paths, member_of
from manifold_common.domain.history import require_expected
from manifold_common.domain.job import ItemState, JobState
from manifold_common.domain.named_request import NamedRequest
from manifold_common.domain.paths import ROOT, check_path
from manifold_common.domain.tag import Named
from manifold_common.errors import BadUpload, InvalidInput, NotFound, RequestNameReused
from manifold_common.ids import ID_BYTES, JobId, ProjectId, encode_id
from manifold_common.ports.catalog import JobRow, ResumableUpload
from manifold_common.services.archive import ArchiveFormat, Archives
from manifold_common.services.context import Context
from manifold_common.services.deferred.asked import (
    ARCHIVE,
    DECODER,
    IMPORT,
    RESTORE,
    Asked,
    AskedArchive,
    AskedImport,
    AskedRestore,
    kind_of,
    named,
    said,
)
from manifold_common.services.jobs.jobs import Jobs
from manifold_common.services.projects.edits import Edits, ReadInto
from manifold_common.services.projects.projects import Projects
from manifold_common.services.projects.tags import Tags
from manifold_common.services.resumable.kept_requests import KeptContent, KeptRequests, reading_pieces
from manifold_common.shapes.changes import Edited, ImportedArchive
from manifold_common.shapes.decode import Reading
from manifold_common.shapes.intent import NO_INTENT, Intent
from manifold_common.shapes.jobs import DeferredParams, Job, JobResult, MadeArchive

T = TypeVar("T")

_READING = Reading("the job", "a newer release may have started it")


class DeferredArchive(NamedTuple):
    """An archive that a job has made."""

    made: MadeArchive
    content: KeptContent


class Deferred:
    def __init__(
        self,
        context: Context,
        kept: KeptRequests,
        jobs: Jobs,
        projects: Projects,
        tags: Tags,
        edits: Edits,
        archives: Archives,
    ) -> None:
        self._context = context
        self._kept = kept
        self._jobs = jobs
        self._projects = projects
        self._tags = tags
        self._edits = edits
        self._archives = archives

    # --- asking ------------------------------------------------------------------------------------------------------

    def same(self, principal: Principal, project: ProjectId, request: NamedRequest | None) -> Job | None:
        """Return the job of an earlier request of that name. Raises RequestNameReused: it asked for something else."""
        if request is None:
            return None
        row = self._context.catalog.find_job(principal.tenant, _job_of(principal, project, request))
        if row is None:
            return None
        kept = self._of(row)
        if row.user != principal.user or (
            kept is not None and self._kept.asked(kept, DECODER).fingerprint != request.fingerprint()
        ):
            raise RequestNameReused(
                f"another request of the name {request.name!r} has begun job {row.job} already",
                hint="give this request a name of its own, or send the earlier one again as it was",
                job=row.job,
            )
        request.on_replay()
        return self._jobs.get(principal, row.job)

    def is_done(self, principal: Principal, project: ProjectId, request: NamedRequest | None) -> bool:
        """Tell whether a request of that name has made a commit: there is nothing left for a job."""
        if request is None:
            return False
        return self._context.catalog.find_request(principal.tenant, project, request.name) is not None

    def restore(
        self,
        principal: Principal,
        project: ProjectId,
        generation: Named,
        paths: Sequence[bytes] = (),
        intent: Intent = NO_INTENT,
    ) -> Job:
        """Have a generation, or paths of it, restored: see ``Edits.restore``.

        Raises:
            What ``Edits.restore`` would by now. QuotaExceeded: too much is kept. RequestNameReused.
        """
        before = self.same(principal, project, intent.request)
        if before is not None:
            return before
        chosen = list(listed_paths(paths, "paths"))
        number = self._edits.check_restore(principal, project, generation, chosen, intent.expected)
        asked = AskedRestore(generation=number, paths=chosen, **said(intent), **named(intent.request))
        return self._begin(principal, self._kept.keep(principal, project, asked), RESTORE, intent.request)

    def load(
        self,
        principal: Principal,
        project: ProjectId,
        read: ReadInto,
        intent: Intent = NO_INTENT,
        *,
        folder: bytes = ROOT,
        replace: bool = False,
    ) -> Job:
        """Have an archive put into the project: see ``Archives.load``. It is read to its end, and kept.

        Raises:
            NotFound. GenerationMismatch: the project is elsewhere already. InvalidInput. UnsafePath. QuotaExceeded.
            RequestNameReused. Whatever ``read`` does: nothing is begun.
        """
        before = self.same(principal, project, intent.request)
        if before is not None:
            return before
        checked_flag(replace, "replace")
        if checked_bytes(folder, "folder") != ROOT:
            check_path(folder)
        require_expected(self._projects.get(principal, project).version.point, intent.expected)
        asked = AskedImport(folder=folder, replace=replace, **said(intent))
        row = self._kept.keep(principal, project, asked)

        def whole() -> AskedImport:
            return AskedImport(folder=folder, replace=replace, is_whole=True, **said(intent), **named(intent.request))

        try:
            self._kept.receive(row, read, whole)
        except BaseException:
            self._kept.drop(row)
            raise
        return self._begin(principal, row, IMPORT, intent.request)

    def archive(
        self,
        principal: Principal,
        project: ProjectId,
        archive_format: ArchiveFormat,
        generation: Named | None = None,
        request: NamedRequest | None = None,
    ) -> Job:
        """Have an archive made of a generation (``None``: what is the head now): see ``Archives.export``.

        Raises:
            NotFound: no such project, generation or tag. QuotaExceeded. RequestNameReused.
        """
        before = self.same(principal, project, request)
        if before is not None:
            return before
        archive_format = member_of(ArchiveFormat, archive_format, "archive_format")
        number = self._tags.resolve(principal, project, generation)
        found = self._archives.export(principal, project, archive_format, number)
        asked = AskedArchive(
            generation=found.generation, archive_format=archive_format, version=found.version, **named(request)
        )
        return self._begin(principal, self._kept.keep(principal, project, asked), ARCHIVE, request)

    def _begin(self, principal: Principal, row: ResumableUpload, kind: str, request: NamedRequest | None) -> Job:
        job = None if request is None else _job_of(principal, row.project, request)
        params = {"project": row.project, "request": row.upload}
        begun = self._jobs.start(principal, kind, params, job=job).job
        if begun.params.get("request") != row.upload:
            self._kept.drop(row)  # the same request was sent twice at a time, and the other one has begun it
            return self.same(principal, row.project, request) or begun
        return begun

    # --- doing -------------------------------------------------------------------------------------------------------

    def do(self, row: JobRow) -> ItemState:
        """Do what a job was asked to do.

        Raises:
            NotFound: the project is deleted, or the time of the request is over. BadUpload: it cannot be done any more.
            InvalidInput: the job is of another kind.
            What ``Edits.restore``, ``Archives.load`` and ``Archives.export`` raise.
        """
        kept = self._of(row)
        if kept is None:
            raise NotFound(
                "what the job was asked to do is not there any more: its project was deleted, or its time is over",
                hint="send the request anew, which begins another job",
            )
        asked = self._kept.asked(kept, DECODER)
        if kind_of(asked) != row.kind:
            raise InvalidInput("another kind of job was to do that", hint="send the request anew")
        if self._kept.answer(kept) is None:
            self._do(kept, asked)
        return ItemState.DONE

    def _do(self, kept: ResumableUpload, asked: Asked) -> None:
        principal, project = Principal(kept.tenant, kept.user), kept.project
        if isinstance(asked, AskedRestore):
            intent = asked.intent(kept.upload)
            self._kept.settle(kept, self._edits.restore(principal, project, asked.generation, asked.paths, intent))
        elif isinstance(asked, AskedImport):
            if not asked.is_whole:
                raise BadUpload("its archive has not arrived to the end", hint="send it anew")
            read = reading_pieces(self._kept.content(kept).read())
            intent = asked.intent(kept.upload)
            done = self._archives.load(principal, project, read, intent, folder=asked.folder, replace=asked.replace)
            self._kept.settle(kept, done)
        else:
            self._make_archive(principal, kept, asked)

    def _make_archive(self, principal: Principal, kept: ResumableUpload, asked: AskedArchive) -> None:
        found = self._archives.export(principal, kept.project, asked.archive_format, asked.generation)
        if found.version != asked.version:
            raise BadUpload(
                "the archive was asked for of another release, or of a history that was replaced since",
                hint="ask for it anew",
            )

        def made(size: int) -> MadeArchive:
            return MadeArchive(
                project=kept.project,
                generation=found.generation,
                generation_commit=found.point.commit,
                format=asked.archive_format.value,
                total_bytes=size,
                etag=f'"{asked.version}"',
            )

        self._kept.make(kept, found.read, made)

    # --- what has come of it -----------------------------------------------------------------------------------------

    def result(self, principal: Principal, job: JobId) -> JobResult:
        """Return what has come of a job. Raises NotFound: nothing yet, or its time is over."""
        row, kept, answer = self._answered(principal, job)
        told = JobResult(
            job=row.job, kind=row.kind, restored=None, imported=None, archive=None, expires_at=kept.expires_at
        )
        if row.kind == RESTORE:
            return msgspec.structs.replace(told, restored=_read(answer, Edited))
        if row.kind == IMPORT:
            return msgspec.structs.replace(told, imported=_read(answer, ImportedArchive))
        return msgspec.structs.replace(told, archive=_read(answer, MadeArchive))

    def content(self, principal: Principal, job: JobId) -> DeferredArchive:
        """Return the archive that a job has made. Raises NotFound: as ``result``; the job makes none."""
        row, kept, answer = self._answered(principal, job)
        if row.kind != ARCHIVE:
            raise NotFound(
                f"job {job} makes no archive: it is of the kind {row.kind}",
                hint=f"GET /api/v1/jobs/{job}/result says what came of it",
            )
        made = _read(answer, MadeArchive)
        return DeferredArchive(made, self._kept.content(kept))

    def _answered(self, principal: Principal, job: JobId) -> tuple[JobRow, ResumableUpload, bytes]:
        row = self._jobs.row(principal.tenant, job)
        if row.kind not in (RESTORE, IMPORT, ARCHIVE):
            raise NotFound(f"jobs of the kind {row.kind} have no result", hint=_look(job))
        kept = self._of(row)
        answer = None if kept is None else self._kept.answer(kept)
        if kept is not None and answer is not None and kind_of(self._kept.asked(kept, DECODER)) == row.kind:
            return row, kept, answer
        if row.state is JobState.DONE:
            raise NotFound(
                f"what came of job {job} is not there any more: its time is over, or its project is deleted",
                hint="send the request anew, which begins another job",
            )
        raise NotFound(f"job {job} is {row.state.value}, and nothing has come of it yet", hint=_look(job))

    def _of(self, row: JobRow) -> ResumableUpload | None:
        """Return the request that a job is to do, if it is kept still."""
        if row.project is None:
            return None
        params = _READING.value(DeferredParams, msgspec.json.decode(row.params))
        return self._kept.find(Principal(row.tenant, row.user), row.project, params.request)


def _job_of(principal: Principal, project: ProjectId, request: NamedRequest) -> JobId:
    """Return the id of the job that does a named request. The catalog has such names in the clear."""
    said = "\n".join(("job of a named request", principal.tenant, project, request.name))
    return JobId(encode_id(blake3(said.encode()).digest(ID_BYTES)))


def _read(answer: bytes, kind: type[T]) -> T:
    return _READING.value(kind, msgspec.json.decode(answer))


def _look(job: JobId) -> str:
    return f"GET /api/v1/jobs/{job} says how far it is, and what is wrong with it"
