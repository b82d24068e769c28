"""What the port of the object store promises, held against every adapter."""

from __future__ import annotations

import random
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from manifold_common.adapters.memory.object_store import MemoryObjectStore
from manifold_common.adapters.system.clock import SystemClock, SystemRandomness
from manifold_common.bootstrap import build_store
from manifold_common.errors import AlreadyExists, CorruptObject, InvalidInput, ObjectNotFound
from manifold_common.ports.object_store import ObjectStore
from manifold_common.settings import load_settings
from manifold_common.settings.stores import STORES
from manifold_local.embedded.stack.seaweedfs import S3Endpoint

KEY = "t/acme/p/aaaa/packs/one"
BIG = 1 << 40

BAD_KEYS = [
    "",
    "/",
    "/etc/passwd",
    "a//b",
    "a/",
    "a/b/",
    ".",
    "..",
    "../a",
    "a/../b",
    "a/./b",
    "a/..",
    "a\0b",
    "a\nb",
    "a\n",
    "a b",
    "a\\b",
    "~put-1",
    "a/~manifold-store",
    "ключ",
    "é",
    "a%2e",
    "a?b",
    "a#b",
    "s" * 251,
    "/".join(["abcdefghi"] * 81),
]


@pytest.fixture
def s3_settings(s3_endpoint: S3Endpoint) -> dict[str, str]:
    return {
        "S3_BUCKET": s3_endpoint.bucket,
        "S3_PREFIX": f"contract/{uuid.uuid4().hex}",
        "S3_ENDPOINT": s3_endpoint.url,
        "S3_ACCESS_KEY_ID": s3_endpoint.access_key_id,
        "S3_SECRET_ACCESS_KEY": s3_endpoint.secret_access_key,
        "S3_USE_PATH_STYLE": "true",
    }


@pytest.fixture(params=["memory", *STORES])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    """An empty store of each kind. One that needs settings besides WORKDIR has a fixture ``<name>_settings`` for them,
    by variable."""
    if request.param == "memory":
        return MemoryObjectStore(SystemClock())
    try:
        given: dict[str, str] = request.getfixturevalue(f"{request.param}_settings")
    except pytest.FixtureLookupError:
        given = {}
    environ = {"WORKDIR": str(tmp_path), "PROJECTS_BACKEND": request.param, **given}
    return build_store(load_settings(environ=environ, cwd=tmp_path), SystemClock(), SystemRandomness())


def pattern(size: int) -> bytes:
    """The same bytes for the same size, without a period, so that a shifted read shows."""
    return random.Random(size).randbytes(size)


# --- put and get ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 1023, 256 * 1024 + 1, 40 * 2**20])
def test_what_was_put_is_what_is_got(store: ObjectStore, size: int) -> None:
    data = pattern(size)
    store.put(KEY, data)
    assert bytes(store.get(KEY, max_bytes=size)) == data


def test_an_object_larger_than_a_single_request_arrives_whole(store: ObjectStore) -> None:
    data = pattern(65 * 2**20)
    store.put(KEY, data)
    assert store.get(KEY, max_bytes=len(data)) == data


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_buffer_can_be_put(store: ObjectStore, kind: type) -> None:
    store.put(KEY, kind(b"some bytes"))
    assert bytes(store.get(KEY, max_bytes=10)) == b"some bytes"


def test_a_slice_of_a_buffer_can_be_put_without_the_rest(store: ObjectStore) -> None:
    store.put(KEY, memoryview(pattern(4096))[100:200])
    assert bytes(store.get(KEY, max_bytes=100)) == pattern(4096)[100:200]


def test_a_buffer_reused_after_put_does_not_change_the_object(store: ObjectStore) -> None:
    buffer = bytearray(b"first")
    store.put(KEY, buffer)
    buffer[:] = b"other"
    assert bytes(store.get(KEY, max_bytes=5)) == b"first"


def test_what_is_got_is_a_buffer_of_single_bytes(store: ObjectStore) -> None:
    store.put(KEY, b"abc")
    for data in (store.get(KEY, max_bytes=3), *store.get_ranges(KEY, [(0, 3)])):
        view = memoryview(data)
        assert (view.format, view.ndim, view.contiguous) == ("B", 1, True)
        assert data[0] == ord("a")


def test_a_put_replaces_the_whole_object(store: ObjectStore) -> None:
    store.put(KEY, pattern(1000))
    store.put(KEY, b"short")
    assert bytes(store.get(KEY, max_bytes=1000)) == b"short"


