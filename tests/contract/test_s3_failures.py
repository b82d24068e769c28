"""Each way in which a request to S3 fails, for real: what it is called, what to do, and whether it is tried again.

Most of it can be told only from the words of a library. These tests fail when a new version words it differently.
"""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from manifold_common.adapters.s3.object_store import S3ObjectStore
from manifold_common.adapters.s3.options import S3Options
from manifold_common.adapters.system.clock import SystemClock, SystemRandomness
from manifold_common.errors import AlreadyExists, ConfigError, CorruptObject, ManifoldError, ObjectNotFound
from manifold_common.errors import StoreUnavailable as Unavailable
from manifold_common.ports.object_store import ObjectStore
from manifold_common.ports.retry import RetryPolicy

from tests.support.certificates import Authority
from tests.support.odd_server import Asked, OddServer, odd_server

TRIES = 3
TOKEN = "a-session-token-that-nobody-else-may-see"
OPERATIONS: dict[str, Callable[[ObjectStore], object]] = {
    "put": lambda store: store.put("k", b"data"),
    "put if absent": lambda store: store.put("k", b"data", if_absent=True),
    "get": lambda store: store.get("k", max_bytes=100),
    "get_ranges": lambda store: store.get_ranges("k", [(0, 2), (5, 1)]),
    "head": lambda store: store.head("k"),
    "list": lambda store: list(store.list("p")),
    "delete": lambda store: store.delete(["k"]),
}
LISTING = (
    b"<ListBucketResult><Contents><Key>p/x</Key><Size>1</Size><ETag>e</ETag>"
    b"<LastModified>2024-01-01T00:00:00.000Z</LastModified></Contents></ListBucketResult>"
)
every_operation = pytest.mark.parametrize("name", OPERATIONS)
with_a_token_and_without = pytest.mark.parametrize("token", [TOKEN, None], ids=["token", "no token"])
"""With one, the first request is the look at whether the server redirects, by the standard library."""


def options_for(url: str, **changes: object) -> S3Options:
    options = S3Options(
        "bucket",
        endpoint=url,
        access_key_id="key",
        secret_access_key="a-secret-that-is-never-shown",
        session_token=TOKEN,
        connect_timeout_seconds=0.5,
        request_timeout_seconds=0.5,
        health_timeout_seconds=0.5,
        retries=RetryPolicy(attempts=TRIES, budget_seconds=5.0, base_seconds=0.001, cap_seconds=0.002),
    )
    return dataclasses.replace(options, **changes)  # type: ignore[arg-type]


def store_at(url: str, **changes: object) -> S3ObjectStore:
    return S3ObjectStore(options_for(url, **changes), clock=SystemClock(), randomness=SystemRandomness())


def signed(server: OddServer) -> list[Asked]:
    """Return the requests of the store itself, without the look at whether the server redirects."""
    return [asked for asked in server.asked if "authorization" in asked.headers]


def failure_of(operation: Callable[[], object]) -> ManifoldError:
    with pytest.raises(ManifoldError) as caught:
        operation()
    for shown in (str(caught.value), repr(caught.value), repr(caught.value.details), repr(caught.value.__cause__)):
        assert TOKEN not in shown
        assert "never-shown" not in shown
    return caught.value


@pytest.fixture
def server() -> Iterator[OddServer]:
    with odd_server() as server:
        yield server


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"), "authority")


# --- TLS --------------------------------------------------------------------------------------------------------------


def tls_failure(certificate: tuple[Path, Path], trusted: str | None, token: str | None) -> str:
    """Return what the failure is called."""
    with odd_server(certificate=certificate) as server:
        store = store_at(server.url, ca_certificates=trusted, session_token=token)
        error = failure_of(lambda: store.get("k", max_bytes=10))
        assert isinstance(error, Unavailable)
        assert error.details.get("retryable") is False
        assert error.hint
        health = store.health()
        assert not health.ok
        assert error.message.rpartition(": ")[2] in health.detail
        assert server.asked == []
        return error.message


@with_a_token_and_without
def test_an_untrusted_certificate_is_called_so_and_not_tried_again(authority: Authority, token: str | None) -> None:
    assert "certificate is not trusted" in tls_failure(authority.issue("server"), None, token)


