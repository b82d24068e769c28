"""The S3 store when the network, the server or the settings fail: it goes on, or fails cleanly in bounded time."""

from __future__ import annotations

import dataclasses
import pickle
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Literal

import pytest
from manifold_common.adapters.aws.account import ChainedAccount
from manifold_common.adapters.memory.clock import ManualClock, SeededRandomness
from manifold_common.adapters.s3.object_store import S3ObjectStore
from manifold_common.adapters.s3.options import S3Options
from manifold_common.adapters.system.clock import SystemClock, SystemRandomness
from manifold_common.errors import AlreadyExists, ConfigError, ManifoldError, NoSpace, StoreUnavailable
from manifold_common.ports.object_store import Buffer, ObjectStore
from manifold_common.ports.retry import RetryPolicy
from manifold_local.embedded.stack.seaweedfs import S3Endpoint

from tests.support.s3_proxy import Fault, S3Proxy, running_proxy
from tests.support.seaweedfs import running_seaweedfs

SLACK_SECONDS = 10.0
"""What a busy machine may add. Less than the 30 s that the client gives a request by itself."""
KEY = "p/one"
DATA = bytes(range(256)) * 64
BIG = 1 << 30
QUICK = RetryPolicy(attempts=4, budget_seconds=3.0, base_seconds=0.01, cap_seconds=0.05)

OPERATIONS: dict[str, Callable[[ObjectStore], object]] = {
    "put": lambda store: store.put(KEY, DATA),
    "put if absent": lambda store: store.put("p/new", DATA, if_absent=True),
    "get": lambda store: store.get(KEY, max_bytes=BIG),
    "get_ranges": lambda store: store.get_ranges(KEY, [(0, 10), (5_000, 100)]),
    "head": lambda store: store.head(KEY),
    "list": lambda store: list(store.list("p")),
    "delete": lambda store: store.delete([KEY]),
}


@pytest.fixture
def options(s3_endpoint: S3Endpoint) -> S3Options:
    return S3Options(
        s3_endpoint.bucket,
        prefix=f"faults/{uuid.uuid4().hex}",
        endpoint=s3_endpoint.url,
        access_key_id=s3_endpoint.access_key_id,
        secret_access_key=s3_endpoint.secret_access_key,
        connect_timeout_seconds=1.0,
        request_timeout_seconds=1.0,
        health_timeout_seconds=0.5,
        retries=QUICK,
    )


@pytest.fixture
def proxy(s3_endpoint: S3Endpoint) -> Iterator[S3Proxy]:
    with running_proxy(s3_endpoint.url) as proxy:
        yield proxy


@pytest.fixture
def direct(options: S3Options) -> S3ObjectStore:
    """The same objects as ``store``, without the proxy between."""
    store = open_store(dataclasses.replace(options, request_timeout_seconds=30.0))
    store.put(KEY, DATA)
    return store


@pytest.fixture
def store(options: S3Options, proxy: S3Proxy, direct: S3ObjectStore) -> S3ObjectStore:
    return open_store(dataclasses.replace(options, endpoint=proxy.url))


def open_store(options: S3Options) -> S3ObjectStore:
    return S3ObjectStore(options, clock=SystemClock(), randomness=SystemRandomness())


def assert_unavailable(operation: Callable[[], object], *, within_seconds: float) -> StoreUnavailable:
    begun = time.monotonic()
    with pytest.raises(StoreUnavailable) as caught:
        operation()
    assert time.monotonic() - begun < within_seconds + SLACK_SECONDS
    assert caught.value.hint
    return caught.value


# --- it goes on -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        Fault("status", status=500, code="InternalError"),
        Fault("status", status=503, code="SlowDown"),
        Fault("status", status=503, code=""),
        Fault("status", status=429, code="TooManyRequests"),
        Fault("drop"),
        Fault("lost_ack"),
        Fault("hang"),
        Fault("late_ack", seconds=0.2),
    ],
    ids=lambda fault: f"{fault.kind}{fault.status if fault.kind == 'status' else ''}{fault.code}",
)
@pytest.mark.parametrize("name", sorted(set(OPERATIONS) - {"put if absent", "list"}))
def test_an_operation_survives_a_passing_fault(store: S3ObjectStore, proxy: S3Proxy, name: str, fault: Fault) -> None:
    proxy.inject(fault)
    OPERATIONS[name](store)
    assert len(proxy.seen) == (1 if fault.kind == "late_ack" else 2)


