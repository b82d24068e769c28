"""What is known of an upload between two requests, sealed for the catalog.

Each record is bound to its upload and to what it is of it, so that a row holds nothing of another upload, and no part
stands in the place of another.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

import msgspec

from manifold_common.engine.commit_writer import open_note
from manifold_common.engine.data_keys import ProjectKeys
from manifold_common.engine.owned_names import is_owned, owned_name
from manifold_common.errors import BadUpload, CorruptObject
from manifold_common.format.layout import note_key, pack_key
from manifold_common.format.places import Block, Container, Place
from manifold_common.format.sealed import ObjectKind
from manifold_common.ids import (
    PLAIN,
    ChunkId,
    CommitId,
    DekId,
    Generation,
    ObjectId,
    ProjectId,
    TenantId,
    UploadId,
)
from manifold_common.ports.catalog import ResumableUpload, UploadPart
from manifold_common.services.context import Context

T = TypeVar("T")


class About(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the file is to be, and on which conditions."""

    path: bytes
    mode: int | None = None
    message: str = ""
    provenance: dict[str, Any] = {}
    conditions: dict[str, str] = {}
    """As the caller gave them, for the caller alone."""
    metadata: str = ""
    """The same as ``path`` to ``provenance``, as the caller wrote it."""


class _Container(msgspec.Struct, frozen=True, array_like=True):
    project: ProjectId
    kind: int
    generation: Generation
    name: str
    object_id: ObjectId
    dek: DekId


class _Block(msgspec.Struct, frozen=True, array_like=True):
    container: int
    frame: int
    offset: int
    stored_bytes: int
    raw_bytes: int


class _Chunk(msgspec.Struct, frozen=True, array_like=True):
    chunk: ChunkId
    block: int
    offset: int
    length: int


class Run(msgspec.Struct, frozen=True, array_like=True):
    """Chunks that follow one another in a file, and where each is."""

    start: int
    """Where the first begins in the file."""
    chunks: list[_Chunk]
    blocks: list[_Block]
    containers: list[_Container]


class PlacedChunk(NamedTuple):
    chunk: ChunkId
    place: Place


class Outcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a complete upload has become."""

    generation: Generation
    """The project's, with the file in it."""
    commit: CommitId | None = None
    """``None``: there was nothing to change."""
    etag: str | None = None
    """The file's. ``None``: the file is not there any more."""