@with_a_token_and_without
def test_an_expired_certificate_is_called_so(authority: Authority, token: str | None) -> None:
    certificate = authority.issue("late", expired=True)
    assert "has expired" in tls_failure(certificate, authority.file.read_text(), token)


@with_a_token_and_without
def test_a_certificate_for_another_host_is_called_so(authority: Authority, token: str | None) -> None:
    certificate = authority.issue("other", address="127.0.0.9")
    assert "for another host name" in tls_failure(certificate, authority.file.read_text(), token)


def test_a_trusted_certificate_works(authority: Authority) -> None:
    with odd_server(certificate=authority.issue("fine")) as server:
        server.answer(200, b"data", etag="e", last_modified="Mon, 01 Jan 2024 00:00:00 GMT")
        store = store_at(server.url, ca_certificates=authority.file.read_text())
        assert bytes(store.get("k", max_bytes=10)) == b"data"


@with_a_token_and_without
def test_a_server_without_tls_is_told_from_one_with_a_bad_certificate(server: OddServer, token: str | None) -> None:
    error = failure_of(
        lambda: store_at(server.url.replace("http:", "https:"), session_token=token).get("k", max_bytes=10)
    )
    assert "does not speak TLS" in error.message
    assert error.details["retryable"] is False
    assert "https://" in str(error.hint)


@with_a_token_and_without
def test_a_tls_server_asked_without_it_breaks_the_connection(authority: Authority, token: str | None) -> None:
    with odd_server(certificate=authority.issue("tls")) as server:
        error = failure_of(
            lambda: store_at(server.url.replace("https:", "http:"), session_token=token).get("k", max_bytes=10)
        )
    assert "the connection broke" in error.message


# --- the network ------------------------------------------------------------------------------------------------------


@with_a_token_and_without
@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://no-such-host.invalid", "cannot be resolved"),
        (f"http://{'x' * 64}.invalid", "cannot be resolved"),  # longer than a part of a name may be
        ("http://127.0.0.1:1", "cannot be connected to"),
    ],
)
def test_a_server_that_is_not_there_is_called_so(url: str, reason: str, token: str | None) -> None:
    error = failure_of(lambda: store_at(url, session_token=token).get("k", max_bytes=10))
    assert reason in error.message
    assert error.details["retryable"] is True


