"""Links to objects in a real S3 bucket: each is good for its own request alone."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit, urlunsplit

import pytest
import urllib3
from manifold_common.adapters.s3.links import S3Links
from manifold_common.adapters.s3.object_store import S3ObjectStore
from manifold_common.adapters.s3.options import S3Options
from manifold_common.adapters.system.clock import SystemClock, SystemRandomness
from manifold_common.errors import InvalidInput
from manifold_common.ports.object_links import Link

from tests.support.seaweedfs import running_seaweedfs


@pytest.fixture(scope="module")
def options() -> Iterator[S3Options]:
    with running_seaweedfs() as server:
        endpoint = server.endpoint
        yield S3Options(
            bucket=endpoint.bucket,
            prefix="some/where",
            endpoint=endpoint.url,
            access_key_id=endpoint.access_key_id,
            secret_access_key=endpoint.secret_access_key,
        )


@pytest.fixture(scope="module")
def store(options: S3Options) -> S3ObjectStore:
    return S3ObjectStore(options, clock=SystemClock(), randomness=SystemRandomness())


@pytest.fixture
def links(options: S3Options) -> S3Links:
    return S3Links(options)


def send(method: str, url: str, **more: object) -> urllib3.BaseHTTPResponse:
    with urllib3.PoolManager(retries=False) as pool:
        return pool.request(method, url, **more)  # type: ignore[arg-type]


def upload(link: Link, body: bytes, *, without: str = "") -> int:
    headers = {name: value for name, value in link.headers.items() if name != without}
    return send("PUT", link.url, body=body, headers=headers).status


def elsewhere(url: str, key: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=parts.path.rpartition("/")[0] + "/" + key))


def test_a_read_link_answers_the_object_and_ranges_of_it(store: S3ObjectStore, links: S3Links) -> None:
    store.put("t/a", b"0123456789")
    (url,) = links.to_read(["t/a"], seconds=60)
    assert send("GET", url).data == b"0123456789"
    part = send("GET", url, headers={"Range": "bytes=2-4"})
    assert (part.status, part.data) == (206, b"234")


def test_a_read_link_reads_nothing_else_and_changes_nothing(store: S3ObjectStore, links: S3Links) -> None:
    store.put("t/b", b"mine")
    store.put("t/c", b"another's")
    (url,) = links.to_read(["t/b"], seconds=60)
    assert send("GET", elsewhere(url, "c")).status == 403
    assert send("PUT", url, body=b"other").status == 403
    assert send("DELETE", url).status == 403
    assert bytes(store.get("t/b", max_bytes=10)) == b"mine"


def test_a_write_link_creates_its_object_once(store: S3ObjectStore, links: S3Links) -> None:
    link = links.to_create("t/new", 5, seconds=60)
    assert upload(link, b"first") == 200
    assert upload(link, b"again") == 412
    assert bytes(store.get("t/new", max_bytes=10)) == b"first"


def test_the_condition_of_a_write_link_cannot_be_left_out(store: S3ObjectStore, links: S3Links) -> None:
    link = links.to_create("t/kept", 5, seconds=60)
    assert upload(link, b"first") == 200
    assert upload(link, b"again", without="If-None-Match") == 403
    assert bytes(store.get("t/kept", max_bytes=10)) == b"first"


@pytest.mark.parametrize("size", [0, 1, 999, 1001, 1 << 20])
def test_a_write_link_is_for_one_length(store: S3ObjectStore, links: S3Links, size: int) -> None:
    key = f"t/size-{size}"
    link = links.to_create(key, 1000, seconds=60)
    headers = {name: value for name, value in link.headers.items() if name != "Content-Length"}
    with urllib3.PoolManager(retries=False) as pool:
        told = pool.request("PUT", link.url, body=bytes(size), headers=headers)
        chunked = pool.request("PUT", link.url, body=iter([bytes(size)]), headers=headers, chunked=True)
        assert (told.status, chunked.status) == (403, 403)
    assert store.head(key) is None
    assert upload(link, bytes(1000)) == 200


def test_more_than_the_length_that_was_told_is_not_stored(store: S3ObjectStore, links: S3Links) -> None:
    link = links.to_create("t/longer", 1000, seconds=60)
    upload(link, bytes(5000))  # with the signed length before it, and four times as much behind it
    found = store.head("t/longer")
    assert found is None or found.size == 1000


def test_a_write_link_writes_nowhere_else(store: S3ObjectStore, links: S3Links) -> None:
    link = links.to_create("t/here", 1, seconds=60)
    assert upload(link._replace(url=elsewhere(link.url, "there")), b"x") == 403
    assert store.head("t/there") is None


def test_links_end(store: S3ObjectStore, links: S3Links) -> None:
    store.put("t/d", b"x")
    (url,) = links.to_read(["t/d"], seconds=60)
    older = url.replace("X-Amz-Expires=60", "X-Amz-Expires=3600")
    assert send("GET", older).status == 403
    link = links.to_create("t/late", 1, seconds=60)
    assert upload(link._replace(url=link.url.replace("X-Amz-Expires=60", "X-Amz-Expires=3600")), b"x") == 403


def test_no_link_leads_out_of_the_prefix(links: S3Links) -> None:
    for key in ("../other", "/t/a", "t//a", ""):
        with pytest.raises(InvalidInput):
            links.to_read([key], seconds=60)
        with pytest.raises(InvalidInput):
            links.to_create(key, 1, seconds=60)
