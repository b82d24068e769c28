"""The wrappers of object stores that tests and measurements rely on."""

from __future__ import annotations

import pytest
from manifold_common.adapters.memory.clock import ManualClock
from manifold_common.adapters.memory.object_store import MemoryObjectStore
from manifold_common.adapters.wrappers.counting import CountingStore
from manifold_common.errors import CorruptObject, ObjectNotFound, StoreUnavailable

from tests.support.faulty_store import Crash, Fault, FaultyStore


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def inner(clock: ManualClock) -> MemoryObjectStore:
    return MemoryObjectStore(clock)


@pytest.fixture
def faulty(inner: MemoryObjectStore, clock: ManualClock) -> FaultyStore:
    return FaultyStore(inner, clock=clock)


def test_counting_tells_calls_and_bytes_of_each_method(inner: MemoryObjectStore) -> None:
    store = CountingStore(inner)
    store.put("a", memoryview(b"12345"))
    store.put("b", b"1")
    store.get("a", max_bytes=9)
    store.get_ranges("a", [(0, 2), (1, 3)])
    store.head("a")
    list(store.list(""))
    store.delete(["a", "b"])
    store.health()
    assert store.requests == {"put": 2, "get": 1, "get_ranges": 1, "head": 1, "list": 1, "delete": 1}
    assert store.total_requests == 7
    assert store.bytes_out == {"put": 6}
    assert store.bytes_in == {"get": 5, "get_ranges": 5}
    store.reset()
    assert store.total_requests == 0


def test_a_call_that_fails_counts_as_a_request_without_bytes(inner: MemoryObjectStore) -> None:
    store = CountingStore(inner)
    with pytest.raises(ObjectNotFound):
        store.get("absent", max_bytes=1)
    assert store.requests == {"get": 1}
    assert not store.bytes_in


def test_a_planned_failure_has_no_effect(faulty: FaultyStore, inner: MemoryObjectStore) -> None:
    faulty.plan(Fault("fail", at=2, method="put"))
    faulty.put("a", b"1")
    with pytest.raises(StoreUnavailable):
        faulty.put("b", b"2")
    faulty.put("c", b"3")
    assert sorted(info.key for info in inner.list("")) == ["a", "c"]


def test_a_lost_acknowledgement_has_its_effect(faulty: FaultyStore, inner: MemoryObjectStore) -> None:
    faulty.plan(Fault("lost_acknowledgement", key_part="b"))
    faulty.put("a", b"1")
    with pytest.raises(StoreUnavailable):
        faulty.put("b", b"2")
    assert inner.head("b") is not None


@pytest.mark.parametrize(("kind", "done"), [("crash", False), ("crash_after", True)])
def test_after_a_crash_nothing_works_until_revived(
    faulty: FaultyStore, inner: MemoryObjectStore, kind: str, done: bool
) -> None:
    faulty.plan(Fault(kind, at=2))  # type: ignore[arg-type]
    faulty.put("a", b"1")
    with pytest.raises(Crash):
        faulty.put("b", b"2")
    for operation in (
        lambda: faulty.get("a", max_bytes=1),
        lambda: list(faulty.list("")),
        lambda: faulty.put("c", b""),
    ):
        with pytest.raises(Crash):
            operation()
    assert (inner.head("b") is not None) == done
    faulty.revive()
    assert bytes(faulty.get("a", max_bytes=1)) == b"1"


def test_corrupt_flips_one_bit_of_what_is_read_and_nothing_stored(
    faulty: FaultyStore, inner: MemoryObjectStore
) -> None:
    faulty.put("a", bytes(10))
    faulty.plan(Fault("corrupt", times=2))
    for data in (faulty.get("a", max_bytes=10), faulty.get_ranges("a", [(0, 10)])[0]):
        assert sum(byte.bit_count() for byte in bytes(data)) == 1
    assert bytes(faulty.get("a", max_bytes=10)) == bytes(10)


def test_truncate_reads_as_if_half_the_object_were_gone(faulty: FaultyStore) -> None:
    faulty.put("a", b"0123456789")
    faulty.plan(Fault("truncate", times=3))
    assert bytes(faulty.get("a", max_bytes=10)) == b"01234"
    assert bytes(faulty.get_ranges("a", [(0, 5)])[0]) == b"01234"
    with pytest.raises(CorruptObject):
        faulty.get_ranges("a", [(3, 3)])


def test_a_listing_can_break_off_half_way(faulty: FaultyStore) -> None:
    for name in "abcd":
        faulty.put(name, b"")
    faulty.plan(Fault("lost_acknowledgement", method="list"))
    found: list[str] = []
    with pytest.raises(StoreUnavailable):
        found.extend(info.key for info in faulty.list(""))
    assert found == ["a", "b"]
    assert len(list(faulty.list(""))) == 4


def test_delay_passes_time_on_the_clock_that_was_given(faulty: FaultyStore, clock: ManualClock) -> None:
    faulty.plan(Fault("delay", seconds=30.0))
    faulty.put("a", b"1")
    assert clock.monotonic() == 30.0


def test_operations_are_remembered_in_order(faulty: FaultyStore) -> None:
    faulty.put("a", b"1")
    faulty.head("b")
    assert [(number, method, key) for number, method, key in faulty.operations] == [(1, "put", "a"), (2, "head", "b")]
