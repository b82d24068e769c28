"""Blocks on their way out of the store: few large requests, in parallel, opened and handed over as they arrive.

A sealed block is proven by its tag. An unsealed one that a sealed tree refers to (it was stored before its project was
encrypted) is proven by the ids of the chunks that are wanted of it, which stand in what is sealed.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import NamedTuple

from manifold_common.domain.patience import check_wanted
from manifold_common.engine.keyring import Openers
from manifold_common.engine.objects import SealedObjects
from manifold_common.engine.workers import Workers
from manifold_common.errors import CorruptObject
from manifold_common.format.buffers import Buffer
from manifold_common.format.places import MAX_BLOCK_RAW_BYTES, Block, Container, Places
from manifold_common.ids import PLAIN, ChunkId

_RUN_BYTES = 2 << 20
_JOIN_GAP_BYTES = 128 << 10
_RUNS_UNDER_WAY = 8

Consumer = Callable[[Block, Buffer], None]
Run = list[Block]
"""Blocks of one container, by offset, that are read together."""
_Parts = dict[Block, list[tuple[ChunkId, int, int]]]
"""What each block must hold: chunk id, offset, length."""


class BlockReader:
    """Reads blocks of one project. Safe for several threads."""

    def __init__(self, keys: Openers, objects: SealedObjects, workers: Workers) -> None:
        self._keys = keys
        self._objects = objects
        self._workers = workers
        self.leaving_room = objects.leaving_room
        """For what is written of what is read: copies that are kept for later make way."""

    def read_one(self, block: Block, places: Places) -> Buffer:
        """Return the raw bytes of one block, of which the chunks of ``places`` are wanted. Raises CorruptObject."""
        raw: list[Buffer] = []
        parts = self._to_prove([block], places)
        self._open_run([block], self._fetch([block]), lambda _, data: raw.append(data), parts)
        return raw[0]

    def read_all(self, blocks: Iterable[Block], consume: Consumer, places: Places) -> None:
        """Call ``consume(block, raw bytes)`` once for each block, from several threads, in no set order.

        Args:
            places: where the chunks are that are wanted. No others may be taken from the blocks.

        Raises:
            CorruptObject: a block does not open or does not hold the chunks, or its object is missing. Others: whatever
            ``consume`` raises. Abandoned.
        """
        blocks = list(blocks)
        parts = self._to_prove(blocks, places)
        waiting = deque(_runs(blocks))
        under_way: dict[Future[_Fetched | None], Run] = {}
        try:
            while waiting or under_way:
                check_wanted()
                while waiting and len(under_way) < _RUNS_UNDER_WAY:
                    run = waiting.popleft()
                    under_way[self._workers.requests.submit(self._fetch, run)] = run
                done, _ = wait(under_way, return_when=FIRST_COMPLETED)
                for future in done:
                    run = under_way.pop(future)
                    fetched = future.result()
                    if fetched is not None:
                        under_way[self._workers.compute.submit(self._open_run, run, fetched, consume, parts)] = run
        finally:
            for future in under_way:
                future.cancel()
            wait(under_way)

    def _fetch(self, run: Run) -> _Fetched:
        key = run[0].container.seal().key
        spans = _spans(run)
        cached = self._objects.cached_ranges(key, spans)
        if cached is not None:
            return _Fetched(spans, cached, from_cache=True)
        return self._fetch_anew(run, spans)

    def _fetch_anew(self, run: Run, spans: list[tuple[int, int]]) -> _Fetched:
        container = run[0].container
        keep = self._keys.keeps(container.dek)
        return _Fetched(spans, self._objects.fetch_ranges(container.seal().key, spans, keep=keep), from_cache=False)

    def _to_prove(self, blocks: Sequence[Block], places: Places) -> _Parts:
        """Return what has to be looked for in blocks that nothing else proves."""
        plain = () if self._keys.trusts(PLAIN) else {block for block in blocks if block.container.dek == PLAIN}
        parts: _Parts = {block: [] for block in plain}
        if plain:
            for chunk, (block, offset, length) in places.items():
                if block in parts:
                    parts[block].append((chunk, offset, length))
        return parts

    def _prove(self, block: Block, raw: Buffer, parts: _Parts, key: str) -> None:
        view = memoryview(raw)
        for chunk, offset, length in parts.get(block, ()):
            if self._keys.chunker.chunk_id(view[offset : offset + length]) != chunk:
                raise CorruptObject(
                    key, f"frame {block.frame} is not encrypted, and holds other content than it should"
                )

    def _open_run(self, run: Run, fetched: _Fetched, consume: Consumer, parts: _Parts) -> None:
        opener = self._keys.block_opener(run[0].container.seal())
        pieces = zip(fetched.spans, fetched.data, strict=True)
        (start, length), data = next(pieces)
        view = memoryview(data)
        for number, block in enumerate(run):
            if block.offset >= start + length:
                (start, length), data = next(pieces)
                view = memoryview(data)
            at = block.offset - start
            try:
                raw = opener.open_frame(
                    block.frame, view[at : at + block.stored_bytes], max_raw_bytes=MAX_BLOCK_RAW_BYTES
                )
                if len(raw) != block.raw_bytes:
                    raise CorruptObject(opener.seal.key, f"frame {block.frame} has another length than expected")
                if parts:
                    self._prove(block, raw, parts, opener.seal.key)
            except CorruptObject:
                if not fetched.from_cache:
                    raise
                # The copy on disk is damaged or has a hole here: what is left of the run comes from the store.
                rest = run[number:]
                self._open_run(rest, self._fetch_anew(rest, _spans(rest)), consume, parts)
                return
            consume(block, raw)


class _Fetched(NamedTuple):
    spans: list[tuple[int, int]]
    data: list[Buffer]
    from_cache: bool


def _runs(blocks: Iterable[Block]) -> list[Run]:
    wanted: dict[Container, Run] = defaultdict(list)
    for block in blocks:
        wanted[block.container].append(block)
    runs: list[Run] = []
    for found in wanted.values():
        found.sort(key=lambda block: block.offset)
        size = _RUN_BYTES
        for block in found:
            if size + block.stored_bytes > _RUN_BYTES:
                runs.append([])
                size = 0
            runs[-1].append(block)
            size += block.stored_bytes
    return runs


def _spans(run: Run) -> list[tuple[int, int]]:
    """Return the (start, length) ranges to ask for; blocks with a small gap between them share one."""
    spans: list[tuple[int, int]] = []
    for block in run:
        if spans and block.offset - sum(spans[-1]) <= _JOIN_GAP_BYTES:
            start = spans[-1][0]
            spans[-1] = (start, block.offset + block.stored_bytes - start)
        else:
            spans.append((block.offset, block.stored_bytes))
    return spans
