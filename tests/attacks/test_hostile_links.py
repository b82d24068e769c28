"""Links of a server that lies: where they lead, what they bring, and what comes back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import urllib3
from manifold_common.adapters.remote.network import Network, Reach, reach_of
from manifold_common.adapters.remote.object_store import LinkedObjects
from manifold_common.adapters.system.clock import SystemClock, SystemRandomness
from manifold_common.bootstrap.remote import RemoteManifold
from manifold_common.errors import (
    BadAnswer,
    CorruptObject,
    ManifoldError,
    NoSpace,
    QuotaExceeded,
    StoreUnavailable,
)
from manifold_common.ids import ProjectId
from manifold_common.ports.retry import RetryPolicy
from manifold_common.shapes.access import ObjectGrant, UploadLink

from tests.support.lying_server import Answer, LyingServer, lie_about, setting, truth
from tests.support.remote import MakeClient, RemoteServer
from tests.support.work import S1, new_project

NO_LINKS_TO_THE_SERVER = [
    "/api/v1/projects", "/api/objects/x", "/api/objects/?a=1", "/api/objects//x?a=1", "/api/objects/../projects?a=1",
    "/api/objects/..?a=1", "/api/objects/.?a=1", "/api/objects/t/../../projects?a=1", "/api/objects/t/..?a=1",
    "/api/objects/%2e%2e/projects?a=1", "/api/objects/x%2f..?a=1", "/api/objects/x\\..?a=1", "/api/objects/x?a=/../b",
    "/api/objects/x?a=1#b", "/api/objects/x?a=1 HTTP/1.1", "/api/objects/x?a=1\r\nX: y", "/api/objects/x?a=1\n",
    "api/objects/x?a=1", "@host/api/objects/x?a=1", ".host/api/objects/x?a=1", ":1/api/objects/x?a=1",
    "//host/api/objects/x?a=1", "/\\host/api/objects/x?a=1", " /api/objects/x?a=1", "/api/objects/~x?a=1",
]  # fmt: skip
"""What could lead elsewhere, put behind a server's address."""


def test_a_link_is_a_web_address(client: RemoteManifold, lying_server: LyingServer, project: ProjectId) -> None:
    for url in (
        "file:///etc/passwd",
        "ftp://host/x",
        "gopher://127.0.0.1/x",
        "//host/x",
        "http://",
        "http://a b/",
        "http://a/\r\nX: y",
        "javascript:1",
        *NO_LINKS_TO_THE_SERVER,
    ):
        lying_server.lie = lie_about("/plan", setting("plan.objects.0.url", url))
        with pytest.raises(BadAnswer):
            client.sessions.checkout(S1, project)


def test_a_link_to_the_server_leads_to_the_address_that_the_client_has(lying_server: LyingServer) -> None:
    network = Network()
    network._note("127.0.0.1")
    links = LinkedObjects(
        clock=SystemClock(),
        randomness=SystemRandomness(),
        network=network,
        server_url=lying_server.url + "/below/",
        policy=RetryPolicy(attempts=1),
    )
    url = "/api/objects/t/x?until=1&signature=s"
    links.grant([ObjectGrant("t/x", 1, "a" * 26, "a" * 26, b"", url)])  # type: ignore[arg-type]
    links.offer("t/y", UploadLink("a" * 26, url, {"If-None-Match": "*"}))  # type: ignore[arg-type]
    for ask in (lambda: links.get("t/x", max_bytes=1 << 20), lambda: links.put("t/y", b"x")):
        with pytest.raises(ManifoldError):
            ask()
    assert lying_server.asked == [f"GET /below{url}", f"PUT /below{url}"]
    links.close()


@pytest.mark.parametrize(
    ("status", "error", "told"), [(413, QuotaExceeded, "server.maxUploadBytes"), (507, NoSpace, "free space")]
)
def test_what_a_server_has_no_room_for_is_told_as_that(
    lying_server: LyingServer, status: int, error: type[ManifoldError], told: str
) -> None:
    network = Network()
    network._note("127.0.0.1")
    links = LinkedObjects(
        clock=SystemClock(), randomness=SystemRandomness(), network=network, server_url=lying_server.url
    )
    links.offer("t/y", UploadLink("a" * 26, "/api/objects/t/y?until=1&signature=s", {}))  # type: ignore[arg-type]
    lying_server.lie = lambda asked, said: Answer(b"", status)
    with pytest.raises(error) as caught:
        links.put("t/y", b"x")
    assert told in (caught.value.hint or "")
    assert len(lying_server.asked) == 1
    links.close()


@pytest.mark.usefixtures("new_file")
def test_links_for_something_else_than_was_asked_for_are_refused(
    client: RemoteManifold, lying_server: LyingServer
) -> None:
    for change in (
        setting("links", []),
        setting("links.0.name", "a" * 26),
        lambda said: said.update(links=said["links"] * 2),
    ):
        lying_server.lie = lie_about("/links", change)
        with pytest.raises(BadAnswer):
            client.sessions.commit(S1)


