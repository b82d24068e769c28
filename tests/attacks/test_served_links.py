"""Links to objects that a server hands on itself, in wrong hands: whatever is made of one, it allows one request for a
while, and nothing else."""

from __future__ import annotations

import logging
import os
import shlex
import shutil
import socket
import stat
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from manifold_common.adapters.filesystem.object_store import LINK_SECRET, FilesystemObjectStore
from manifold_common.adapters.memory.catalog import MemoryCatalog
from manifold_common.adapters.memory.clock import ManualClock
from manifold_common.adapters.system.clock import SystemClock, SystemRandomness
from manifold_common.bootstrap import Manifold
from manifold_common.domain.installation import Standing
from manifold_common.errors import Denied, InvalidInput, NotAdopted, StoreUnavailable
from manifold_common.services.direct.served_objects import Proof, ServedObjects

from tests.support.api import Api, serving
from tests.support.manifold import folder_manifold
from tests.support.waiting import wait_until

KEY = "t/acme/p/one/packs/pack"
THEIRS = "t/other/p/one/packs/pack"
DATA = b"0123456789"


@pytest.fixture(scope="module")
def manifold(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Manifold]:
    made = folder_manifold(tmp_path_factory.mktemp("served"), SERVER_STALL_SECONDS="1")
    for key in (KEY, THEIRS):
        made.context.store.put(key, DATA)
    yield made
    made.close()


@pytest.fixture(scope="module")
def api(manifold: Manifold) -> Iterator[Api]:
    with serving(manifold) as found:
        yield found


@pytest.fixture
def objects(manifold: Manifold) -> ServedObjects:
    assert manifold.served_objects
    return manifold.served_objects


@pytest.fixture
def new(request: pytest.FixtureRequest) -> str:
    """The key of an object that is not there."""
    return f"t/acme/p/one/packs/{abs(hash(request.node.nodeid))}"


def read_link(objects: ServedObjects, key: str = KEY) -> str:
    return objects.to_read([key], seconds=60)[0]


def proof_of(url: str) -> Proof:
    query = parse_qs(urlsplit(url).query)
    return Proof(int(query["until"][0]), query["signature"][0])


def until_of(url: str) -> int:
    return proof_of(url).until


def upload_head(url: str, *headers: str) -> bytes:
    return "\r\n".join((f"PUT {url} HTTP/1.1", "Host: localhost", *headers, "", "")).encode()


def left_aside(manifold: Manifold) -> list[Path]:
    return list(manifold.settings.projects.filesystem.root.rglob("~put-*"))


# --- what a link allows -----------------------------------------------------------------------------------------------

ALTERED: dict[str, Callable[[str], str]] = {
    "another object": lambda url: url.replace("/pack?", "/another?"),
    "another tenant's object": lambda url: url.replace(KEY, THEIRS),
    "a later end": lambda url: url.replace(f"until={until_of(url)}", f"until={until_of(url) + 1}"),
    "an end that was never": lambda url: url.replace(f"until={until_of(url)}", f"until={2**53}"),
    "no signature": lambda url: url.replace(proof_of(url).signature, ""),
    "a shorter signature": lambda url: url[:-1],
    "a longer signature": lambda url: url + "A",
    "a padded signature": lambda url: url + "%3D",
    "a signature in other letters": lambda url: url.replace(proof_of(url).signature, "\u00e9" * 43),
    "another signature": lambda url: url.replace(proof_of(url).signature, "A" * 43),
}  # fmt: skip


@pytest.mark.parametrize("change", ALTERED.values(), ids=ALTERED)
def test_an_altered_link_reads_nothing(api: Api, objects: ServedObjects, change: Callable[[str], str]) -> None:
    url = read_link(objects)
    assert api.get(url).content == DATA
    answer = api.get(change(url))
    assert answer.status_code == 403
    assert DATA not in answer.content


def test_a_link_with_two_ends_is_read_in_no_way(api: Api, objects: ServedObjects) -> None:
    url = read_link(objects)
    for more in (until_of(url), until_of(url) + 1):
        assert api.get(f"{url}&until={more}").status_code == 400


@pytest.mark.parametrize("change", ALTERED.values(), ids=ALTERED)
def test_an_altered_link_stores_nothing(
    manifold: Manifold, api: Api, objects: ServedObjects, change: Callable[[str], str], new: str
) -> None:
    url = objects.to_create(new, 5, seconds=60).url.replace(new, KEY)
    for target in (url, change(url)):
        assert api.put(target, content=b"wrong").status_code == 403
    assert bytes(manifold.context.store.get(KEY, max_bytes=99)) == DATA
    assert bytes(manifold.context.store.get(THEIRS, max_bytes=99)) == DATA


