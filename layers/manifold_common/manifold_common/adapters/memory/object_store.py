"""An object store in a dict, with the promises of the real ones except that it ends with the process."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime

from manifold_common.domain.object_key import check_folder, check_object_key
from manifold_common.domain.wording import plural
from manifold_common.errors import AlreadyExists, CorruptObject, ObjectNotFound
from manifold_common.ports.clock import Clock
from manifold_common.ports.object_store import Buffer, ObjectInfo, StoreHealth, check_ranges


class MemoryObjectStore:
    """Thread-safe.

    Attributes:
        requests: calls so far by method name (``put``, ``get``, ``get_ranges``, ``head``, ``list``, ``delete``).
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._objects: dict[str, tuple[bytes, datetime]] = {}
        self.requests: Counter[str] = Counter()

    def put(self, key: str, data: Buffer, *, if_absent: bool = False) -> None:
        check_object_key(key)
        copy = bytes(data)
        with self._lock:
            self.requests["put"] += 1
            if if_absent and key in self._objects:
                raise AlreadyExists(f"object {key} exists already")
            self._objects[key] = (copy, self._clock.now())

    def get(self, key: str, *, max_bytes: int) -> Buffer:
        data = self._read(key, "get")
        if len(data) > max_bytes:
            raise CorruptObject(key, f"it has {plural(len(data), 'byte')}, more than the {max_bytes} it may have")
        return data

    def get_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[Buffer]:
        check_object_key(key)
        check_ranges(ranges)
        if not ranges:
            return []
        data = memoryview(self._read(key, "get_ranges"))
        for start, length in ranges:
            if start + length > len(data):
                raise CorruptObject(key, f"it ends at byte {len(data)}, before the range {start}+{length}")
        return [data[start : start + length] for start, length in ranges]

    def head(self, key: str) -> ObjectInfo | None:
        check_object_key(key)
        with self._lock:
            self.requests["head"] += 1
            found = self._objects.get(key)
        return ObjectInfo(key, len(found[0]), found[1]) if found else None

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        folder = check_folder(prefix)
        start = f"{folder}/" if folder else ""
        with self._lock:
            self.requests["list"] += 1
            found = [ObjectInfo(k, len(v), at) for k, (v, at) in self._objects.items() if k.startswith(start)]
        return iter(found)

    def delete(self, keys: Sequence[str]) -> None:
        for key in keys:
            check_object_key(key)
        with self._lock:
            self.requests["delete"] += 1
            for key in keys:
                self._objects.pop(key, None)

    def health(self) -> StoreHealth:
        return StoreHealth(True, f"{plural(len(self._objects), 'object')} in memory", 0.0)

    def _read(self, key: str, method: str) -> bytes:
        check_object_key(key)
        with self._lock:
            self.requests[method] += 1
            found = self._objects.get(key)
        if found is None:
            raise ObjectNotFound(f"there is no object {key}")
        return found[0]
