"""What a writer of packs holds in memory while its store does not answer."""

from __future__ import annotations

import random
import threading
import time
import tracemalloc

from manifold_common.adapters.memory.object_store import MemoryObjectStore
from manifold_common.adapters.system.clock import SystemClock
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.engine.pack_writer import PackWriter
from manifold_common.format.buffers import Buffer
from manifold_common.format.chunker import WINDOW_BYTES
from manifold_common.format.pack import PACK_TARGET_BYTES

from tests.support.manifold import MakeManifold
from tests.support.work import new_project

UPLOADS = 3
CHUNK_BYTES = 1 << 20
LIMIT_BYTES = (UPLOADS + 3) * PACK_TARGET_BYTES
"""Sealed packs that are being sent, the payloads of the next one, and what is being compressed."""


class StalledStore(MemoryObjectStore):
    """Takes packs, and answers when it is told to."""

    def __init__(self) -> None:
        super().__init__(SystemClock())
        self.go_on = threading.Event()
        self.waiting = threading.Semaphore(0)

    def put(self, key: str, data: Buffer, *, if_absent: bool = False) -> None:
        if "/packs/" in key:
            self.waiting.release()
            assert self.go_on.wait(60)
        super().put(key, data, if_absent=if_absent)


def test_incompressible_chunks_do_not_keep_their_windows_while_the_store_is_slow(make_manifold: MakeManifold) -> None:
    """One new chunk in each window, as in a disk image: what waits is the chunks, not the windows."""
    store = StalledStore()
    manifold = make_manifold(store=store)
    project = new_project(manifold)
    base = manifold.history.snapshot(LOCAL_PRINCIPAL, project)
    rng = random.Random(5)
    added = 0

    def add(writer: PackWriter) -> None:
        nonlocal added
        for _ in range(6 * PACK_TARGET_BYTES // CHUNK_BYTES):
            window = bytearray(WINDOW_BYTES)
            window[:CHUNK_BYTES] = rng.randbytes(CHUNK_BYTES)
            writer.add(memoryview(window)[:CHUNK_BYTES])
            added += 1

    def wait_until_full() -> None:
        before = -1
        while before != added:
            before = added
            time.sleep(0.2)

    with manifold.context.pack_writer(base) as writer:
        tracemalloc.start()
        adding = threading.Thread(target=add, args=(writer,))
        try:
            adding.start()
            for _ in range(UPLOADS):
                assert store.waiting.acquire(timeout=60)
            wait_until_full()
            deadline = time.monotonic() + 10
            while tracemalloc.get_traced_memory()[0] >= LIMIT_BYTES and time.monotonic() < deadline:
                time.sleep(0.05)  # what was added last is still being compressed
            held = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
            store.go_on.set()
            adding.join()
        writer.finish()
    assert added == 6 * PACK_TARGET_BYTES // CHUNK_BYTES
    assert held < LIMIT_BYTES