class Progress(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far an upload is: chunks that are settled, in parts; and behind them the begin of the next."""

    cut_bytes: int = 0
    parts: int = 0
    total_bytes: int | None = None
    tail: Run | None = None
    outcome: Outcome | None = None
    answer: bytes | None = None
    """What has come of what a job was asked to do, as JSON."""

    @property
    def tail_bytes(self) -> int:
        return sum(chunk.length for chunk in self.tail.chunks) if self.tail else 0

    @property
    def offset(self) -> int:
        return self.cut_bytes + self.tail_bytes


_MOST_BYTES = 8 << 20
"""Of a record: an answer lists some thousand paths."""
_ABOUT = msgspec.msgpack.Decoder(About)
_PROGRESS = msgspec.msgpack.Decoder(Progress)
_RUN = msgspec.msgpack.Decoder(Run)


class Records:
    """Seals and opens what is about one upload."""

    def __init__(
        self,
        context: Context,
        tenant: TenantId,
        project: ProjectId,
        upload: UploadId,
        keys: ProjectKeys | None = None,
    ) -> None:
        """Args: ``keys``: of the project, where the catalog may not show them."""
        self._context = context
        self._tenant, self._project, self._upload = tenant, project, upload
        self._keys = keys or context.keys.of(tenant, project)

    @property
    def dek(self) -> DekId:
        """What is sealed from now on is sealed under this."""
        return self._keys.write_dek

    def check_sealed(self, row: ResumableUpload) -> None:
        """Raises BadUpload: it was begun before the project was encrypted, and parts of it are in the clear."""
        if row.dek == PLAIN and self.dek != PLAIN:
            raise BadUpload(
                "the upload was begun before the project was encrypted, and what has arrived is not",
                hint="end it with DELETE, and upload the file anew"
                if row.purpose == "file"
                else "send the request anew, which begins another job",
            )

    def new_names(self, count: int) -> list[ObjectId]:
        return [owned_name(self._keys, self._context.randomness, self._owner) for _ in range(count)]

    def discard(self, packs: Iterable[ObjectId]) -> None:
        """Remove packs, but for those that were never named for this upload, whatever its row says."""
        own = [pack for pack in packs if is_owned(self._keys, pack, self._owner)]
        if own:
            self._context.objects.discard([pack_key(self._tenant, self._project, pack) for pack in own])

    @property
    def _owner(self) -> str:
        return self._name("packs")

    def seal_about(self, about: msgspec.Struct) -> bytes:
        return self._seal("about", about)

    def asked(self, row: ResumableUpload, decoder: msgspec.msgpack.Decoder[T]) -> T:
        """Return what a job was asked to do. Raises CorruptObject."""
        return self._open("about", row.about, decoder)

    def about(self, row: ResumableUpload) -> About:
        """Raises CorruptObject."""
        return self._open("about", row.about, _ABOUT)

    def seal_progress(self, progress: Progress) -> bytes:
        return self._seal("progress", progress)

    def progress(self, row: ResumableUpload) -> Progress:
        """Raises CorruptObject: also where the row says otherwise."""
        found = self._open("progress", row.progress, _PROGRESS)
        if (found.offset, found.total_bytes) != (row.received_bytes, row.total_bytes):
            raise CorruptObject(self._name("progress"), "its row says that it has got elsewhere")
        return found

    def part(self, number: int, start: int, chunks: Sequence[PlacedChunk], objects: Iterable[ObjectId]) -> UploadPart:
        packs = tuple(objects)
        own = {placed.place.block.container for placed in chunks if placed.place.block.container.object_id in packs}
        dek = PLAIN if any(one.dek == PLAIN for one in own) else self.dek
        return UploadPart(number, dek, packs, self._seal(str(number), run_of(start, chunks)))

    def chunks(self, parts: Sequence[UploadPart], first: int = 0) -> list[PlacedChunk]:
        """Return the chunks of parts that follow one another from number ``first`` on. Raises CorruptObject."""
        found: list[PlacedChunk] = []
        at: int | None = None if first else 0
        for number, part in enumerate(parts, first):
            run = self._open(str(number), part.places, _RUN)
            if part.number != number or at not in (None, run.start):
                raise CorruptObject(self._name(str(number)), "the part before it is missing")
            placed = self.placed(run)
            found += placed
            at = run.start + sum(one.place.length for one in placed)
        return found

    def placed(self, run: Run) -> list[PlacedChunk]:
        containers = [
            Container(self._tenant, one.project, ObjectKind(one.kind), one.generation, one.name, one.object_id, one.dek)
            for one in run.containers
        ]
        blocks = [
            Block(containers[one.container], one.frame, one.offset, one.stored_bytes, one.raw_bytes)
            for one in run.blocks
        ]
        return [PlacedChunk(one.chunk, Place(blocks[one.block], one.offset, one.length)) for one in run.chunks]

    def _seal(self, subject: str, record: msgspec.Struct) -> bytes:
        data = msgspec.msgpack.encode(record)
        return self._context.writer.seal_note(self._tenant, self._project, self._subject(subject), data)

    def _open(self, subject: str, sealed: bytes, decoder: msgspec.msgpack.Decoder[T]) -> T:
        data = open_note(self._keys, self._tenant, self._project, self._subject(subject), sealed, max_bytes=_MOST_BYTES)
        try:
            return decoder.decode(data)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            raise CorruptObject(self._name(subject), f"it is not what its place is for: {error}") from None

    def _subject(self, subject: str) -> str:
        return f"resumable/{self._upload}/{subject}"

    def _name(self, subject: str) -> str:
        return note_key(self._tenant, self._project, self._subject(subject))


def packs_of(chunks: Iterable[PlacedChunk]) -> set[ObjectId]:
    containers = {one.place.block.container for one in chunks}
    return {one.object_id for one in containers if one.kind == ObjectKind.PACK}


def run_of(start: int, chunks: Sequence[PlacedChunk]) -> Run:
    containers: dict[Container, int] = {}
    blocks: dict[Block, int] = {}
    found = []
    for chunk, (block, offset, length) in chunks:
        containers.setdefault(block.container, len(containers))
        found.append(_Chunk(chunk, blocks.setdefault(block, len(blocks)), offset, length))
    return Run(
        start,
        found,
        [_Block(containers[one.container], *one[1:]) for one in blocks],
        [_Container(one.project, int(one.kind), *one[3:]) for one in containers],
    )
