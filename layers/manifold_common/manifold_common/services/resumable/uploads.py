"""Files that arrive in parts, over several requests, and become one commit when they are complete.

Every request may be served by another process: what there is between two of them is sealed objects in the store, and a
sealed record in the catalog. One request at a time writes to an upload, for as long as it has a lease; what decides is
that nothing of a writer that has lost its lease is noted any more.

The last byte of a file is taken only together with its commit: whoever is told that all has arrived is told that it is
committed. Where the commit is refused, all but that byte stays, for another try.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import msgspec

from manifold_common.domain.access import Principal
from manifold_common.domain.history import Seen
from manifold_common.domain.named_request import NamedRequest
from manifold_common.domain.paths import check_path, to_display
from manifold_common.domain.tree import etag_of
from manifold_common.engine.commit_writer import StoredCommit
from manifold_common.errors import (
    CatalogUnavailable,
    CorruptObject,
    InvalidInput,
    ManifoldError,
    NotFound,
    UploadOffsetMismatch,
)
from manifold_common.format.places import Places
from manifold_common.ids import (
    PLAIN,
    ObjectId,
    ProjectId,
    UploadId,
    parse_request_id,
)
from manifold_common.ports.catalog import ResumableUpload, encrypted_meanwhile
from manifold_common.services.context import Context
from manifold_common.services.projects.edits import Edits, PlaceFile, ReadInto, Stored
from manifold_common.services.projects.projects import Projects
from manifold_common.services.publish import Hooks
from manifold_common.services.resumable.intake import NAMES, Intake, Taken, check_total, locked, take_turn
from manifold_common.services.resumable.records import About, Outcome, Progress, Records
from manifold_common.services.resumable.rules import DOUBT, KeptRules
from manifold_common.shapes.intent import Intent

_MARGIN = timedelta(hours=1)
"""Clocks of nodes differ."""
_SWEPT_AT_ONCE = 100
_TIDIED_AT_ONCE = 1000
_FINGERPRINT = b"resumable upload"


@dataclass(frozen=True, slots=True)
class UploadState:
    project: ProjectId
    upload: UploadId
    offset: int
    """How many bytes of the file are stored."""
    total_bytes: int | None
    """``None``: not known yet."""
    about: About
    expires_at: datetime
    outcome: Outcome | None = None
    """``None``: the file is not committed."""
    repeated: bool = False
    """It had been committed before."""


Settle = Callable[[About], tuple[Seen | None, bool]]
"""Asked just before a commit: the generation that it has to be made on, and whether it must not replace a file."""


@dataclass(frozen=True, slots=True)
class Incoming:
    """What a request brings."""

    offset: int
    read: ReadInto
    settle: Settle
    length: int | None = None
    """Bytes that it says it has."""
    total_bytes: int | None = None
    """Of the whole file, where it says so."""
    about: About | None = None
    """What the file is to be, instead of what was said before."""
    conditions: dict[str, str] | None = None
    """Likewise, only the conditions."""
    verify: Callable[[], None] | None = None
    """Raises an error where what was read is not as it should be: then nothing of it counts. ``None``: what arrives
    counts, piece by piece."""
    is_all: bool = False
    """Nobody goes on with the upload where this is refused, so nothing is kept for another try."""


class ResumableUploads:
    def __init__(self, context: Context, projects: Projects, edits: Edits, rules: KeptRules) -> None:
        self._context = context
        self._projects = projects
        self._edits = edits
        self._rules = rules

    def create(
        self, principal: Principal, project: ProjectId, about: About, total_bytes: int | None = None
    ) -> UploadState:
        """Begin an upload.

        Raises:
            NotFound: no such project. UnsafePath. InvalidInput. QuotaExceeded: the file is too large, or too many
            uploads are open.
        """
        check_path(about.path)
        self._projects.get(principal, project)
        self._context.policy.limits.check_file(to_display(about.path), total_bytes or 0)
        row = self._rules.begin(self._context, principal, project, about, total_bytes=total_bytes)
        return UploadState(project, row.upload, 0, total_bytes, about, row.expires_at)

    def look(self, principal: Principal, project: ProjectId, upload: UploadId) -> UploadState:
        """Say how far an upload is. Raises NotFound; BadUpload: it cannot go on."""
        row = self._find(principal, project, upload)
        return self._committed_before(principal, row) or self._state(row)

    def append(self, principal: Principal, project: ProjectId, upload: UploadId, incoming: Incoming) -> UploadState:
        """Take what a request brings; commit the file where that completes it.

        Raises:
            NotFound. UploadOffsetMismatch. UploadLocked. BadUpload: it cannot go on. InvalidInput: more comes than the
            file is to have, or it is to have another length. QuotaExceeded. What ``read`` and ``verify`` raise. What
            ``Edits.apply`` raises: then all but the last byte is kept.
        """
        row = self._find(principal, project, upload)
        done = self._committed_before(principal, row)
        if done is not None:
            return self._repeat(done, incoming)
        self._check(row, incoming)
        self._state(row)
        intake = self._turn(row, NAMES)
        if intake is None:
            raise locked()
        return self._write(principal, intake, incoming)

    def end(self, principal: Principal, project: ProjectId, upload: UploadId) -> None:
        """End an upload. The sweep removes what has arrived; of a complete one, what its commit does not refer to.

        Raises NotFound; UploadLocked: a request is just committing it."""
        row = self._find(principal, project, upload)
        until = now = self._context.clock.now()
        if row.stage == "open":
            until = max(now, row.writing_until or now, (row.announced_at or now - DOUBT) + DOUBT)
        if not self._context.catalog.remove_resumable(row, until):
            raise locked()

    def sweep(self, *, stop: Callable[[], bool] = lambda: False) -> int:
        """Remove uploads whose time is over, and packs that are of no use any more. Returns how many rows went.

        ``stop`` is asked before each. One that cannot be seen to holds up no other; its error is raised at the end.
        """
        catalog, swept = self._context.catalog, 0
        before = self._context.clock.now() - _MARGIN
        failure: ManifoldError | None = None
        while True:
            ended = catalog.ended_resumable(before, limit=_SWEPT_AT_ONCE)
            for one in ended:
                if stop():
                    return swept
                try:
                    swept += self._remove(one)
                except ManifoldError as error:
                    failure = error
            if failure is not None or len(ended) < _SWEPT_AT_ONCE:
                break
        for one in catalog.cluttered_resumable(before, limit=_TIDIED_AT_ONCE):
            if stop():
                return swept
            try:
                self._tidy(one)
            except ManifoldError as error:
                failure = error
        if failure is not None:
            raise failure
        return swept

    def _remove(self, row: ResumableUpload) -> bool:
        catalog = self._context.catalog
        if row.stage != "removing" and not catalog.remove_resumable(row, row.expires_at):
            return False  # it came into use at this very moment
        self._discard_unused(row)
        catalog.forget_resumable(row.tenant, row.project, row.upload)
        return True

    def _tidy(self, row: ResumableUpload) -> None:
        """Remove packs of no use before the upload's time is over."""
        if row.stage == "done":
            self._discard_unused(row)
            self._context.catalog.settle_resumable(replace(row, spare=()))
            return
        intake = self._turn(row, 0)
        if intake is not None:
            try:
                intake.open()
                intake.clear()
            finally:
                intake.end()

    def _turn(self, row: ResumableUpload, count: int) -> Intake | None:
        """Begin a turn at an upload, with so many names for packs. ``None``: another writer has it, or it has ended."""
        return take_turn(self._context, row, count, self._rules.kept)

    # --- one request -------------------------------------------------------------------------------------------------

    def _check(self, row: ResumableUpload, incoming: Incoming) -> None:
        """Raises UploadOffsetMismatch, InvalidInput."""
        if incoming.offset != row.received_bytes:
            raise UploadOffsetMismatch(
                f"the upload is at byte {row.received_bytes}, not at {incoming.offset}",
                hint="ask with HEAD how far it is, and go on from there",
                offset=row.received_bytes,
            )
        total = row.total_bytes
        if incoming.total_bytes is not None:
            if total not in (None, incoming.total_bytes):
                raise InvalidInput(
                    f"the upload has {total} bytes, and not {incoming.total_bytes}",
                    hint="leave out Upload-Length, or begin another upload",
                )
            total = incoming.total_bytes
        check_total(row.received_bytes + (incoming.length or 0), total)

    def _write(self, principal: Principal, intake: Intake, incoming: Incoming) -> UploadState:
        try:
            intake.open()
            self._check(intake.row, incoming)
            about = intake.about
            if incoming.about is not None:
                about = msgspec.structs.replace(incoming.about, conditions=about.conditions)
            if incoming.conditions is not None:
                about = msgspec.structs.replace(about, conditions=incoming.conditions)
            if about is not intake.about:
                intake.describe(about)
            total = incoming.total_bytes if intake.row.total_bytes is None else intake.row.total_bytes
            if total is not None:
                intake.check_size(total)
            taken = intake.take(incoming.read, total, at_once=incoming.verify is not None)
            if incoming.verify is not None:
                incoming.verify()
            if taken.is_complete:
                assert total is not None
                return self._commit(principal, intake, taken, total, incoming)
            intake.keep(taken, total)
            return self._state(intake.row)
        finally:
            intake.end()

    def _commit(
        self, principal: Principal, intake: Intake, taken: Taken, total: int, incoming: Incoming
    ) -> UploadState:
        """Commit a file that is complete. Where that is refused, what was taken is kept, but for its last byte."""
        row, records, was_announced = intake.row, intake.records, intake.row.announced_at is not None
        parts = [*self._context.catalog.resumable_parts(row.tenant, row.project, row.upload), *taken.parts]
        try:
            chunks = [*records.chunks(parts), *taken.chunks]
            if sum(one.place.length for one in chunks) != total:
                raise CorruptObject(f"resumable upload {row.upload}", "parts of it are missing")
        except CorruptObject:
            intake.check_held()  # else these are parts of another writer
            raise
        places: Places = {one.chunk: one.place for one in chunks}
        packs = {pack for part in parts for pack in part.objects}.union(taken.packs)
        ours = [place for place in places.values() if place.block.container.object_id in packs]
        has_plain = any(place.block.container.dek == PLAIN for place in ours)

        def announce(stored: StoredCommit) -> None:
            if has_plain and stored.row.dek != PLAIN:
                raise encrypted_meanwhile(row.project)
            intake.announce()

        about, replays = intake.about, []
        request = _request_of(row)._replace(on_replay=lambda: replays.append(True))
        try:
            expected, creates = incoming.settle(about)
            done = self._edits.write(
                principal,
                row.project,
                PlaceFile(about.path, total, b"".join(one.chunk for one in chunks), about.mode, creates),
                Intent(about.message, about.provenance, expected=expected, request=request),
                stored=Stored(places, sum(place.length for place in ours), intake.gc_epoch),
                hooks=Hooks(announce=announce),
            )
        except ManifoldError as error:
            if not (was_announced or isinstance(error, CatalogUnavailable)):
                intake.withdraw()
            if not incoming.is_all:
                _keep_refused(intake, taken, total, error)
            raise
        if replays:
            before = self._committed_before(principal, intake.row)
            assert before is not None
            intake.is_over = True
            return before
        made = done.answer
        outcome = Outcome(made.generation, made.commit, etag_of(done.entry))
        self._settle(intake.row, records, outcome, total, packs)
        intake.is_over = True
        return UploadState(row.project, row.upload, total, total, about, intake.row.expires_at, outcome)

    def _repeat(self, done: UploadState, incoming: Incoming) -> UploadState:
        """Answer a request to an upload that is complete: the last one, whose answer was lost. Raises
        UploadOffsetMismatch: it is another."""
        received = incoming.offset
        into = memoryview(bytearray(256 << 10))
        while count := incoming.read(into):
            received += count
        if received != done.offset:
            raise UploadOffsetMismatch(
                f"the upload is complete, with {done.offset} bytes",
                hint="the file is committed: there is nothing left to send",
                offset=done.offset,
            )
        return replace(done, repeated=True)

    # --- what there is -----------------------------------------------------------------------------------------------

    def _find(self, principal: Principal, project: ProjectId, upload: UploadId) -> ResumableUpload:
        now = self._context.clock.now()
        row = self._context.catalog.find_resumable(principal.tenant, project, principal.user, upload, now)
        if row is None:
            raise NotFound(f"there is no upload {upload}", hint="it may have ended or expired: upload the file anew")
        return row

    def _state(self, row: ResumableUpload) -> UploadState:
        records = Records(self._context, row.tenant, row.project, row.upload)
        records.check_sealed(row)
        progress, about = records.progress(row), records.about(row)
        return UploadState(
            row.project, row.upload, progress.offset, progress.total_bytes, about, row.expires_at, progress.outcome
        )

    def _committed_before(self, principal: Principal, row: ResumableUpload) -> UploadState | None:
        """Return what came of an upload, if it is complete; also where whoever committed it could not note it."""
        if row.stage == "done":
            return self._state(row)
        if row.announced_at is None:
            return None
        done = self._edits.earlier(principal, row.project, _request_of(row))
        if done is None:
            return None
        records = Records(self._context, row.tenant, row.project, row.upload)
        about, total = records.about(row), row.total_bytes
        entry = self._context.log.load(row.tenant, row.project, done.generation).tree.get(about.path)
        outcome = Outcome(done.generation, done.commit, None if entry is None else etag_of(entry))
        size = entry.size if entry is not None else total or row.received_bytes
        self._settle(row, records, outcome, size, self._packs(row))
        return UploadState(row.project, row.upload, size, size, about, row.expires_at, outcome, True)

    def _settle(
        self, row: ResumableUpload, records: Records, outcome: Outcome, total: int, packs: Iterable[ObjectId]
    ) -> None:
        """Note what came of an upload. Where this fails, whoever looks next, or the sweep, makes up for it."""
        progress = Progress(cut_bytes=total, total_bytes=total, outcome=outcome)
        now = self._context.clock.now()
        with suppress(ManifoldError):
            done = replace(
                row,
                dek=records.dek,
                progress=records.seal_progress(progress),
                received_bytes=total,
                total_bytes=total,
                spare=tuple(sorted({*row.spare, *packs})),
                announced_at=now,
                expires_at=now + self._rules.kept,
            )
            self._context.catalog.settle_resumable(done)

    def _packs(self, row: ResumableUpload) -> set[ObjectId]:
        parts = self._context.catalog.resumable_parts(row.tenant, row.project, row.upload)
        return {*row.spare, *(pack for part in parts for pack in part.objects)}

    def _discard_unused(self, row: ResumableUpload) -> None:
        """Remove the packs of an upload that ends or is done, but for what a commit refers to, whatever the row says of
        there being one. Those of a deleted project stay: a fork may refer to what it had."""
        packs = self._packs(row)
        commit = self._context.catalog.find_request(row.tenant, row.project, _request_of(row).name)
        if commit is None and self._may_have_gone(row):
            return
        if commit is not None:
            places = self._context.log.read_commit(row.tenant, row.project, commit).places.values()
            packs -= {place.block.container.object_id for place in places}
        Records(self._context, row.tenant, row.project, row.upload).discard(sorted(packs))

    def _may_have_gone(self, row: ResumableUpload) -> bool:
        """Tell whether a commit of an upload that was just not found may have been there before: it was removed, and a
        kept tree still refers to what it brought; or its project is deleted."""
        catalog = self._context.catalog
        try:
            catalog.get_project(row.tenant, row.project)
        except NotFound:
            return True
        return catalog.was_removed(row.tenant, row.project, row.created_at - _MARGIN)


def _keep_refused(intake: Intake, taken: Taken, total: int, error: ManifoldError) -> None:
    way_back = "end the upload with DELETE"
    if taken.received_bytes and not intake.is_over:
        with suppress(ManifoldError):
            intake.keep(taken, total)
            error.details["offset"] = intake.progress.offset
            way_back = (
                "the upload is kept but for its last byte: send that again, with other conditions or Upload-Metadata "
                "where these were refused, or end it with DELETE"
            )
    error.hint = f"{error.hint}; {way_back}" if error.hint else way_back


def _request_of(row: ResumableUpload) -> NamedRequest:
    """Return the name that all attempts to commit an upload share, so that one of them is the only one."""
    return NamedRequest(parse_request_id(f"resumable-upload:{row.upload}"), lambda: _FINGERPRINT)
