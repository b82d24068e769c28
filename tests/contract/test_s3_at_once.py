"""No more requests are under way at an S3 server at the same time than ``s3.maxConnections`` says."""

from __future__ import annotations

import dataclasses
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from manifold_common.adapters.s3 import object_store
from manifold_common.adapters.s3.object_store import S3ObjectStore
from manifold_common.adapters.s3.options import S3Options
from manifold_common.adapters.system.clock import SystemClock, SystemRandomness
from manifold_common.domain.patience import hurried
from manifold_common.errors import StoreUnavailable
from manifold_local.embedded.stack.seaweedfs import S3Endpoint

from tests.support.s3_proxy import Fault, S3Proxy, running_proxy
from tests.support.waiting import wait_until

LIMIT, THREADS = 3, 12
KEYS = [f"one/{number}" for number in range(THREADS)]
APART = 2 << 20
"""Ranges so far from each other are not read as one."""
SLOW = Fault("late_ack", seconds=0.05)


@pytest.fixture
def proxy(s3_endpoint: S3Endpoint) -> Iterator[S3Proxy]:
    with running_proxy(s3_endpoint.url) as proxy:
        yield proxy


@pytest.fixture
def options(s3_endpoint: S3Endpoint, proxy: S3Proxy, monkeypatch: pytest.MonkeyPatch) -> S3Options:
    monkeypatch.setattr(object_store, "SINGLE_PUT_BYTES", 5 << 20)
    monkeypatch.setattr(object_store, "PART_BYTES", 5 << 20)
    return S3Options(
        s3_endpoint.bucket,
        prefix=f"at-once/{uuid.uuid4().hex}",
        endpoint=proxy.url,
        access_key_id=s3_endpoint.access_key_id,
        secret_access_key=s3_endpoint.secret_access_key,
        bulk_delete=False,
        max_connections=LIMIT,
    )


def open_store(options: S3Options) -> S3ObjectStore:
    return S3ObjectStore(options, clock=SystemClock(), randomness=SystemRandomness())


def by_many(work: Callable[[str], object]) -> None:
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(work, KEYS))


BY_MANY: dict[str, Callable[[S3ObjectStore], object]] = {
    "put": lambda store: by_many(lambda key: store.put(key, b"data")),
    "get": lambda store: by_many(lambda key: store.get(key, max_bytes=10)),
    "head": lambda store: by_many(store.head),
    "list": lambda store: by_many(lambda key: list(store.list("one"))),
    "mixed": lambda store: by_many(lambda key: (store.get_ranges(key, [(0, 1), (2, 1)]), store.put(key, b"data"))),
}
BY_ONE: dict[str, tuple[Callable[[S3ObjectStore], object], int]] = {
    "put": (lambda store: store.put("large", bytes(30 << 20)), 4),
    "get_ranges": (lambda store: store.get_ranges("large", [(number * APART, 1) for number in range(15)]), 10),
    "delete": (lambda store: store.delete(KEYS), 10),
}
"""What is several requests by itself, and how many of those at once where there is no bound."""


@pytest.fixture
def filled(options: S3Options, proxy: S3Proxy) -> S3Options:
    store = open_store(dataclasses.replace(options, max_connections=128))
    by_many(lambda key: store.put(key, b"data"))
    store.put("large", bytes(30 << 20))
    proxy.most_at_once = 0
    proxy.inject(SLOW, times=200)
    return options


@pytest.mark.parametrize("name", BY_MANY)
def test_many_threads_make_no_more_requests_than_that(filled: S3Options, proxy: S3Proxy, name: str) -> None:
    BY_MANY[name](open_store(filled))
    assert proxy.most_at_once == LIMIT


@pytest.mark.alone("counts how many requests there are at one moment")
@pytest.mark.parametrize("name", BY_ONE)
def test_an_operation_of_several_requests_makes_no_more_than_that(filled: S3Options, proxy: S3Proxy, name: str) -> None:
    operation, unbounded = BY_ONE[name]
    operation(open_store(filled))
    assert proxy.most_at_once == LIMIT
    proxy.most_at_once = 0
    operation(open_store(dataclasses.replace(filled, max_connections=128)))
    assert proxy.most_at_once == unbounded, "then it must count as so many"


def test_who_needs_many_is_not_overtaken_for_ever(filled: S3Options, proxy: S3Proxy) -> None:
    store = open_store(filled)
    proxy.inject(SLOW, times=2000)
    ended = threading.Event()

    def go_on(key: str) -> None:
        while not ended.is_set():
            store.head(key)

    with ThreadPoolExecutor(THREADS) as pool:
        others = [pool.submit(go_on, key) for key in KEYS[:6]]
        try:
            store.get_ranges("large", [(number * APART, 1) for number in range(LIMIT)])
        finally:
            ended.set()
        for one in others:
            one.result()


@pytest.mark.alone("measures time-outs")
def test_who_waits_for_a_turn_in_vain_is_told_what_to_do_and_health_waits_for_none(
    filled: S3Options, proxy: S3Proxy
) -> None:
    store = open_store(dataclasses.replace(filled, max_connections=1))
    proxy.clear()
    proxy.inject(Fault("late_ack", seconds=3.0))
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(store.head, KEYS[0])
        wait_until(lambda: proxy.under_way == 1)
        begun = time.monotonic()
        with hurried(0.2), pytest.raises(StoreUnavailable) as caught:
            store.head(KEYS[1])
        assert time.monotonic() - begun < 2.0
        assert "as may be (1)" in caught.value.message and "S3_MAX_CONNECTIONS" in str(caught.value.hint)
        assert store.health().ok and not first.done()
        assert first.result() is not None
    assert store.head(KEYS[1]) is not None