@pytest.mark.parametrize(
    "fault", [Fault("status", status=500, code="InternalError"), Fault("status"), Fault("drop"), Fault("hang")]
)
def test_a_listing_survives_a_passing_fault_of_a_later_page(
    store: S3ObjectStore, direct: S3ObjectStore, proxy: S3Proxy, fault: Fault
) -> None:
    names = {f"p/{number:04}" for number in range(1100)}
    for name in names:
        direct.put(name, b"")
    found = store.list("p")
    first = next(found)
    proxy.inject(fault)
    assert {first.key} | {info.key for info in found} == names | {KEY}
    assert len(proxy.seen) == 3


@pytest.mark.parametrize("kind", ["cut", "stall"])
def test_a_body_that_breaks_off_is_fetched_again(
    store: S3ObjectStore, proxy: S3Proxy, kind: Literal["cut", "stall"]
) -> None:
    proxy.inject(Fault(kind, keep_bytes=100))
    assert bytes(store.get(KEY, max_bytes=BIG)) == DATA
    proxy.inject(Fault(kind, keep_bytes=1))
    assert [bytes(part) for part in store.get_ranges(KEY, [(0, 10), (5_000, 100)])] == [DATA[:10], DATA[5_000:5_100]]


def test_a_listing_that_breaks_off_fails_and_is_never_short(store: S3ObjectStore, proxy: S3Proxy) -> None:
    proxy.inject(Fault("cut", keep_bytes=200))
    assert_unavailable(lambda: list(store.list("p")), within_seconds=6)
    assert [info.key for info in store.list("p")] == [KEY]


def test_bytes_damaged_on_the_way_are_refused_by_the_server_and_sent_again(
    store: S3ObjectStore, direct: S3ObjectStore, proxy: S3Proxy
) -> None:
    proxy.inject(Fault("flip_upload"), method="PUT")
    store.put("p/damaged", DATA)
    assert bytes(direct.get("p/damaged", max_bytes=BIG)) == DATA
    assert len(proxy.seen) == 2


def test_a_lost_acknowledgement_of_a_conditional_put_may_find_its_own_object(
    store: S3ObjectStore, direct: S3ObjectStore, proxy: S3Proxy
) -> None:
    proxy.inject(Fault("lost_ack"))
    with pytest.raises(AlreadyExists):
        store.put("p/new", DATA, if_absent=True)
    assert bytes(direct.get("p/new", max_bytes=BIG)) == DATA


def test_a_conditional_put_in_flight_elsewhere_is_not_taken_for_an_existing_object(
    store: S3ObjectStore, direct: S3ObjectStore, proxy: S3Proxy
) -> None:
    proxy.inject(Fault("status", status=409, code="ConditionalRequestConflict"))
    store.put("p/new", DATA, if_absent=True)
    assert bytes(direct.get("p/new", max_bytes=BIG)) == DATA


def test_waits_are_jittered_and_bounded(options: S3Options, proxy: S3Proxy, direct: S3ObjectStore) -> None:
    clock = ManualClock()
    policy = RetryPolicy(attempts=6, budget_seconds=100, base_seconds=1.0, cap_seconds=5.0)
    store = S3ObjectStore(
        dataclasses.replace(options, endpoint=proxy.url, retries=policy), clock=clock, randomness=SeededRandomness(1)
    )
    proxy.inject(Fault("status"), times=5)
    assert bytes(store.get(KEY, max_bytes=BIG)) == DATA
    assert len(clock.slept) == 5
    assert all(wait <= bound for wait, bound in zip(clock.slept, [1, 2, 4, 5, 5], strict=True))
    assert len(set(clock.slept)) == 5


