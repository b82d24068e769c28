"""A gateway between client and server that gives up: what was sent may have been done, and the client says so."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from manifold_common.adapters.remote.server import HttpServer
from manifold_common.errors import AlreadyExists, ManifoldError, OutcomeUnknown, Unavailable
from manifold_common.ids import parse_session_id
from manifold_common.shapes.access import Published

from tests.support.lying_server import Answer, LyingServer
from tests.support.remote import MakeClient, RemoteServer

S1 = parse_session_id("agent-1")
GAVE_UP = [
    Answer(b'{"message":"Service Unavailable"}', 503),
    Answer(b'{"message":"Internal Server Error"}', 500),
    Answer(b"<html>bad gateway</html>", 502),
    Answer(b"", 504),
]


class Gateway:
    """Passes requests on, and answers those that end with ``path`` itself, after the server has done them."""

    def __init__(self, server: LyingServer) -> None:
        self.path, self.says, self.times = "", GAVE_UP[0], 0
        server.lie = self._answer
        self._server = server

    def give_up(self, path: str, says: Answer, times: int = 1000) -> None:
        self.path, self.says, self.times = path, says, times
        self._server.asked.clear()

    def asked(self) -> int:
        return sum(one.endswith(self.path) for one in self._server.asked)

    def _answer(self, asked: str, true: Any) -> Any:
        if self.path and asked.endswith(self.path) and self.times > 0:
            self.times -= 1
            return self.says
        return true


@pytest.fixture
def gateway(lying_server: LyingServer) -> Gateway:
    return Gateway(lying_server)


@pytest.mark.parametrize("says", GAVE_UP[:2], ids=lambda one: str(one.status))
def test_a_commit_whose_answer_a_gateway_lost_is_sent_again_and_made_once(
    make_client: MakeClient, lying_server: LyingServer, gateway: Gateway, says: Answer
) -> None:
    client = make_client("a", lying_server.url)
    project = client.projects.create("demo").id
    here = Path(client.sessions.checkout(S1, project).path)
    (here / "a.txt").write_text("one\n")
    gateway.give_up("/publish", says, times=2)
    done = client.sessions.commit(S1)
    assert (done.generation, done.added, gateway.asked()) == (1, 1, 3)

    (here / "a.txt").write_text("two\n")
    gateway.give_up("/publish", says)
    with pytest.raises(OutcomeUnknown, match="not known whether POST /api/sessions/agent-1/publish was done") as caught:
        client.sessions.commit(S1)
    assert "do the same again" in (caught.value.hint or "")
    gateway.give_up("", says)
    again = client.sessions.commit(S1)
    assert (again.generation, again.conflicts) == (2, [])
    assert [entry.generation for entry in client.projects.log(project)] == [2, 1], "it was made once"


def test_a_repeat_that_meets_the_first_request_at_work_is_answered_like_it(
    make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gateway gives up on a function, which goes on: the next request finds another container."""
    client = make_client()
    project = client.projects.create("demo").id
    here = Path(client.sessions.checkout(S1, project).path)
    publish, found = HttpServer.publish, []

    def at_once(self: HttpServer, *arguments: Any, **words: Any) -> Published:
        with ThreadPoolExecutor(4) as threads:
            calls = [threads.submit(publish, self, *arguments, **words) for _ in range(4)]
            found.append([call.result() for call in calls])
        return found[-1][0]

    monkeypatch.setattr(HttpServer, "publish", at_once)
    for generation in (1, 2, 3):
        (here / "a.txt").write_text(f"{generation}\n")
        assert client.sessions.commit(S1).generation == generation
    assert [len({one.commit for one in answers}) for answers in found] == [1, 1, 1]
    assert [entry.generation for entry in client.projects.log(project)] == [3, 2, 1]


def test_a_change_without_a_name_is_sent_once_and_never_called_failed(
    server: RemoteServer, make_client: MakeClient, lying_server: LyingServer, gateway: Gateway
) -> None:
    client = make_client("a", lying_server.url)
    gateway.give_up("/api/projects", GAVE_UP[0])
    with pytest.raises(OutcomeUnknown, match="not known whether POST /api/projects was done") as caught:
        client.projects.create("demo")
    assert (gateway.asked(), caught.value.code) == (1, "outcome_unknown")
    assert "look before" in (caught.value.hint or "")
    gateway.give_up("", GAVE_UP[0])
    with pytest.raises(AlreadyExists):
        client.projects.create("demo")


@pytest.mark.parametrize(
    ("says", "kind"),
    [
        (Answer(b'{"message":"Too Many Requests"}', 429), Unavailable),
        (Answer(json.dumps({"code": "catalog_unavailable", "detail": "no"}).encode(), 503), Unavailable),
    ],
)
def test_a_refusal_is_none_of_these(
    make_client: MakeClient, lying_server: LyingServer, gateway: Gateway, says: Answer, kind: type[ManifoldError]
) -> None:
    gateway.give_up("/api/projects", says)
    with pytest.raises(kind) as caught:
        make_client("a", lying_server.url).projects.create("demo")
    assert not isinstance(caught.value, OutcomeUnknown)


def test_a_connection_that_breaks_leaves_the_outcome_open_and_one_that_never_was_does_not(
    make_client: MakeClient, lying_server: LyingServer, gateway: Gateway
) -> None:
    client = make_client("a", lying_server.url)
    gateway.give_up("/api/projects", Answer(headers={"Content-Length": "100"}))
    with pytest.raises(OutcomeUnknown, match="broke"):
        client.projects.create("demo")
    lying_server.stop()
    with pytest.raises(Unavailable) as caught:
        client.projects.create("other")
    assert not isinstance(caught.value, OutcomeUnknown)


def test_what_was_sent_stays_unknown_where_the_gateway_asks_to_be_left_alone_after_it(
    make_client: MakeClient, lying_server: LyingServer, gateway: Gateway
) -> None:
    client = make_client("a", lying_server.url)
    project = client.projects.create("demo").id
    here = Path(client.sessions.checkout(S1, project).path)
    (here / "a.txt").write_text("one\n")
    gateway.give_up("/publish", Answer(b"busy", 503, {"Retry-After": "1"}), times=1)
    assert client.sessions.commit(S1).generation == 1
    (here / "a.txt").write_text("two\n")
    gateway.give_up("/publish", Answer(b"busy", 503, {"Retry-After": "3600"}))
    with pytest.raises(OutcomeUnknown):
        client.sessions.commit(S1)


def test_reads_go_on_after_a_gateway_has_lost_an_answer(
    make_client: MakeClient, lying_server: LyingServer, gateway: Gateway
) -> None:
    client = make_client("a", lying_server.url)
    client.projects.create("demo")
    for says in GAVE_UP:
        gateway.give_up("/demo", says, times=2)
        assert client.projects.resolve("demo").name == "demo"