def test_a_link_to_read_stores_nothing_and_one_to_store_reads_nothing(
    manifold: Manifold, api: Api, objects: ServedObjects, new: str
) -> None:
    for size in (0, 5):
        assert api.put(read_link(objects, new), content=bytes(size)).status_code == 403
    assert manifold.context.store.head(new) is None
    for size in (0, len(DATA)):
        assert api.get(objects.to_create(KEY, size, seconds=60).url).status_code == 403


@pytest.mark.parametrize("until", ["", "x", "-1", "1e9", "0x10", str(2**53 + 1), "9" * 5000])
def test_an_end_that_is_no_time_is_refused(api: Api, objects: ServedObjects, until: str) -> None:
    url = read_link(objects)
    assert api.get(url.replace(f"until={until_of(url)}", f"until={until}")).status_code == 400


def test_what_is_there_is_never_replaced(manifold: Manifold, api: Api, objects: ServedObjects) -> None:
    link = objects.to_create(KEY, 10, seconds=60)
    for headers in (link.headers, {}, {"If-None-Match": "other"}, {"If-Match": "*"}):
        assert api.put(link.url, content=b"x" * 10, headers=dict(headers)).status_code in (409, 412)
    assert bytes(manifold.context.store.get(KEY, max_bytes=99)) == DATA
    assert left_aside(manifold) == []


def test_of_many_that_store_at_once_one_does(manifold: Manifold, api: Api, objects: ServedObjects, new: str) -> None:
    link = objects.to_create(new, 1, seconds=60)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda one: api.put(link.url, content=one).status_code, [b"%d" % n for n in range(8)]))
    assert sorted(answers) == [200, *[409] * 7]
    assert bytes(manifold.context.store.get(new, max_bytes=9)) == b"%d" % answers.index(200)


def test_a_link_ends(tmp_path: Path) -> None:
    clock = ManualClock()
    made = folder_manifold(tmp_path, clock=clock)
    made.context.store.put(KEY, DATA)
    objects = made.served_objects
    assert objects
    url, link = read_link(objects), objects.to_create("t/new", 1, seconds=60)
    clock.advance(59)
    assert objects.open(KEY, proof_of(url)).size == len(DATA)
    clock.advance(3)
    with pytest.raises(Denied, match="has ended"):
        objects.open(KEY, proof_of(url))
    with pytest.raises(Denied, match="has ended"):
        objects.create("t/new", 1, proof_of(link.url), lambda _: pytest.fail("nothing of the body is wanted"))
    assert made.context.store.head("t/new") is None
    made.close()


# --- names ------------------------------------------------------------------------------------------------------------

OUTSIDE = [
    "..", ".", "../../../../etc/passwd", "t/../../.keystore/default", "t/acme/../other/p/one/packs/pack",
    "/etc/passwd", "t//a", "t/a/", LINK_SECRET, "~manifold-store", f"t/{LINK_SECRET}", "t/a\0b", "t/a\nb", "t/a b",
    "t\\..\\a", "t/" + "a" * 251, "a/" * 400 + "a",
]  # fmt: skip


@pytest.mark.parametrize("key", OUTSIDE)
def test_no_link_and_no_request_leads_out_of_the_store(api: Api, objects: ServedObjects, key: str) -> None:
    """Not even one that is signed: whoever could sign has no business with other files either."""
    with pytest.raises(InvalidInput):
        objects.to_read([key], seconds=60)
    with pytest.raises(InvalidInput):
        objects.to_create(key, 1, seconds=60)
    proof = proof_of(read_link(objects))
    signed = {
        method: objects._sign(objects._served.link_secret(), method, key, size, proof.until)
        for method, size in (("GET", 0), ("PUT", 1))
    }
    plain = "".join(f"%{ord(one):02x}" if one in "\0\n \\" else one for one in key)
    for written in {plain, plain.replace(".", "%2e"), plain.replace("/", "%2f"), plain.replace("/", "%5c")}:
        for method, signature in signed.items():
            target = f"/api/objects/{written}?until={proof.until}&signature={signature}"
            answer = api.raw(method, target, body=b"x" if method == "PUT" else None)
            assert answer.status in (400, 403, 404), (method, target)