# --- it fails cleanly -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_server_that_keeps_failing_is_asked_a_bounded_number_of_times(
    store: S3ObjectStore, proxy: S3Proxy, name: str
) -> None:
    proxy.inject(Fault("status", status=503), times=100)
    assert_unavailable(lambda: OPERATIONS[name](store), within_seconds=3)
    assert len(proxy.seen) == QUICK.attempts


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_server_that_hangs_is_given_up_in_bounded_time(store: S3ObjectStore, proxy: S3Proxy, name: str) -> None:
    proxy.inject(Fault("hang"), times=100)
    # Three seconds of budget, and one attempt may begin at its very end.
    error = assert_unavailable(lambda: OPERATIONS[name](store), within_seconds=3.0 + 1.0 + 1.0)
    assert "did not answer in time" in error.message


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_404_from_a_stranger_is_not_an_absent_object(store: S3ObjectStore, proxy: S3Proxy, name: str) -> None:
    proxy.inject(Fault("status", status=404, code=""), times=2)
    assert_unavailable(lambda: OPERATIONS[name](store), within_seconds=3)


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_missing_bucket_is_not_an_absent_object(options: S3Options, name: str) -> None:
    store = open_store(dataclasses.replace(options, bucket="no-such-bucket"))
    error = assert_unavailable(lambda: OPERATIONS[name](store), within_seconds=2)
    assert "no-such-bucket" in error.message
    assert options.endpoint is not None
    assert options.endpoint in error.message
    assert "s3.bucket" in str(error.hint)
    assert not store.health().ok


@pytest.mark.parametrize("name", OPERATIONS)
def test_refused_credentials_are_not_an_absent_object_and_are_not_shown(options: S3Options, name: str) -> None:
    secret = "a-wrong-secret-" + uuid.uuid4().hex
    store = open_store(dataclasses.replace(options, secret_access_key=secret))
    error = assert_unavailable(lambda: OPERATIONS[name](store), within_seconds=2)
    assert "403" in error.message
    for shown in (str(error), repr(error), repr(error.details), repr(store), repr(store.options), str(store.health())):
        assert secret not in shown
    assert error.__cause__ is None


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:1", "http://no-such-host.invalid"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_a_server_that_cannot_be_reached_is_not_an_absent_object(options: S3Options, endpoint: str, name: str) -> None:
    store = open_store(dataclasses.replace(options, endpoint=endpoint))
    error = assert_unavailable(lambda: OPERATIONS[name](store), within_seconds=5)
    assert endpoint in error.message


def test_a_stopped_server_is_unavailable_and_comes_back() -> None:
    with running_seaweedfs() as server:
        endpoint = server.endpoint
        options = S3Options(
            endpoint.bucket,
            endpoint=endpoint.url,
            access_key_id=endpoint.access_key_id,
            secret_access_key=endpoint.secret_access_key,
            request_timeout_seconds=2.0,
            retries=QUICK,
        )
        store = open_store(options)
        store.put(KEY, DATA)
        assert store.health().ok
        server.stop()
        for operation in OPERATIONS.values():
            assert_unavailable(lambda operation=operation: operation(store), within_seconds=6)  # type: ignore[misc]
        health = store.health()
        assert not health.ok
        assert endpoint.url in health.detail
        server.start()
        assert bytes(get_when_up(store)) == DATA


def get_when_up(store: ObjectStore) -> Buffer:
    """Until the server has found its data again it may fail, but must not be believed to have lost the object."""
    deadline = time.monotonic() + 30
    while True:
        try:
            return store.get(KEY, max_bytes=BIG)
        except StoreUnavailable:
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_a_full_store_is_no_space(store: S3ObjectStore, proxy: S3Proxy) -> None:
    proxy.inject(Fault("status", status=507, code="XMinioStorageFull"))
    with pytest.raises(NoSpace):
        store.put(KEY, b"")
    assert len(proxy.seen) == 1


def test_health_answers_in_time_when_the_server_hangs(store: S3ObjectStore, proxy: S3Proxy) -> None:
    proxy.inject(Fault("hang"))
    begun = time.monotonic()
    assert not store.health().ok
    assert time.monotonic() - begun < 5


