"""Links to objects in a real S3 bucket, and to a folder's through a real server: each is good for its own request
alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit, urlunsplit

import pytest
import urllib3
from manifold_common.adapters.s3.links import S3Links
from manifold_common.adapters.s3.object_store import S3ObjectStore
from manifold_common.adapters.s3.options import S3Options
from manifold_common.adapters.system.clock import SystemClock, SystemRandomness
from manifold_common.errors import InvalidInput
from manifold_common.ports.object_links import Link, ObjectLinks
from manifold_common.ports.object_store import ObjectStore

from tests.support.api import serving
from tests.support.manifold import folder_manifold
from tests.support.seaweedfs import running_seaweedfs


class Place(NamedTuple):
    store: ObjectStore
    links: ObjectLinks
    address: str
    """What a client puts before links."""


@pytest.fixture(scope="module", params=["bucket", "folder"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    if request.param == "bucket":
        with running_seaweedfs() as server:
            endpoint = server.endpoint
            options = S3Options(
                bucket=endpoint.bucket,
                prefix="some/where",
                endpoint=endpoint.url,
                access_key_id=endpoint.access_key_id,
                secret_access_key=endpoint.secret_access_key,
            )
            store = S3ObjectStore(options, clock=SystemClock(), randomness=SystemRandomness())
            yield Place(store, S3Links(options), "")
        return
    manifold = folder_manifold(tmp_path_factory.mktemp("folder"))
    with serving(manifold) as api:
        assert manifold.served_objects
        yield Place(manifold.context.store, manifold.served_objects, f"http://127.0.0.1:{api.port}")
    manifold.close()


@pytest.fixture
def store(place: Place) -> ObjectStore:
    return place.store


class Links:
    """With addresses put before them."""

    def __init__(self, place: Place) -> None:
        self._inner, self._address = place.links, place.address

    def to_read(self, keys: list[str], *, seconds: int) -> list[str]:
        return [self._address + url for url in self._inner.to_read(keys, seconds=seconds)]

    def to_create(self, key: str, size: int, *, seconds: int) -> Link:
        link = self._inner.to_create(key, size, seconds=seconds)
        return link._replace(url=self._address + link.url)


@pytest.fixture
def links(place: Place) -> Links:
    return Links(place)


def send(method: str, url: str, **more: object) -> urllib3.BaseHTTPResponse:
    with urllib3.PoolManager(retries=False) as pool:
        return pool.request(method, url, **more)  # type: ignore[arg-type]


def upload(link: Link, body: bytes, *, without: str = "") -> int:
    headers = {name: value for name, value in link.headers.items() if name != without}
    return send("PUT", link.url, body=body, headers=headers).status


def elsewhere(url: str, key: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=parts.path.rpartition("/")[0] + "/" + key))


def test_a_read_link_answers_the_object_and_ranges_of_it(store: ObjectStore, links: Links) -> None:
    store.put("t/a", b"0123456789")
    (url,) = links.to_read(["t/a"], seconds=60)
    assert send("GET", url).data == b"0123456789"
    part = send("GET", url, headers={"Range": "bytes=2-4"})
    assert (part.status, part.data) == (206, b"234")


def test_a_read_link_reads_nothing_else_and_changes_nothing(store: ObjectStore, links: Links) -> None:
    store.put("t/b", b"mine")
    store.put("t/c", b"another's")
    (url,) = links.to_read(["t/b"], seconds=60)
    assert send("GET", elsewhere(url, "c")).status == 403
    assert send("PUT", url, body=b"other").status == 403
    assert send("DELETE", url).status in (403, 405)
    assert bytes(store.get("t/b", max_bytes=10)) == b"mine"


def test_a_write_link_creates_its_object_once(store: ObjectStore, links: Links) -> None:
    link = links.to_create("t/new", 5, seconds=60)
    assert upload(link, b"first") == 200
    assert upload(link, b"again") == 412
    assert bytes(store.get("t/new", max_bytes=10)) == b"first"


def test_the_condition_of_a_write_link_cannot_be_left_out(store: ObjectStore, links: Links) -> None:
    link = links.to_create("t/kept", 5, seconds=60)
    assert upload(link, b"first") == 200
    assert upload(link, b"again", without="If-None-Match") in (403, 409)
    assert bytes(store.get("t/kept", max_bytes=10)) == b"first"


@pytest.mark.parametrize("size", [0, 1, 999, 1001, 1 << 20])
def test_a_write_link_is_for_one_length(store: ObjectStore, links: Links, size: int) -> None:
    key = f"t/size-{size}"
    link = links.to_create(key, 1000, seconds=60)
    headers = {name: value for name, value in link.headers.items() if name != "Content-Length"}
    with urllib3.PoolManager(retries=False) as pool:
        told = pool.request("PUT", link.url, body=bytes(size), headers=headers)
        chunked = pool.request("PUT", link.url, body=iter([bytes(size)]), headers=headers, chunked=True)
        assert (told.status, chunked.status) == (403, 403)
    assert store.head(key) is None
    assert upload(link, bytes(1000)) == 200


def test_more_than_the_length_that_was_told_is_not_stored(store: ObjectStore, links: Links) -> None:
    link = links.to_create("t/longer", 1000, seconds=60)
    upload(link, bytes(5000))  # with the signed length before it, and four times as much behind it
    found = store.head("t/longer")
    assert found is None or found.size == 1000


def test_a_write_link_writes_nowhere_else(store: ObjectStore, links: Links) -> None:
    link = links.to_create("t/here", 1, seconds=60)
    assert upload(link._replace(url=elsewhere(link.url, "there")), b"x") == 403
    assert store.head("t/there") is None


def test_links_cannot_be_made_to_last_longer(store: ObjectStore, links: Links) -> None:
    store.put("t/d", b"x")
    (url,) = links.to_read(["t/d"], seconds=60)
    assert send("GET", longer(url)).status == 403
    link = links.to_create("t/late", 1, seconds=60)
    assert upload(link._replace(url=longer(link.url)), b"x") == 403


def longer(url: str) -> str:
    found = parse_qs(urlsplit(url).query)
    if "until" in found:
        return url.replace(found["until"][0], str(int(found["until"][0]) + 3600))
    return url.replace("X-Amz-Expires=60", "X-Amz-Expires=3600")


def test_no_link_leads_out_of_the_prefix(links: Links) -> None:
    for key in ("../other", "/t/a", "t//a", ""):
        with pytest.raises(InvalidInput):
            links.to_read([key], seconds=60)
        with pytest.raises(InvalidInput):
            links.to_create(key, 1, seconds=60)
