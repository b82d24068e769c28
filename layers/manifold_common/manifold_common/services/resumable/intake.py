"""The content of one request on its way into the parts of an upload.

It is cut, named, sealed and packed as it comes in, from where the request before has left off: the last chunk of what
has arrived may go on, so it is kept aside as the *tail*, and cut anew together with what comes next. So the boundaries
are the same as if the file had come at once. Every ``SEGMENT_BYTES``, what is settled is noted in the catalog.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import NamedTuple

import msgspec

from manifold_common.domain.paths import to_display
from manifold_common.engine.pack_writer import PackWriter
from manifold_common.errors import InvalidInput, ManifoldError, NotFound, UploadLocked
from manifold_common.format.chunker import WHOLE_FILE_BYTES
from manifold_common.format.places import Place
from manifold_common.ids import ChunkId, ObjectId
from manifold_common.ports.catalog import ResumableUpload, UploadPart
from manifold_common.services.context import Context
from manifold_common.services.projects.edits import ReadInto, reading
from manifold_common.services.resumable.records import About, PlacedChunk, Progress, Records, Run, packs_of, run_of

SEGMENT_BYTES = 16 << 20
"""After so much of one request, what has come is noted. A crash costs at most that, and a chunk."""
LEASE = timedelta(seconds=120)
"""How long a writer that died keeps others away."""
NAMES = 8
"""Packs that a segment may take: four full ones, and a chunk; and one for the tail."""
_KNOWN_PARTS = 256
"""Content that repeats itself is found among so many of the newest parts: more would have to be read anew each time."""


class Taken(NamedTuple):
    """What a request has brought, stored and not noted yet."""

    parts: list[UploadPart]
    start: int
    """Where, in the file, what comes after these begins."""
    chunks: list[PlacedChunk]
    """That come after these; where the file is complete, all."""
    packs: list[ObjectId]
    """That were stored for those."""
    last: memoryview
    """The chunk that may go on; where the file is complete, it is the last of ``chunks`` as well."""
    is_complete: bool
    received_bytes: int


class Intake:
    """One writer's turn at an upload. ``open`` it first.

    Args:
        held: the row as it was when the turn began.
        names: that were added to its spare ones.
        kept: how long an upload stays after the last part.
    """

    def __init__(
        self,
        context: Context,
        records: Records,
        held: ResumableUpload,
        writer: str,
        names: list[ObjectId],
        kept: timedelta,
    ) -> None:
        self._context = context
        self.records = records
        self.row = held
        self._described = held.about
        self._writer = writer
        self._names = names
        self._kept = kept
        self._spare = list(held.spare)
        """What requests before have left; the tail is among it."""
        self._used: list[ObjectId] = []
        """Of ``names``: they are stored, and no part that is noted refers to them."""
        self.is_over = False
        """Nothing more is noted: the turn has ended, or another writer has taken the upload over."""
        self._noted_at = context.clock.monotonic()
        self._others_bytes: int | None = None
        self.gc_epoch: int | None = None
        """At which the places of what others had stored before were read; ``None``: none of these is referred to."""

    def open(self) -> None:
        """Raises CorruptObject; BadUpload: it cannot go on; KeyUnavailable."""
        self.records.check_sealed(self.row)
        if self.row.purpose == "file":
            self.about: About = self.records.about(self.row)
        self.progress: Progress = self.records.progress(self.row)

    def clear(self) -> None:
        """Remove what requests before have left, where none of these can be at work still."""
        if self.row.writer is None and self.row.announced_at is None:
            row = self.row
            parts = self._context.catalog.resumable_parts(row.tenant, row.project, row.upload)
            in_use = self._tail_packs() | packs_of(self.records.chunks(parts))
            rest = [pack for pack in self._spare if pack not in in_use]
            self.records.discard(rest)
            self._spare = [pack for pack in self._spare if pack in in_use]

    # --- taking ------------------------------------------------------------------------------------------------------

    def take(self, read: ReadInto, total_bytes: int | None, *, at_once: bool) -> Taken:
        """Store what ``read`` gives.

        Args:
            at_once: note nothing of it until the end.

        Raises:
            QuotaExceeded. InvalidInput: more comes than the file is to have. Whatever ``read`` raises.
        """
        known = self._known()
        more: dict[ChunkId, Place] = {}
        fresh = _Fresh(self, read, total_bytes)
        pieces = _telling_last(self._pieces(fresh))
        parts: list[UploadPart] = []
        start, count = self.progress.cut_bytes, self.progress.parts
        while True:
            segment = self._segment(pieces, known.new_child(more), more, fresh)
            if segment.is_last:
                return Taken(
                    parts, start, segment.chunks, segment.packs, segment.last, fresh.is_complete, fresh.received_bytes
                )
            part = self.records.part(count, start, segment.chunks, segment.packs)
            start += sum(one.place.length for one in segment.chunks)
            count += 1
            if at_once:
                parts.append(part)
                self._note([], self.progress)
            else:
                self._used = [pack for pack in self._used if pack not in segment.packs]
                self._note([part], msgspec.structs.replace(self.progress, cut_bytes=start, parts=count, tail=None))

    def _segment(
        self,
        pieces: Iterator[tuple[memoryview, bool]],
        known: Mapping[ChunkId, Place],
        more: dict[ChunkId, Place],
        fresh: _Fresh,
    ) -> _Segment:
        """Store the chunks that come next. Args: ``more``: gets those that are new."""
        used: list[ObjectId] = []
        ids: list[ChunkId] = []
        size, last, at_end = 0, memoryview(b""), False
        with self._packs(known, used) as packs:
            while size < SEGMENT_BYTES and not at_end:
                piece, at_end = next(pieces, (last, True))
                if at_end:
                    last = piece
                if piece and not (at_end and not fresh.is_complete):
                    ids.append(packs.add(piece))
                    size += len(piece)
            more |= packs.finish(0).packed_places
        return _Segment([PlacedChunk(chunk, known[chunk]) for chunk in ids], used, last, at_end)

    def _known(self) -> ChainMap[ChunkId, Place]:
        row = self.row
        first = max(0, self.progress.parts - _KNOWN_PARTS)
        parts = self._context.catalog.resumable_parts(row.tenant, row.project, row.upload, first=first)
        of_parts = {one.chunk: one.place for one in self.records.chunks(parts, first)}
        if row.purpose == "job":
            return ChainMap(of_parts)  # a collection that comes between would cost the whole body
        newest = self._context.log.load(row.tenant, row.project)
        self.gc_epoch = newest.head.gc_epoch
        return ChainMap(of_parts, self._context.sound(newest, newest.places))

    def _pieces(self, fresh: ReadInto) -> Iterator[memoryview]:
        """Yield the chunks of the tail and what comes after it. A short file is one, as everywhere."""
        read = _both(reading(self.tail()), fresh)
        if self.progress.parts == 0:
            begin = memoryview(bytearray(WHOLE_FILE_BYTES + 1))
            filled = 0
            while filled < len(begin) and (count := read(begin[filled:])):
                filled += count
            if filled <= WHOLE_FILE_BYTES:
                if filled:
                    yield begin[:filled]
                return
            read = _both(reading(bytes(begin)), read)
        yield from self._context.keys.of(self.row.tenant, self.row.project).chunker.cut(read)

    def tail(self) -> bytes:
        if self.progress.tail is None:
            return b""
        reader = self._context.block_reader(self.row.tenant, self.row.project)
        return b"".join(
            bytes(reader.read_one(place.block, {chunk: place})[place.offset : place.offset + place.length])
            for chunk, place in self.records.placed(self.progress.tail)
        )

    def _packs(self, known: Mapping[ChunkId, Place], used: list[ObjectId]) -> PackWriter:
        def name() -> ObjectId:
            pack = self._names.pop()
            self._used.append(pack)
            used.append(pack)
            return pack

        row, context = self.row, self._context
        keys = context.keys.of(row.tenant, row.project)
        return PackWriter(
            row.tenant, row.project, keys, context.objects, context.workers, context.randomness, known, name
        )

    # --- noting ------------------------------------------------------------------------------------------------------

    def keep(self, taken: Taken, total_bytes: int | None, *, answer: bytes | None = None) -> None:
        """Note all that was taken, and end the turn. Args: ``answer``: what has come of a job.

        Of a file that is complete the last byte is left out: it becomes no commit now, so whoever looks at the upload
        is to see that something is left to be done.
        """
        chunks, last = taken.chunks, bytes(taken.last)
        if taken.is_complete:
            chunks, last = chunks[:-1], last[:-1]
        parts, cut, tail = list(taken.parts), taken.start, self.progress.tail
        if chunks:
            parts.append(self.records.part(self.progress.parts + len(parts), cut, chunks, taken.packs))
            cut += sum(one.place.length for one in chunks)
        if taken.received_bytes or parts:
            noted = {pack for part in parts for pack in part.objects}
            self._used = [pack for pack in self._used if pack not in noted]
            tail = self._store_tail(cut, last) if last else None
        progress = msgspec.structs.replace(
            self.progress,
            cut_bytes=cut,
            parts=self.progress.parts + len(parts),
            total_bytes=total_bytes,
            tail=tail,
            answer=answer,
        )
        self._note(parts, progress, ends=True)

    def _store_tail(self, start: int, last: bytes) -> Run:
        with self._packs({}, []) as packs:
            chunk = packs.add(last)
            place = packs.finish(0).packed_places[chunk]
        return run_of(start, [PlacedChunk(chunk, place)])

    def _tail_packs(self) -> set[ObjectId]:
        tail = self.progress.tail
        return packs_of(self.records.placed(tail)) if tail else set()

    def announce(self) -> None:
        """Note that a commit may refer to what is stored from now on. Raises UploadLocked, NotFound."""
        self.row = replace(self.row, announced_at=self._context.clock.now())
        self._note([], self.progress)

    def withdraw(self) -> None:
        """No commit refers to it."""
        self.row = replace(self.row, announced_at=None)

    def describe(self, about: About) -> None:
        """The file is to be something else than was said before."""
        self.about = about
        self.reword(about)

    def reword(self, about: msgspec.Struct) -> None:
        """Have what is kept of the request be this from the next note on."""
        self.row = replace(self.row, about=self.records.seal_about(about))

    def end(self) -> None:
        """End the turn, if it is not over, with what is noted; it takes no key. Where this fails, the lease ends it."""
        if not self.is_over:
            last = replace(self.row, about=self._described, spare=(*self._spare, *self._used))
            with suppress(ManifoldError):
                self._context.catalog.advance_resumable(last, self._writer, [], None)

    def check_held(self) -> None:
        """Raises UploadLocked, NotFound: another writer has taken the upload over, or it was ended."""
        self._note([], self.progress)

    def renew(self) -> None:
        """Keep the upload for this writer, if that is due."""
        if self._context.clock.monotonic() - self._noted_at > LEASE.total_seconds() / 4:
            self.check_held()

    def _note(self, parts: list[UploadPart], progress: Progress, *, ends: bool = False) -> None:
        row, records, context = self.row, self.records, self._context
        records.check_sealed(row)
        names = [] if ends else self._names + records.new_names(NAMES - len(self._names))
        new = replace(
            row,
            dek=records.dek,
            progress=records.seal_progress(progress),
            received_bytes=progress.offset,
            total_bytes=progress.total_bytes,
            spare=(*self._spare, *self._used, *names),
            expires_at=context.clock.now() + self._kept,
        )
        with context.keys.writing(row.tenant, row.project):
            there = context.catalog.advance_resumable(
                new, self._writer, parts, None if ends else LEASE, gc_epoch=self.gc_epoch
            )
        if not there:
            self.is_over = True
            now = context.clock.now()
            found = context.catalog.find_resumable(
                row.tenant, row.project, row.user, row.upload, now, purpose=row.purpose
            )
            if found is None:
                raise NotFound("the upload was ended meanwhile", hint="upload the file anew")
            raise locked()
        self.row, self.progress, self.is_over, self._names = new, progress, ends, names
        self._noted_at = context.clock.monotonic()
        self._others_bytes = None

    def check_size(self, size: int) -> None:
        """Raises QuotaExceeded: a file of so many bytes is too large, for itself or, where that was not known when the
        upload began, together with what else the project has open."""
        context, row = self._context, self.row
        limits = context.policy.limits
        if row.purpose == "file":
            limits.check_file(to_display(self.about.path), size)
        if row.total_bytes is None and limits.max_project_bytes:
            if self._others_bytes is None:
                held = context.catalog.held_resumable(row.tenant, row.project, context.clock.now())
                self._others_bytes = held.project_bytes - row.received_bytes
            limits.check_project(self._others_bytes + size, 0)


def take_turn(context: Context, row: ResumableUpload, count: int, kept: timedelta) -> Intake | None:
    """Begin a turn at an upload, with so many names for packs. ``None``: another writer has it, or it has ended."""
    records = Records(context, row.tenant, row.project, row.upload)
    writer, names = context.new_id(), records.new_names(count)
    held = context.catalog.hold_resumable(row.tenant, row.project, row.upload, writer, LEASE, names)
    return None if held is None else Intake(context, records, held, writer, names, kept)


class _Segment(NamedTuple):
    chunks: list[PlacedChunk]
    packs: list[ObjectId]
    last: memoryview
    is_last: bool


class _Fresh:
    """What a request brings, as it comes: counted, and bounded by what the file is to have."""

    def __init__(self, intake: Intake, read: ReadInto, total_bytes: int | None) -> None:
        self._intake = intake
        self._read = read
        self._begin = intake.progress.offset
        self._total_bytes = total_bytes
        self.received_bytes = 0

    def __call__(self, into: memoryview) -> int:
        self._intake.renew()
        count = self._read(into)
        self.received_bytes += count
        size = self._begin + self.received_bytes
        check_total(size, self._total_bytes)
        self._intake.check_size(size)
        return count

    @property
    def is_complete(self) -> bool:
        return self._begin + self.received_bytes == self._total_bytes


def check_total(size: int, total_bytes: int | None) -> None:
    """Raises InvalidInput: there is more than the file is to have."""
    if total_bytes is not None and size > total_bytes:
        raise InvalidInput(
            f"the upload would have {size} bytes, and its Upload-Length is {total_bytes}",
            hint="send no more than is missing; HEAD says how far the upload is",
        )


def locked() -> UploadLocked:
    return UploadLocked(
        "another request is writing to the upload",
        hint=f"ask with HEAD how far it is, and go on from there; one that has died holds it for at most "
        f"{LEASE.total_seconds():.0f} seconds",
    )


def _telling_last(pieces: Iterator[memoryview]) -> Iterator[tuple[memoryview, bool]]:
    before: memoryview | None = None
    for piece in pieces:
        if before is not None:
            yield before, False
        before = piece
    if before is not None:
        yield before, True


def _both(first: ReadInto, second: ReadInto) -> ReadInto:
    """Return a reader that gives what ``first`` gives, then what ``second`` gives."""
    at = first

    def read(into: memoryview) -> int:
        nonlocal at
        count = at(into)
        if count == 0 and at is first and len(into):
            at = second
            count = at(into)
        return count

    return read
