"""Requests that a job does: what was asked, the body that came with it or the content that the job makes, and what has
come of it. Each is sealed, and goes the way of an upload: objects of the project's, roots of a collection, until its
time is over.

What is not asked for any more is found out by time alone: a request stays for as long after its last change as an
upload does, whatever has become of its job.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace

import msgspec

from manifold_common.domain.access import Principal
from manifold_common.domain.patience import check_wanted
from manifold_common.engine.contents import MOST_HELD_BYTES, pieces_of
from manifold_common.errors import CorruptObject, ManifoldError, Overloaded, QuotaExceeded
from manifold_common.format.buffers import Buffer
from manifold_common.format.places import Place
from manifold_common.ids import ProjectId, UploadId
from manifold_common.ports.catalog import ResumableUpload
from manifold_common.services.context import Context
from manifold_common.services.projects.edits import ReadInto
from manifold_common.services.resumable.intake import NAMES, Intake, take_turn
from manifold_common.services.resumable.records import PlacedChunk, Progress, Records, T
from manifold_common.services.resumable.rules import KeptRules

MOST_ASKED_BYTES = 2 << 20
"""Of what is asked for, without a body: paths, message, provenance."""


class KeptContent:
    """What a request came with, or what was made for it: read in pieces, as far as it is wanted."""

    def __init__(self, context: Context, row: ResumableUpload, placed: list[PlacedChunk]) -> None:
        self._placed = placed
        self._reader = context.block_reader(row.tenant, row.project)
        self.size = sum(one.place.length for one in placed)
        self.held_bytes = min(MOST_HELD_BYTES, sum(block.raw_bytes for block in {one.place.block for one in placed}))
        """Of memory, at most, while it is read."""

    def read(self, start: int = 0, end: int | None = None) -> Iterator[Buffer]:
        """Yield the bytes from ``start`` up to ``end``. Raises CorruptObject."""
        places = {one.chunk: one.place for one in self._placed}
        return pieces_of(self._wanted(start, self.size if end is None else end), places, self._reader)

    def _wanted(self, start: int, end: int) -> Iterator[Place]:
        at = 0
        for _, place in self._placed:
            first, last = max(0, start - at), min(place.length, end - at)
            if first < last:
                yield place._replace(offset=place.offset + first, length=last - first)
            at += place.length


class KeptRequests:
    def __init__(self, context: Context, rules: KeptRules) -> None:
        self._context = context
        self._rules = rules

    def keep(self, principal: Principal, project: ProjectId, asked: msgspec.Struct) -> ResumableUpload:
        """Keep a request.

        Raises:
            QuotaExceeded: too many are kept, or what is asked is too long. NotFound: no such project.
        """
        if len(msgspec.msgpack.encode(asked)) > MOST_ASKED_BYTES:
            raise QuotaExceeded(
                f"what is asked for has more than {MOST_ASKED_BYTES} bytes, too many to be kept for a job",
                hint="name folders in place of what is in them, or wait for the answer: leave out Prefer",
                limit=MOST_ASKED_BYTES,
            )
        return self._rules.begin(self._context, principal, project, asked, purpose="job")

    def receive(self, row: ResumableUpload, read: ReadInto, asked: Callable[[], msgspec.Struct]) -> None:
        """Keep the body that a request comes with, to its end.

        Args:
            asked: returns what is asked for, once the body was read.

        Raises:
            QuotaExceeded: the project would hold too much. Whatever ``read`` raises.
        """
        with self._turn(row) as intake:
            taken = intake.take(read, None, at_once=False)
            intake.reword(asked())
            intake.keep(taken, None)

    def make(
        self,
        row: ResumableUpload,
        read_from: Callable[[int], Iterator[Buffer]],
        answer: Callable[[int], msgspec.Struct],
    ) -> None:
        """Keep what is made for a request, from where an earlier try has left off.

        Args:
            read_from: returns what it is from some byte on.
            answer: what has come of it, by the bytes that it has.

        Raises:
            Overloaded: another one is at it, or may be. QuotaExceeded. Whatever ``read_from`` does.
        """
        with self._turn(row) as intake:
            if intake.progress.answer is not None:
                return
            start = intake.progress.offset
            taken = intake.take(reading_pieces(read_from(start)), None, at_once=False)
            made = answer(start + taken.received_bytes)
            intake.keep(taken, None, answer=msgspec.json.encode(made))

    def find(self, principal: Principal, project: ProjectId, request: UploadId) -> ResumableUpload | None:
        """Return a request of the user's, unless its time is over or its project is deleted."""
        now = self._context.clock.now()
        return self._context.catalog.find_resumable(
            principal.tenant, project, principal.user, request, now, purpose="job"
        )

    def asked(self, row: ResumableUpload, decoder: msgspec.msgpack.Decoder[T]) -> T:
        """Return what was asked for. Raises CorruptObject; BadUpload: it was kept before the project was encrypted."""
        records = self._records(row)
        records.check_sealed(row)
        return records.asked(row, decoder)

    def answer(self, row: ResumableUpload) -> bytes | None:
        """Return what has come of it, as JSON. ``None``: nothing yet. Raises as ``asked``."""
        records = self._records(row)
        records.check_sealed(row)
        return records.progress(row).answer

    def content(self, row: ResumableUpload) -> KeptContent:
        """Return what it came with, or what was made for it. Raises as ``asked``."""
        records = self._records(row)
        records.check_sealed(row)
        progress = records.progress(row)
        parts = self._context.catalog.resumable_parts(row.tenant, row.project, row.upload)
        placed = records.chunks(parts)
        if progress.tail is not None:
            placed += records.placed(progress.tail)
        found = KeptContent(self._context, row, placed)
        if len(parts) != progress.parts or found.size != progress.offset:
            raise CorruptObject(f"kept request {row.upload}", "parts of it are missing")
        return found

    def settle(self, row: ResumableUpload, answer: msgspec.Struct) -> None:
        """Note what has come of a request, and give up its body. Raises KeyUnavailable, CatalogUnavailable."""
        context = self._context
        parts = context.catalog.resumable_parts(row.tenant, row.project, row.upload)
        packs = {*row.spare, *(pack for part in parts for pack in part.objects)}
        now, size = context.clock.now(), row.received_bytes
        with context.keys.writing(row.tenant, row.project):
            records = self._records(row)
            progress = Progress(cut_bytes=size, answer=msgspec.json.encode(answer))
            context.catalog.settle_resumable(
                replace(
                    row,
                    dek=records.dek,
                    progress=records.seal_progress(progress),
                    spare=tuple(sorted(packs)),
                    announced_at=now,
                    expires_at=now + self._rules.kept,
                )
            )

    def drop(self, row: ResumableUpload) -> None:
        """Give up a request that no job is to work on. Where this fails, its time ends it."""
        with suppress(ManifoldError):
            found = self.find(Principal(row.tenant, row.user), row.project, row.upload)  # its time has moved on
            if found is not None:
                self._context.catalog.remove_resumable(found, self._context.clock.now())

    def _turn(self, row: ResumableUpload) -> _Turn:
        intake = take_turn(self._context, row, NAMES, self._rules.kept)
        if intake is None:
            raise Overloaded("another worker is at it, or was cut off a moment ago", hint="it is tried again")
        return _Turn(intake)

    def _records(self, row: ResumableUpload) -> Records:
        return Records(self._context, row.tenant, row.project, row.upload)


class _Turn:
    """A turn at a request, which ends with this."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    def __enter__(self) -> Intake:
        try:
            self._intake.open()
        except BaseException:
            self._intake.end()
            raise
        return self._intake

    def __exit__(self, *_: object) -> None:
        self._intake.end()


def reading_pieces(pieces: Iterator[Buffer]) -> ReadInto:
    """Return what reads ``pieces``, one after another. Raises Abandoned: nobody wants it any more."""
    rest = memoryview(b"")

    def read(into: memoryview) -> int:
        nonlocal rest
        check_wanted()
        while not rest and len(into):
            piece = next(pieces, None)
            if piece is None:
                return 0
            rest = memoryview(piece)
        count = min(len(rest), len(into))
        into[:count] = rest[:count]
        rest = rest[count:]
        return count

    return read
