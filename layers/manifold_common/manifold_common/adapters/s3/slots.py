"""How many requests a process has under way at the server at the same time. Safe for threads."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from manifold_common.errors import StoreUnavailable


class Slots:
    """One for each request. Whoever asks first is served first: one who needs many is not overtaken for ever."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._free = limit
        self._waiting: deque[object] = deque()
        self._changed = threading.Condition()

    @contextmanager
    def taken(self, count: int, wait_seconds: float) -> Iterator[None]:
        """Hold ``count`` slots, at most as many as there are, while this lasts.

        Raises:
            StoreUnavailable: they were not free in time.
        """
        turn = object()

        def is_served() -> bool:
            return self._waiting[0] is turn and self._free >= count

        with self._changed:
            self._waiting.append(turn)
            try:
                if not self._changed.wait_for(is_served, wait_seconds):
                    raise StoreUnavailable(
                        f"as many requests to the S3 server are under way as may be ({self.limit}), and none ended "
                        f"within {wait_seconds:.1f} s",
                        hint="the server is slow; or raise projects.s3.maxConnections (S3_MAX_CONNECTIONS)",
                    )
                self._free -= count
            finally:
                self._waiting.remove(turn)
                self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._free += count
                self._changed.notify_all()