@pytest.mark.usefixtures("new_file")
def test_a_link_brings_no_headers_that_make_another_request_of_it(
    client: RemoteManifold, lying_server: LyingServer
) -> None:
    for headers in (
        {"Host": "internal"},
        {"Transfer-Encoding": "chunked"},
        {"Authorization": "x"},
        {"X-Metadata-Token": "x"},
        {"If-None-Match": "*\r\nHost: internal"},
        {"x-amz-a\r\nHost": "internal"},
    ):
        lying_server.lie = lie_about("/links", lambda said: said["links"][0]["headers"].update(headers))  # noqa: B023
        with pytest.raises(BadAnswer):
            client.sessions.commit(S1)


@pytest.mark.parametrize(
    ("address", "reach"),
    [
        ("127.0.0.1", Reach.MACHINE),
        ("127.8.9.1", Reach.MACHINE),
        ("::1", Reach.MACHINE),
        ("::ffff:127.0.0.1", Reach.MACHINE),
        ("0.0.0.0", Reach.MACHINE),
        ("169.254.169.254", Reach.LINK),
        ("fe80::1%eth0", Reach.LINK),
        ("10.0.0.1", Reach.PRIVATE),
        ("192.168.1.1", Reach.PRIVATE),
        ("172.16.0.9", Reach.PRIVATE),
        ("100.64.0.1", Reach.PRIVATE),
        ("fd00::1", Reach.PRIVATE),
        ("93.184.216.34", Reach.EVERYWHERE),
        ("2606:4700::1111", Reach.EVERYWHERE),
    ],
)
def test_how_far_in_an_address_is(address: str, reach: Reach) -> None:
    assert reach_of(address) is reach


@pytest.mark.parametrize(("server_at", "allowed"), [("93.184.216.34", False), ("10.0.0.1", False), ("127.0.0.1", True)])
@pytest.mark.parametrize("private_store", [False, True])
def test_a_link_leads_no_further_in_than_the_server_is(
    lying_server: LyingServer, server_at: str, allowed: bool, private_store: bool
) -> None:
    """Here to a service of this machine, which a far server cannot reach by itself."""
    network = Network(private_store=private_store)
    network._note(server_at)
    links = LinkedObjects(
        clock=SystemClock(),
        randomness=SystemRandomness(),
        network=network,
        server_url=lying_server.url,
        policy=RetryPolicy(attempts=1),
    )
    url = lying_server.url + "/api/v1/projects"
    links.grant([ObjectGrant("t/x", 1, "a" * 26, "a" * 26, b"", url)])  # type: ignore[arg-type]
    links.offer("t/y", UploadLink("a" * 26, url, {"If-None-Match": "*"}))  # type: ignore[arg-type]
    try:
        if allowed:
            assert links.get("t/x", max_bytes=1 << 20)
            return
        with pytest.raises(BadAnswer, match="further in"):
            links.get("t/x", max_bytes=1 << 20)
        with pytest.raises(BadAnswer, match="further in"):
            links.put("t/y", b"x")
        assert lying_server.asked == []
    finally:
        links.close()


def test_a_server_that_was_met_at_two_addresses_counts_as_the_farther(lying_server: LyingServer) -> None:
    network = Network()
    for address in ("93.184.216.34", "127.0.0.1"):
        network._note(address)
    with network.to_links() as pool, pytest.raises(urllib3.exceptions.HTTPError, match="further in"):
        pool.request("GET", lying_server.url)
    assert lying_server.asked == []


FALSE_BODIES = [
    Answer(b"short", 206, {"Content-Range": "bytes 0-999999/1000000"}),
    Answer(b"x" * 5_000_000, 206, {"Content-Range": "bytes 0-9/10"}),
    Answer(b"x" * 100, 200, {}),
    Answer(b"x" * 10, 206, {"Content-Length": "1000"}),
    Answer(b"x", 206, {"Content-Length": "abc"}),
    Answer(b"", 302, {"Location": "http://127.0.0.1:1/"}),
    Answer(b"", 206, {}, endless=b"x" * 65536),
    Answer(b"", 200, {"Content-Encoding": "gzip"}),
]


def test_what_a_store_answers_falsely_is_refused_and_leaves_nothing(
    make_client: MakeClient, lying_server: LyingServer, server: RemoteServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The links of this server lead to the server itself."""
    project = new_project(server.manifold, "large", a=bytes(range(256)) * 20_000)
    client = make_client(url=lying_server.url)
    monkeypatch.setattr(client.context.links, "_policy", RetryPolicy(attempts=1))
    for said in FALSE_BODIES:

        def lie(asked: str, answer: Any, said: Answer = said) -> Any:
            if "/object/" in asked:
                return said
            for number, grant in enumerate((answer or {}).get("plan", {}).get("objects", [])):
                grant["url"] = f"{lying_server.url}/object/{number}"
            return answer

        lying_server.lie = lie
        with pytest.raises((CorruptObject, StoreUnavailable)):
            client.sessions.checkout(S1, project)
    assert not any(Path(client.sessions.folder_of(owner)).exists() for owner in client.sessions.here())
    lying_server.lie = truth
    assert client.sessions.checkout(S1, project).entries == 1
