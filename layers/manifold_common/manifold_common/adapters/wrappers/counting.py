"""Counts what passes through an object store: requests and bytes, by method."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence

from manifold_common.ports.object_store import Buffer, ObjectInfo, ObjectStore, StoreHealth


class CountingStore:
    """Passes every call on. A call counts when it is made, its bytes when they have arrived. Thread-safe.

    One call may be several requests to an S3 server (ranges far apart, pages of a listing); what is counted here is
    calls of the port.

    Attributes:
        requests: calls by method name.
        bytes_in: bytes read from the store, by method name.
        bytes_out: bytes handed to the store, by method name.
    """

    def __init__(self, inner: ObjectStore) -> None:
        self._inner = inner
        self._lock = threading.Lock()
        self.requests: Counter[str] = Counter()
        self.bytes_in: Counter[str] = Counter()
        self.bytes_out: Counter[str] = Counter()

    @property
    def total_requests(self) -> int:
        """Calls of every method together, ``health`` excepted."""
        with self._lock:
            return self.requests.total()

    def reset(self) -> None:
        """Start again from nought."""
        with self._lock:
            self.requests.clear()
            self.bytes_in.clear()
            self.bytes_out.clear()

    def put(self, key: str, data: Buffer, *, if_absent: bool = False) -> None:
        self._count(self.requests, "put", 1)
        self._inner.put(key, data, if_absent=if_absent)
        self._count(self.bytes_out, "put", _size(data))

    def get(self, key: str, *, max_bytes: int) -> Buffer:
        self._count(self.requests, "get", 1)
        data = self._inner.get(key, max_bytes=max_bytes)
        self._count(self.bytes_in, "get", _size(data))
        return data

    def get_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[Buffer]:
        self._count(self.requests, "get_ranges", 1)
        parts = self._inner.get_ranges(key, ranges)
        self._count(self.bytes_in, "get_ranges", sum(map(_size, parts)))
        return parts

    def head(self, key: str) -> ObjectInfo | None:
        self._count(self.requests, "head", 1)
        return self._inner.head(key)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        self._count(self.requests, "list", 1)
        return self._inner.list(prefix)

    def delete(self, keys: Sequence[str]) -> None:
        self._count(self.requests, "delete", 1)
        self._inner.delete(keys)

    def health(self) -> StoreHealth:
        return self._inner.health()

    def _count(self, counter: Counter[str], method: str, amount: int) -> None:
        with self._lock:
            counter[method] += amount


def _size(data: Buffer) -> int:
    return memoryview(data).nbytes
