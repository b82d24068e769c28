"""The threads that bulk work runs on, shared by everything in a process.

Compression and sealing use as many threads as there are cores: their native code runs without the GIL. Requests use
more: they mostly wait.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

REQUEST_THREADS = 8


def usable_cores() -> int:
    """Return how many cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


class Workers:
    """Two pools; their threads start when first needed."""

    def __init__(self) -> None:
        self.cores = usable_cores()
        self.compute = ThreadPoolExecutor(self.cores, thread_name_prefix="manifold-compute")
        self.requests = ThreadPoolExecutor(REQUEST_THREADS, thread_name_prefix="manifold-request")

    def close(self) -> None:
        """Wait for running work; what has not begun is dropped."""
        self.compute.shutdown(cancel_futures=True)
        self.requests.shutdown(cancel_futures=True)