# --- requests ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "methods"),
    [
        ("put", ["PUT"]),
        ("put if absent", ["PUT"]),
        ("get", ["GET"]),
        ("get_ranges", ["GET"]),
        ("head", ["HEAD"]),
        ("list", ["GET"]),
        ("delete", ["POST"]),
    ],
)
def test_each_operation_is_one_request(store: S3ObjectStore, proxy: S3Proxy, name: str, methods: list[str]) -> None:
    OPERATIONS[name](store)
    assert [seen.method for seen in proxy.seen] == methods


def test_a_pack_is_one_put(options: S3Options, proxy: S3Proxy) -> None:
    store = open_store(dataclasses.replace(options, endpoint=proxy.url, request_timeout_seconds=30.0))
    store.put("p/pack", bytes(16 * 2**20))
    assert [seen.method for seen in proxy.seen] == ["PUT"]


def test_an_object_above_the_limit_is_not_read(store: S3ObjectStore, direct: S3ObjectStore, proxy: S3Proxy) -> None:
    direct.put("p/huge", bytes(32 * 2**20))
    with pytest.raises(ManifoldError):
        store.get("p/huge", max_bytes=1000)
    assert [seen.method for seen in proxy.seen] == ["GET"]


# --- settings ---------------------------------------------------------------------------------------------------------


def test_keys_given_are_not_mixed_with_a_session_token_of_the_environment(
    options: S3Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "belongs-to-other-keys")
    store = open_store(options)
    store.put(KEY, DATA)
    assert store.head(KEY) is not None


def test_without_keys_the_environment_is_asked(options: S3Options, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", str(options.access_key_id))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", str(options.secret_access_key))
    store = open_store(
        dataclasses.replace(options, access_key_id=None, secret_access_key=None, account=ChainedAccount())
    )
    store.put(KEY, DATA)
    assert store.head(KEY) is not None


@pytest.mark.parametrize(
    "changes",
    [{"checksum": None}, {"checksum": "SHA256"}, {"sign_payload": True, "checksum": None}, {"bulk_delete": False}],
    ids=str,
)
def test_other_ways_to_ask_work_too(options: S3Options, changes: dict[str, object]) -> None:
    store = open_store(dataclasses.replace(options, **changes))  # type: ignore[arg-type]
    store.put(KEY, DATA)
    assert bytes(store.get(KEY, max_bytes=BIG)) == DATA
    store.delete([KEY, "p/absent"])
    assert store.head(KEY) is None


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"bucket": ""}, "s3.bucket"),
        ({"bucket": "a/b"}, "s3.bucket"),
        ({"prefix": "../up"}, "s3.prefix"),
        ({"prefix": "x" * 201}, "s3.prefix"),
        ({"endpoint": "minio:9000"}, "s3.endpoint"),
        ({"endpoint": "not a url"}, "s3.endpoint"),
        ({"endpoint": "http://h/bucket"}, "s3.endpoint"),
        ({"endpoint": "http://h:port"}, "s3.endpoint"),
        ({"endpoint": "http://user:hunter2@h"}, "s3.endpoint"),
        ({"endpoint": "ftp://h"}, "s3.endpoint"),
        ({"secret_access_key": None}, "secretAccessKey"),
        ({"request_timeout_seconds": 0.0}, "timeout"),
    ],
    ids=str,
)
def test_settings_that_cannot_work_are_refused(options: S3Options, changes: dict[str, object], named: str) -> None:
    with pytest.raises(ConfigError, match=named) as caught:
        dataclasses.replace(options, **changes)  # type: ignore[arg-type]
    assert "hunter2" not in str(caught.value)


def test_a_certificate_that_is_none_is_a_setting_to_correct(options: S3Options) -> None:
    store = open_store(dataclasses.replace(options, ca_certificates="not PEM"))
    with pytest.raises(ConfigError, match="cannot be made"):
        store.put(KEY, b"")


def test_credentials_are_neither_shown_nor_pickled(options: S3Options) -> None:
    assert options.secret_access_key is not None
    store = open_store(options)
    assert options.secret_access_key not in repr(options) + repr(store)
    with pytest.raises(TypeError):
        pickle.dumps(store)