# --- whose links ------------------------------------------------------------------------------------------------------


def test_a_copy_that_is_another_installation_takes_none_of_the_originals_links(
    tmp_path: Path, manifold: Manifold, objects: ServedObjects
) -> None:
    """The secret was copied with the folder."""
    assert objects._served.link_secret()
    shutil.copytree(manifold.settings.projects.filesystem.root, tmp_path / ".store")
    copy = folder_manifold(tmp_path)
    assert copy.served_objects and copy.served
    assert copy.served.link_secret() == objects._served.link_secret()
    assert copy.standing.incarnation != manifold.standing.incarnation
    with pytest.raises(Denied):
        copy.served_objects.open(KEY, proof_of(read_link(objects)))
    copy.close()


def test_another_server_of_the_installation_takes_its_links(tmp_path: Path) -> None:
    catalog = MemoryCatalog(clock=SystemClock())
    one, two = (folder_manifold(tmp_path, catalog=catalog) for _ in range(2))
    one.context.store.put(KEY, DATA)
    assert one.served_objects and two.served_objects
    found = two.served_objects.open(KEY, proof_of(read_link(one.served_objects)))
    assert b"".join(found.read(0, found.size)) == DATA
    for made in (one, two):
        made.close()


def test_what_may_be_a_copy_stores_nothing(manifold: Manifold, objects: ServedObjects, new: str) -> None:
    standing = manifold.standing
    doubtful = Standing(standing.catalog, standing.incarnation, standing.node, "it may be a copy")
    copy = ServedObjects(objects._served, manifold.context.store, SystemClock(), doubtful)
    proof = proof_of(objects.to_create(new, 1, seconds=60).url)
    with pytest.raises(NotAdopted):
        copy.create(new, 1, proof, lambda _: pytest.fail("nothing of the body is wanted"))
    assert manifold.context.store.head(new) is None


# --- the secret -------------------------------------------------------------------------------------------------------


def test_the_secret_is_the_owners_alone_and_all_servers_have_the_same(tmp_path: Path) -> None:
    stores = [FilesystemObjectStore(tmp_path, clock=SystemClock(), randomness=SystemRandomness()) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        secrets = set(pool.map(lambda store: store.link_secret(), stores))
    assert len(secrets) == 1 and len(secrets.pop()) == 32
    assert stat.S_IMODE((tmp_path / LINK_SECRET).stat().st_mode) == 0o600
    assert list(stores[0].list("")) == []


def test_a_secret_that_is_removed_ends_all_links(tmp_path: Path) -> None:
    made = folder_manifold(tmp_path)
    made.context.store.put(KEY, DATA)
    assert made.served_objects
    url = read_link(made.served_objects)
    (made.settings.projects.filesystem.root / LINK_SECRET).unlink()
    with pytest.raises(Denied):
        made.served_objects.open(KEY, proof_of(url))
    assert made.served_objects.open(KEY, proof_of(read_link(made.served_objects))).size == len(DATA)
    made.close()


@pytest.mark.parametrize("content", [b"", b"short", b"x" * 33])
def test_nothing_is_signed_with_a_damaged_secret(tmp_path: Path, content: bytes) -> None:
    store = FilesystemObjectStore(tmp_path, clock=SystemClock(), randomness=SystemRandomness())
    store.link_secret()
    (tmp_path / LINK_SECRET).write_bytes(content)
    with pytest.raises(StoreUnavailable, match="is damaged") as caught:
        store.link_secret()
    assert "remove the file" in (caught.value.hint or "")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_nothing_is_signed_with_a_secret_that_others_may_know(tmp_path: Path, mode: int) -> None:
    store = FilesystemObjectStore(tmp_path, clock=SystemClock(), randomness=SystemRandomness())
    store.link_secret()
    (tmp_path / LINK_SECRET).chmod(mode)
    with pytest.raises(StoreUnavailable, match="other accounts may read") as caught:
        store.link_secret()
    subprocess.run(shlex.split((caught.value.hint or "").rpartition(": ")[2]), check=True)
    assert store.link_secret()


def test_a_planted_link_is_no_secret(tmp_path: Path) -> None:
    store = FilesystemObjectStore(tmp_path / "store", clock=SystemClock(), randomness=SystemRandomness())
    (tmp_path / "known").write_bytes(b"k" * 32)
    os.symlink(tmp_path / "known", tmp_path / "store" / LINK_SECRET)
    with pytest.raises(StoreUnavailable):
        store.link_secret()


# --- bodies and answers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "status", "got"),
    [
        ("bytes=2-4", 206, b"234"), ("bytes=-3", 206, b"789"), ("bytes=8-999999999999", 206, b"89"),
        ("bytes=10-", 416, None), ("bytes=999999999999999999-", 416, None), ("bytes=-0", 416, None),
        ("bytes=5-2", 200, DATA), ("bytes=0-0,1-1,2-2" + ",0-" * 1000, 200, DATA), ("bytes=--1", 200, DATA),
        ("lines=0-1", 200, DATA), ("bytes=" + "9" * 4000 + "-", 416, None),
    ],
)  # fmt: skip
def test_ranges_have_no_more_than_the_object(
    api: Api, objects: ServedObjects, asked: str, status: int, got: bytes | None
) -> None:
    answer = api.get(read_link(objects), headers={"Range": asked})
    assert answer.status_code == status
    assert got is None or answer.content == got