@with_a_token_and_without
def test_a_server_that_does_not_answer_is_called_so(token: str | None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        store = store_at(url, session_token=token, retries=RetryPolicy(attempts=1))
        assert "did not answer in time" in failure_of(lambda: store.get("k", max_bytes=10)).message


def test_a_body_shorter_than_told_is_fetched_again_and_then_called_broken(server: OddServer) -> None:
    server.answer(200, b"ab", content_length="10", etag="e", last_modified="Mon, 01 Jan 2024 00:00:00 GMT")
    error = failure_of(lambda: store_at(server.url).get("k", max_bytes=100))
    assert "the answer broke off" in error.message
    assert len(signed(server)) == TRIES


# --- redirects --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@every_operation
def test_a_redirect_to_another_host_is_never_followed(server: OddServer, name: str, status: int) -> None:
    store = store_at(server.url)
    server.refuse(404, "NoSuchKey")
    assert store.head("k") is None
    server.answer(200, LISTING)
    assert list(store.list("p"))  # it does not redirect yet
    server.asked.clear()
    with odd_server("127.0.0.2") as other:
        server.answer(status, b"", location=f"{other.url}/bucket/k")
        error = failure_of(lambda: OPERATIONS[name](store))
        assert other.asked == []
    assert "redirect" in error.message
    assert "s3.endpoint" in str(error.hint)
    assert error.details["retryable"] is False
    assert len(signed(server)) == (TRIES if name == "list" else 1)  # pages are asked for again by the library


@every_operation
def test_a_server_that_redirects_is_sent_no_token(server: OddServer, name: str) -> None:
    with odd_server() as other:  # another port of the same host
        server.answer(307, b"", location=f"{other.url}/bucket/k")
        store = store_at(server.url)
        error = failure_of(lambda: OPERATIONS[name](store))
        assert not store.health().ok
        assert other.asked == []
    assert "redirect" in error.message
    assert all("x-amz-security-token" not in asked.headers for asked in server.asked)


@every_operation
def test_a_server_that_has_not_answered_yet_is_sent_no_token(name: str) -> None:
    with odd_server() as other, odd_server() as slow:
        slow.answer(307, b"", location=f"{other.url}/bucket/k")
        slow.stands_still_for = 1  # the look gets no answer, and what follows it would
        store = store_at(slow.url, retries=RetryPolicy(attempts=1))
        assert "did not answer in time" in failure_of(lambda: OPERATIONS[name](store)).message
        assert "redirect" in failure_of(lambda: OPERATIONS[name](store)).message
        assert other.asked == []
        assert signed(slow) == []


def test_a_server_that_breaks_connections_is_sent_no_token() -> None:
    with odd_server() as other, odd_server() as rude:
        rude.answer(307, b"", location=f"{other.url}/bucket/k")
        rude.hangs_up_on = TRIES
        store = store_at(rude.url)
        assert "the connection broke" in failure_of(lambda: store.get("k", max_bytes=10)).message
        assert len(rude.asked) == TRIES
        assert "redirect" in failure_of(lambda: store.get("k", max_bytes=10)).message
        assert other.asked == []
        assert signed(rude) == []


def test_a_token_that_comes_between_the_look_and_the_client_is_not_sent_without_a_look() -> None:
    """As credentials that are replaced by another request, which was refused, do."""
    with odd_server() as other, odd_server() as server:
        server.answer(307, b"", location=f"{other.url}/bucket/k")
        store = store_at(server.url, session_token=None)

        class Late:
            """A lock that is had when the credentials are other ones."""

            def __enter__(self) -> None:
                store.options = options

            def __exit__(self, *_: object) -> None:
                pass

        options = options_for(server.url)
        store._lock = Late()  # type: ignore[assignment]
        assert "redirect" in failure_of(lambda: store.get("k", max_bytes=10)).message
        assert other.asked == []
        assert signed(server) == []


@every_operation
def test_a_redirect_without_a_place_hints_at_the_region(server: OddServer, name: str) -> None:
    server.refuse(301, "PermanentRedirect")
    server.headers["x-amz-bucket-region"] = "eu-west-1"
    error = failure_of(lambda: OPERATIONS[name](store_at(server.url, session_token=None)))
    assert "redirect" in error.message
    assert "s3.region" in str(error.hint)
    assert len(signed(server)) == 1


# --- what a server answers --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "code", "hint", "tries"),
    [
        (400, "AuthorizationHeaderMalformed", "s3.region", 1),
        (400, "ExpiredToken", "renew", 1),
        (400, "InvalidToken", "session token", 1),
        (400, "RequestTimeout", "log", TRIES),
        (400, "KMS.DisabledException", "KMS key", 1),
        (401, "", "credentials", 1),
        (403, "AccessDenied", "s3:GetObject", 1),
        (403, "AccountProblem", "owner", 1),
        (403, "InvalidAccessKeyId", "access key", 1),
        (403, "InvalidObjectState", "restore", 1),
        (403, "RequestTimeTooSkewed", "clock", 1),
        (403, "SignatureDoesNotMatch", "secret key", 1),
        (403, "", "s3:ListBucket", 1),
        (404, "NoSuchBucket", "s3.bucket", 1),
        (404, "", "s3.endpoint", 1),
        (405, "MethodNotAllowed", "S3_BULK_DELETE", 1),
        (407, "", "proxy", 1),
        (409, "OperationAborted", "log", TRIES),
        (429, "", "log", TRIES),
        (500, "InternalError", "log", TRIES),
        (501, "NotImplemented", "S3_CHECKSUM", 1),
        (503, "SlowDown", "log", TRIES),
        (503, "", "log", TRIES),
    ],
)
def test_an_answer_is_named_and_hints_at_what_to_do(
    server: OddServer, status: int, code: str, hint: str, tries: int
) -> None:
    if code:
        server.refuse(status, code)
    else:
        server.answer(status)
    error = failure_of(lambda: store_at(server.url).get("k", max_bytes=10))
    assert isinstance(error, Unavailable)
    assert f"it answered {status} {code}".rstrip() in error.message
    assert hint in str(error.hint)
    assert len(signed(server)) == tries


