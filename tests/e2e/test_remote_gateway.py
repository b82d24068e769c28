"""A gateway between client and server that gives up: what was sent may have been done, and the client says so."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest
from manifold_common.adapters.remote.server import HttpServer
from manifold_common.domain.conflict import Strategy
from manifold_common.errors import AlreadyExists, BadAnswer, CommitConflict, ManifoldError, OutcomeUnknown, Unavailable
from manifold_common.ids import SessionId, parse_session_id
from manifold_common.shapes.access import Published, SessionPlan
from manifold_common.shapes.intent import Intent
from manifold_common.shapes.requests import CheckoutRequest

from tests.support.lying_server import Answer, LyingServer, lie_about, setting
from tests.support.remote import MakeClient, RemoteServer
from tests.support.work import new_project, put

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
    with pytest.raises(
        OutcomeUnknown, match="not known whether POST /api/v1/sessions/agent-1/publish was done"
    ) as caught:
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
    gateway.give_up("/api/v1/projects", GAVE_UP[0])
    with pytest.raises(OutcomeUnknown, match="not known whether POST /api/v1/projects was done") as caught:
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
    gateway.give_up("/api/v1/projects", says)
    with pytest.raises(kind) as caught:
        make_client("a", lying_server.url).projects.create("demo")
    assert not isinstance(caught.value, OutcomeUnknown)


def test_a_connection_that_breaks_leaves_the_outcome_open_and_one_that_never_was_does_not(
    make_client: MakeClient, lying_server: LyingServer, gateway: Gateway
) -> None:
    client = make_client("a", lying_server.url)
    gateway.give_up("/api/v1/projects", Answer(headers={"Content-Length": "100"}))
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


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "folder"
    made.mkdir()
    (made / "new").write_bytes(b"new")
    return made


def test_an_import_that_is_made_has_succeeded_also_where_its_session_cannot_be_closed(
    make_client: MakeClient, lying_server: LyingServer, folder: Path
) -> None:
    client, left = make_client("a", lying_server.url), list[SessionId]()
    project = client.projects.create("demo").id
    lying_server.lie = lambda asked, true: GAVE_UP[0] if asked.startswith("DELETE /api/v1/sessions/import-") else true
    done = client.transfer.import_folder(project, folder, Intent(), left_open=left.append)
    assert (done.generation, len(left)) == (1, 1)


def test_what_kept_an_import_from_being_made_is_told_and_not_what_came_after_it(
    make_client: MakeClient, lying_server: LyingServer, folder: Path
) -> None:
    client, left = make_client("a", lying_server.url), list[SessionId]()
    project = client.projects.create("demo").id

    def lie(asked: str, true: Any) -> Any:
        if asked.endswith("/publish"):
            return Answer(msgspec.json.encode({"code": "commit_conflict", "detail": "others were first"}), 409)
        return GAVE_UP[0] if asked.startswith("DELETE") else true

    lying_server.lie = lie
    with pytest.raises(CommitConflict, match="others were first"):
        client.transfer.import_folder(project, folder, Intent(), left_open=left.append)
    assert len(left) == 1


@pytest.mark.parametrize("how", ["unavailable", "about another", "interrupted"])
def test_an_import_whose_plan_does_not_come_leaves_no_session(
    make_client: MakeClient, lying_server: LyingServer, folder: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = make_client("a", lying_server.url)
    project = client.projects.create("demo").id
    plan = client.context.server.plan_session
    if how == "unavailable":
        lying_server.lie = lambda asked, true: GAVE_UP[0] if asked.endswith("/plan") else true
    elif how == "about another":
        lying_server.lie = lie_about("/plan", setting("plan.project", "a" * 26))
    else:

        def interrupted(*arguments: Any, **words: Any) -> SessionPlan:
            plan(*arguments, **words)
            raise KeyboardInterrupt

        monkeypatch.setattr(client.context.server, "plan_session", interrupted)
    with pytest.raises((Unavailable, BadAnswer, KeyboardInterrupt)):
        client.transfer.import_folder(project, folder, Intent())
    assert client.sessions.all() == []
    assert client.projects.withdraw(project)


def test_what_cannot_be_kept_of_a_conflict_leaves_no_session(
    make_client: MakeClient, lying_server: LyingServer, server: RemoteServer
) -> None:
    client = make_client("a", lying_server.url)
    project = new_project(server.manifold, a=b"one")
    (Path(client.sessions.checkout(S1, project).path) / "a").write_bytes(b"mine")
    put(server.manifold, project, b"a", b"theirs")

    def lie(asked: str, true: Any) -> Any:
        is_kept = asked.endswith("/plan") and f"/{S1}/" not in asked
        return {**true, "plan": {**true["plan"], "project": "a" * 26}} if is_kept else true

    lying_server.lie = lie
    with pytest.raises(BadAnswer):
        client.sessions.checkout(S1, project, CheckoutRequest(strategy=Strategy.THEIRS))
    assert [one.session for one in client.sessions.all()] == [S1]
