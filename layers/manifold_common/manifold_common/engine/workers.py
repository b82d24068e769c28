"""The threads that bulk work runs on, shared by everything in a process.

Compression and sealing use as many threads as there are cores: their native code runs without the GIL. Requests use
more: they mostly wait.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from manifold_common.domain.patience import bound

P = ParamSpec("P")
T = TypeVar("T")

REQUEST_THREADS = 8


def usable_cores() -> int:
    """Return how many cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


class _Pool(ThreadPoolExecutor):
    """Its threads wait no longer than the request that gave them the work."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        return super().submit(bound(fn), *args, **kwargs)


class Workers:
    """Two pools; their threads start when first needed."""

    def __init__(self) -> None:
        self.cores = usable_cores()
        self.compute = _Pool(self.cores, thread_name_prefix="manifold-compute")
        self.requests = _Pool(REQUEST_THREADS, thread_name_prefix="manifold-request")

    def close(self) -> None:
        """Wait for running work; what has not begun is dropped."""
        self.compute.shutdown(cancel_futures=True)
        self.requests.shutdown(cancel_futures=True)