@pytest.mark.parametrize("sent", [0, 1, 2_999_999])
def test_a_body_that_ends_early_leaves_nothing(
    manifold: Manifold, api: Api, objects: ServedObjects, sent: int, new: str
) -> None:
    link = objects.to_create(new, 3_000_000, seconds=60)
    with api.connect() as client:
        client.sendall(upload_head(link.url, "Content-Length: 3000000") + bytes(sent))
        client.shutdown(socket.SHUT_WR)
        while client.recv(65536):
            pass
    wait_until(lambda: left_aside(manifold) == [])
    assert manifold.context.store.head(new) is None
    assert api.put(link.url, content=bytes(3_000_000)).status_code == 200


@pytest.mark.parametrize("headers", [("Content-Length: 11",), ("Content-Length: 9",), ("Transfer-Encoding: chunked",)])
def test_a_body_of_another_length_than_the_links_is_refused(
    manifold: Manifold, api: Api, objects: ServedObjects, headers: tuple[str, ...], new: str
) -> None:
    link = objects.to_create(new, 10, seconds=60)
    body = b"a\r\n0123456789\r\n0\r\n\r\n" if "chunked" in headers[0] else bytes(int(headers[0].rpartition(" ")[2]))
    with api.connect() as client:
        client.sendall(upload_head(link.url, *headers, "Connection: close") + body)
        assert b" 403 " in client.recv(64)
    assert manifold.context.store.head(new) is None


def test_a_body_that_comes_too_slowly_is_given_up_and_leaves_nothing(
    manifold: Manifold, api: Api, objects: ServedObjects, new: str
) -> None:
    link = objects.to_create(new, 3_000_000, seconds=60)
    with api.connect() as client:
        client.sendall(upload_head(link.url, "Content-Length: 3000000") + bytes(2_000_000))
        assert b" 408 " in client.recv(64)
    wait_until(lambda: left_aside(manifold) == [])
    assert manifold.context.store.head(new) is None


def test_an_encoded_body_or_a_form_is_refused(api: Api, objects: ServedObjects, new: str) -> None:
    link = objects.to_create(new, 5, seconds=60)
    for headers in ({"Content-Encoding": "gzip"}, {"Content-Type": "multipart/form-data; boundary=x"}):
        assert api.put(link.url, content=b"12345", headers=headers).status_code == 415


def test_a_page_of_another_site_stores_nothing(api: Api, objects: ServedObjects, new: str) -> None:
    link = objects.to_create(new, 5, seconds=60)
    assert api.put(link.url, content=b"12345", headers={"Origin": "https://evil.example"}).status_code == 403


def test_no_log_has_what_a_link_is_good_for(
    api: Api, objects: ServedObjects, caplog: pytest.LogCaptureFixture, new: str
) -> None:
    for name in ("", "manifold.api", "uvicorn.access", "uvicorn.error"):
        caplog.set_level(logging.DEBUG, name)
    link = objects.to_create(new, 5, seconds=60)
    for url in (read_link(objects), link.url, read_link(objects, f"{KEY}-that-is-not-there")):
        with api.connect() as client:
            method = b"PUT" if url == link.url else b"GET"
            content = b"12345" if method == b"PUT" else b""
            client.sendall(upload_head(url, f"Content-Length: {len(content)}").replace(b"PUT", method) + content)
            client.recv(64)
    wait_until(lambda: "/api/objects/{key:rest} 404" in caplog.text)
    assert "signature=" not in caplog.text
