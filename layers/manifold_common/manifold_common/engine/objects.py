"""Sealed objects, read through the encrypted cache.

A read is given the function that opens the bytes. When a cached copy does not open, it is dropped and the object is
fetched from the store; only what the store itself answers can be called corrupt.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from manifold_common.engine.object_cache import ObjectCache
from manifold_common.errors import CorruptObject, ObjectNotFound
from manifold_common.format.layout import TENANTS
from manifold_common.ids import TenantId
from manifold_common.ports.object_store import Buffer, ObjectAccess

T = TypeVar("T")
MISSING = "it is missing from the object store"
"""The reason of a ``CorruptObject``."""


class SealedObjects:
    def __init__(self, store: ObjectAccess, cache: ObjectCache) -> None:
        self._store = store
        self._cache = cache
        self.make_room = cache.make_room
        self.leaving_room = cache.leaving_room

    def read(self, key: str, use: Callable[[Buffer], T], *, max_bytes: int, keep: bool = True) -> T:
        """Return ``use(the whole object)``.

        Args:
            keep: a copy. Not of what is in the clear and belongs to a project that is encrypted.

        Raises:
            CorruptObject: missing from the store, over ``max_bytes``, or ``use`` says so.
        """
        cached = self._cache.get(key, max_bytes=max_bytes)
        if cached is not None:
            try:
                return use(cached)
            except CorruptObject:
                self._cache.drop(key)
        try:
            data = self._store.get(key, max_bytes=max_bytes)
        except ObjectNotFound:
            raise _missing(key) from None
        result = use(data)
        if keep:
            self._cache.put(key, data)
        return result

    def prefetch(self, key: str, *, max_bytes: int) -> bool:
        """Keep a copy of an object for whoever reads it later, who opens it. Returns whether one had to be fetched."""
        if self._cache.has(key):
            return False
        try:
            self._cache.put(key, self._store.get(key, max_bytes=max_bytes))
        except ObjectNotFound:
            return False
        return True

    def cached_bytes(self, folder: str) -> int:
        """Return how much room this machine's copies of what is below ``folder`` take."""
        return self._cache.size_of(folder)

    def cached(self, key: str, *, max_bytes: int) -> Buffer | None:
        """Return what the cache has of an object: perhaps damaged, perhaps cut off, perhaps with holes; or ``None``."""
        return self._cache.get(key, max_bytes=max_bytes)

    def cached_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[Buffer] | None:
        """Return what the cache has for each ``(start, length)``: perhaps damaged, perhaps holes; or ``None``."""
        return self._cache.get_ranges(key, ranges)

    def fetch_ranges(self, key: str, ranges: Sequence[tuple[int, int]], *, keep: bool = True) -> list[Buffer]:
        """Return each range from the store, and ``keep`` a copy. Raises CorruptObject when the object is missing."""
        try:
            data = self._store.get_ranges(key, ranges)
        except ObjectNotFound:
            raise _missing(key) from None
        if keep:
            self._cache.put_ranges(key, ranges, data)
        return data

    def write(self, key: str, data: Buffer) -> None:
        """Store an object, and keep a copy, since its writer often reads it next."""
        self._store.put(key, data)
        self._cache.put(key, data)

    def discard(self, keys: Sequence[str]) -> None:
        """Remove objects that nothing refers to, and that no dump of the catalog can refer to."""
        self._store.delete(keys)
        for key in keys:
            self._cache.drop(key)

    def forget_other_tenants(self, tenant: TenantId) -> None:
        """Drop the copies of other tenants' objects."""
        self._cache.keep_only(TENANTS, tenant)


def _missing(key: str) -> CorruptObject:
    return CorruptObject(key, MISSING)