def test_a_missing_object_is_not_found(store: ObjectStore) -> None:
    store.put(KEY, b"a neighbour")
    for key in ("absent", KEY + "x", KEY + "/below", "t/acme/p/aaaa/packs", "t"):
        with pytest.raises(ObjectNotFound):
            store.get(key, max_bytes=BIG)
        with pytest.raises(ObjectNotFound):
            store.get_ranges(key, [(0, 1)])
        assert store.head(key) is None


def test_an_object_above_the_limit_is_refused_by_its_name(store: ObjectStore) -> None:
    store.put(KEY, b"x" * 101)
    with pytest.raises(CorruptObject, match="101 bytes") as caught:
        store.get(KEY, max_bytes=100)
    assert caught.value.object_name == KEY
    assert len(store.get(KEY, max_bytes=101)) == 101


def test_a_reader_sees_the_old_bytes_or_the_new_ones(store: ObjectStore) -> None:
    versions = [bytes([letter]) * (300_000 + letter) for letter in (65, 66)]
    store.put(KEY, versions[0])
    written = threading.Event()
    right: list[bool] = []

    def read() -> None:
        while not written.is_set():
            right.append(bytes(store.get(KEY, max_bytes=BIG)) in versions)

    with ThreadPoolExecutor(3) as pool:
        readers = [pool.submit(read) for _ in range(3)]
        try:
            turn = 0
            while (turn < 20 or len(right) < 100) and not any(reader.done() for reader in readers):
                turn += 1
                store.put(KEY, versions[turn % 2])
        finally:
            written.set()
        for reader in readers:
            reader.result()
    assert all(right)


# --- conditional put --------------------------------------------------------------------------------------------------


def test_a_conditional_put_never_replaces(store: ObjectStore) -> None:
    store.put(KEY, b"first", if_absent=True)
    with pytest.raises(AlreadyExists):
        store.put(KEY, b"second", if_absent=True)
    assert bytes(store.get(KEY, max_bytes=10)) == b"first"


def test_a_conditional_put_succeeds_after_a_delete(store: ObjectStore) -> None:
    store.put(KEY, b"first", if_absent=True)
    store.delete([KEY])
    store.put(KEY, b"second", if_absent=True)
    assert bytes(store.get(KEY, max_bytes=10)) == b"second"


def test_of_sixteen_conditional_puts_at_once_exactly_one_wins(store: ObjectStore) -> None:
    for turn in range(3):
        key = f"race/{turn}"
        start = threading.Barrier(16)

        def contend(number: int, key: str = key, start: threading.Barrier = start) -> int | None:
            start.wait()
            try:
                store.put(key, bytes([number]) * 5000, if_absent=True)
            except AlreadyExists:
                return None
            return number

        with ThreadPoolExecutor(16) as pool:
            winners = [number for number in pool.map(contend, range(16)) if number is not None]
        assert len(winners) == 1
        assert bytes(store.get(key, max_bytes=5000)) == bytes(winners) * 5000


# --- ranges -----------------------------------------------------------------------------------------------------------


def test_ranges_come_in_the_order_asked_for(store: ObjectStore) -> None:
    data = pattern(5 * 2**20)
    store.put(KEY, data)
    ranges = [(4_000_000, 10), (0, 1), (5, 100_000), (50, 7), (5 * 2**20 - 1, 1), (0, 1), (2_500_000, 1_000_000)]
    found = store.get_ranges(KEY, ranges)
    assert [bytes(part) for part in found] == [data[start : start + length] for start, length in ranges]


def test_no_ranges_need_no_request(store: ObjectStore) -> None:
    assert store.get_ranges("not/there", []) == []


@pytest.mark.parametrize("ranges", [[(0, 11)], [(10, 1)], [(9, 2)], [(1000, 5)], [(0, 5), (100, 5)], [(0, 10), (9, 9)]])
def test_a_range_beyond_the_end_is_a_damaged_object(store: ObjectStore, ranges: list[tuple[int, int]]) -> None:
    store.put(KEY, b"0123456789")
    with pytest.raises(CorruptObject) as caught:
        store.get_ranges(KEY, ranges)
    assert caught.value.object_name == KEY


def test_a_range_of_an_empty_object_is_a_damaged_object(store: ObjectStore) -> None:
    store.put(KEY, b"")
    with pytest.raises(CorruptObject):
        store.get_ranges(KEY, [(0, 1)])


@pytest.mark.parametrize("ranges", [[(-1, 5)], [(0, 0)], [(0, 1), (5, -1)]])
def test_a_senseless_range_is_refused(store: ObjectStore, ranges: list[tuple[int, int]]) -> None:
    store.put(KEY, b"0123456789")
    with pytest.raises(InvalidInput):
        store.get_ranges(KEY, ranges)


