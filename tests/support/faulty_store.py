"""An object store that fails where a test wants it to, the same way each time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeVar

from manifold_common.errors import CorruptObject, StoreUnavailable
from manifold_common.ports.catalog import Catalog
from manifold_common.ports.clock import Clock
from manifold_common.ports.object_store import Buffer, ObjectInfo, ObjectStore, StoreHealth

T = TypeVar("T")

Kind = Literal["fail", "lost_acknowledgement", "crash", "crash_after", "corrupt", "truncate", "delay"]


class Crash(BaseException):
    """The process dies here. Not an Exception, so that nothing but a test can survive it."""


class Operation(NamedTuple):
    number: int
    """From 1, over all methods."""
    method: str
    key: str


@dataclass(frozen=True)
class Fault:
    """What happens to the ``at``-th operation that matches, counted from 1 since the fault was planned, and to the
    ``times - 1`` matching ones after it.

    ``fail``: StoreUnavailable, nothing done. ``lost_acknowledgement``: done, then StoreUnavailable (a listing breaks
    off half-way). ``crash``, ``crash_after``: the same with ``Crash``, after which the store stays dead until
    ``revive``. ``corrupt``: a bit of the bytes read is flipped. ``truncate``: the object is read as if it had lost its
    second half. ``delay``: ``seconds`` pass on the store's clock first.
    """

    kind: Kind
    at: int = 1
    times: int = 1
    method: str | None = None
    """Only operations of this method of the port."""
    key_part: str = ""
    """Only operations whose key contains this."""
    seconds: float = 0.0


@dataclass
class _Plan:
    fault: Fault
    matched: int = 0


class FaultyStore:
    """Passes operations on to ``inner`` unless a planned fault says otherwise. Thread-safe.

    To die at each step in turn: plan ``Fault("crash", at=n)`` for n = 1, 2, ... until the work is done without one.

    Attributes:
        operations: everything asked for so far, in order, faulty or not.
    """

    def __init__(self, inner: ObjectStore, *, clock: Clock | None = None) -> None:
        self.inner = inner
        self._clock = clock
        self._lock = threading.Lock()
        self._plans: list[_Plan] = []
        self._dead = False
        self.operations: list[Operation] = []

    def plan(self, *faults: Fault) -> None:
        """Add faults. Of several that match one operation the first planned happens."""
        with self._lock:
            self._plans += map(_Plan, faults)

    def revive(self) -> None:
        """Start again after a crash, without any planned fault."""
        with self._lock:
            self._dead = False
            self._plans.clear()

    def put(self, key: str, data: Buffer, *, if_absent: bool = False) -> None:
        self._do("put", key, lambda: self.inner.put(key, data, if_absent=if_absent))

    def get(self, key: str, *, max_bytes: int) -> Buffer:
        fault, data = self._do("get", key, lambda: self.inner.get(key, max_bytes=max_bytes))
        if fault and fault.kind == "truncate":
            return memoryview(data)[: len(data) // 2]
        return _flipped(data) if fault and fault.kind == "corrupt" else data

    def get_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[Buffer]:
        fault, parts = self._do("get_ranges", key, lambda: self.inner.get_ranges(key, ranges))
        if fault and fault.kind == "truncate":
            info = self.inner.head(key)
            if info and any(start + length > info.size // 2 for start, length in ranges):
                raise CorruptObject(key, f"it ends at byte {info.size // 2}")
        if fault and fault.kind == "corrupt" and parts:
            parts[-1] = _flipped(parts[-1])
        return parts

    def head(self, key: str) -> ObjectInfo | None:
        return self._do("head", key, lambda: self.inner.head(key))[1]

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        fault = self._begin("list", prefix)
        found = list(self.inner.list(prefix))
        if fault and fault.kind in ("lost_acknowledgement", "crash_after"):
            yield from found[: len(found) // 2]
            self._end(fault, "list", prefix)
        yield from found

    def delete(self, keys: Sequence[str]) -> None:
        self._do("delete", keys[0] if keys else "", lambda: self.inner.delete(keys))

    def health(self) -> StoreHealth:
        return self.inner.health()

    def _do(self, method: str, key: str, effect: Callable[[], T]) -> tuple[Fault | None, T]:
        fault = self._begin(method, key)
        result = effect()
        self._end(fault, method, key)
        return fault, result

    def _begin(self, method: str, key: str) -> Fault | None:
        with self._lock:
            if self._dead:
                raise Crash("this process has died")
            self.operations.append(Operation(len(self.operations) + 1, method, key))
            fault = self._due(method, key)
            self._dead = fault is not None and fault.kind == "crash"
        if fault is None:
            return None
        if fault.kind == "crash":
            raise Crash(f"before {method} {key}")
        if fault.kind == "fail":
            raise StoreUnavailable(f"{method} {key} failed, as planned")
        if fault.kind == "delay" and self._clock:
            self._clock.sleep(fault.seconds)
        return fault

    def _due(self, method: str, key: str) -> Fault | None:
        due: Fault | None = None
        for plan in self._plans:
            fault = plan.fault
            if fault.method in (None, method) and fault.key_part in key:
                plan.matched += 1
                if due is None and fault.at <= plan.matched < fault.at + fault.times:
                    due = fault
        return due

    def _end(self, fault: Fault | None, method: str, key: str) -> None:
        if fault and fault.kind == "crash_after":
            with self._lock:
                self._dead = True
            raise Crash(f"after {method} {key}")
        if fault and fault.kind == "lost_acknowledgement":
            raise StoreUnavailable(f"the answer to {method} {key} was lost, as planned")


class CutOff:
    """A catalog that dies before or after a call, as does the store beside it: one count for both."""

    def __init__(self, inner: Catalog, store: FaultyStore) -> None:
        self._inner = inner
        self._store = store

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            self._store.head(f"catalog/{name}")
            result = found(*args, **kwargs)
            self._store.head(f"catalog/{name}/done")
            return result

        return call if callable(found) else found


def _flipped(data: Buffer) -> Buffer:
    changed = bytearray(data)
    if changed:
        changed[len(changed) // 2] ^= 0x01
    return changed