def test_a_denial_by_the_buckets_kms_key_names_the_right_that_is_missing(server: OddServer) -> None:
    server.refuse(403, "AccessDenied", "User x is not authorized to perform: kms:GenerateDataKey on resource y")
    error = failure_of(lambda: store_at(server.url).put("k", b"x"))
    assert "kms:GenerateDataKey" in str(error.hint)


@every_operation
@pytest.mark.parametrize("status", [403, 404, 502])
def test_a_page_of_a_proxy_is_not_taken_for_an_answer_of_the_store(server: OddServer, name: str, status: int) -> None:
    server.answer(status, b"<html><h1>status code: 200 OK</h1><p>NoSuchKey</p></html>", content_type="text/html")
    error = failure_of(lambda: OPERATIONS[name](store_at(server.url)))
    assert isinstance(error, Unavailable)
    assert f"it answered {status}" in error.message


def test_an_absent_object_is_not_found_and_one_that_is_there_exists(server: OddServer) -> None:
    server.refuse(404, "NoSuchKey")
    assert isinstance(failure_of(lambda: store_at(server.url).get("k", max_bytes=1)), ObjectNotFound)
    server.refuse(412, "PreconditionFailed")
    assert isinstance(failure_of(lambda: store_at(server.url).put("k", b"", if_absent=True)), AlreadyExists)
    server.refuse(416, "InvalidRange")
    assert isinstance(failure_of(lambda: store_at(server.url).get_ranges("k", [(9, 1)])), CorruptObject)


@every_operation
def test_a_friendly_page_of_a_proxy_is_not_taken_for_an_answer_of_the_store(server: OddServer, name: str) -> None:
    server.answer(200, b"<html>welcome</html>", content_type="text/html")
    error = failure_of(lambda: OPERATIONS[name](store_at(server.url)))
    assert isinstance(error, Unavailable)
    assert error.hint


@pytest.mark.parametrize("spelled", ["HTTP://{host}", "http://{host}/", "http://LocalHost:{port}"])
def test_an_endpoint_may_be_spelled_as_urls_may(server: OddServer, spelled: str) -> None:
    server.answer(200, b"data", etag="e")
    url = spelled.format(host=f"127.0.0.1:{server.port}", port=server.port)
    assert bytes(store_at(url).get("k", max_bytes=10)) == b"data"


# --- values that cannot be --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"endpoint": "http://127.0.0.1:9000", "use_path_style": False}, "usePathStyle"),
        ({"endpoint": "http://[::1]:9000", "use_path_style": False}, "usePathStyle"),
        ({"endpoint": "http://127.1"}, "IP address"),
        ({"endpoint": "http://h?x=1"}, "s3.endpoint"),
        ({"endpoint": "http://h?"}, "s3.endpoint"),
        ({"endpoint": "http://h#x"}, "s3.endpoint"),
        ({"endpoint": "http://h\n"}, "s3.endpoint"),
        ({"region": "us-east-1\n"}, "s3.region"),
        ({"region": ""}, "s3.region"),
        ({"bucket": "a b"}, "s3.bucket"),
        ({"bucket": "b\n"}, "s3.bucket"),
        ({"session_token": "hunter2\n"}, "sessionToken"),
        ({"session_token": ""}, "sessionToken"),
        ({"secret_access_key": "hunter2 "}, "secretAccessKey"),
        ({"access_key_id": "k\r\n"}, "accessKeyId"),
        ({"kms_key_id": "a\nb", "server_side_encryption": "aws:kms"}, "sseKmsKeyId"),
    ],
    ids=str,
)
def test_what_would_make_the_library_panic_is_refused_at_once(changes: dict[str, object], named: str) -> None:
    with pytest.raises(ConfigError) as caught:
        options_for("http://h", **changes)
    assert named in str(caught.value)
    assert "hunter2" not in str(caught.value)