# --- head, list, delete -----------------------------------------------------------------------------------------------


def test_head_tells_size_and_time(store: ObjectStore) -> None:
    before = datetime.now(UTC)
    store.put(KEY, b"12345")
    info = store.head(KEY)
    assert info is not None
    assert (info.key, info.size) == (KEY, 5)
    assert info.modified.utcoffset() == timedelta(0)
    assert abs(info.modified - before) < timedelta(minutes=1)


def test_an_object_is_an_object_in_head_and_list_alike(store: ObjectStore) -> None:
    store.put(KEY, b"12345")
    assert list(store.list("t/acme")) == [store.head(KEY)]


def test_list_keeps_to_whole_folder_names(store: ObjectStore) -> None:
    for key in ("a/one", "a/two/three", "ab/four", "a.b/five"):
        store.put(key, key.encode())
    assert sorted(info.key for info in store.list("a")) == ["a/one", "a/two/three"]
    assert sorted(info.key for info in store.list("a/")) == ["a/one", "a/two/three"]
    assert sorted(info.key for info in store.list("")) == ["a.b/five", "a/one", "a/two/three", "ab/four"]
    assert list(store.list("nothing/here")) == []
    assert list(store.list("a/one")) == []
    assert {info.size for info in store.list("ab")} == {7}


def test_list_goes_beyond_a_thousand_objects(store: ObjectStore) -> None:
    keys = {f"many/{number % 7}/{number:04}" for number in range(2500)}
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: store.put(key, b"x"), keys))
    found = [info.key for info in store.list("many")]
    assert len(found) == 2500
    assert set(found) == keys
    store.delete(found)
    assert list(store.list("many")) == []


def test_an_object_put_while_listing_does_no_harm(store: ObjectStore) -> None:
    for number in range(20):
        store.put(f"l/{number}", b"")
    found = set()
    for info in store.list("l"):
        found.add(info.key)
        store.put(f"l/later-{len(found)}", b"")
        store.delete([f"l/{number}" for number in range(10, 20)])
    assert found >= {f"l/{number}" for number in range(10)}


def test_deleting_what_is_absent_is_no_error(store: ObjectStore) -> None:
    store.put("d/there", b"1")
    store.put("d/stays", b"2")
    store.delete(["d/there", "d/absent", "no/such/folder"])
    store.delete(["d/there"])
    store.delete([])
    assert [info.key for info in store.list("")] == ["d/stays"]


# --- keys -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", BAD_KEYS, ids=ascii)
def test_a_bad_key_is_refused_everywhere_and_changes_nothing(store: ObjectStore, key: str) -> None:
    store.put("good", b"1")
    with pytest.raises(InvalidInput):
        store.put(key, b"x")
    with pytest.raises(InvalidInput):
        store.put(key, b"x", if_absent=True)
    with pytest.raises(InvalidInput):
        store.get(key, max_bytes=BIG)
    with pytest.raises(InvalidInput):
        store.get_ranges(key, [(0, 1)])
    with pytest.raises(InvalidInput):
        store.get_ranges(key, [])
    with pytest.raises(InvalidInput):
        store.head(key)
    with pytest.raises(InvalidInput):
        store.delete(["good", key])
    if key not in ("", "a/", "a/b/"):
        with pytest.raises(InvalidInput):
            store.list(key)
    assert [info.key for info in store.list("")] == ["good"]


@pytest.mark.parametrize("key", ["a", "A.b_c@d=e+f-g", "...", "a/.hidden", "s" * 250, "/".join(["abcdefgh"] * 80)])
def test_a_good_key_is_kept_as_it_is(store: ObjectStore, key: str) -> None:
    store.put(key, b"x")
    assert bytes(store.get(key, max_bytes=1)) == b"x"
    assert [info.key for info in store.list("")] == [key]
    store.delete([key])
    assert store.head(key) is None


def test_keys_differ_by_case(store: ObjectStore) -> None:
    store.put("case/Key", b"upper")
    store.put("case/key", b"lower")
    assert bytes(store.get("case/Key", max_bytes=5)) == b"upper"


# --- health -----------------------------------------------------------------------------------------------------------


def test_a_working_store_is_healthy(store: ObjectStore) -> None:
    health = store.health()
    assert health.ok, health.detail
    assert health.latency_seconds >= 0
    assert list(store.list("")) == [], "a health check leaves nothing behind"
