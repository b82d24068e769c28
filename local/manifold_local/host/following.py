"""Hearing what other nodes commit, in a thread of its own, for as long as the host serves."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from manifold_common.services.events.prefetch import Prefetcher

_log = logging.getLogger(__name__)


@contextmanager
def following(prefetcher: Prefetcher | None, *, patience_seconds: float) -> Iterator[None]:
    """Let the prefetcher run meanwhile. At the end, wait at most ``patience_seconds`` for what it is fetching."""
    if prefetcher is None:
        yield
        return
    stop = threading.Event()
    thread = threading.Thread(target=prefetcher.run, args=(stop,), name="manifold-prefetcher", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(patience_seconds)
        if thread.is_alive():
            _log.warning("what other nodes committed was still being fetched")
