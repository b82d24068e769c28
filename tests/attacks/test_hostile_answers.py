"""What a server, or something before it, answers that is no answer: it ends, is a sentence, and is nobody's bug."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
import urllib3
from manifold_common.adapters.remote import bodies
from manifold_common.adapters.remote import server as remote_server
from manifold_common.adapters.remote.problems import error_of
from manifold_common.adapters.system.clock import SystemClock
from manifold_common.bootstrap.remote import RemoteManifold
from manifold_common.errors import (
    BadAnswer,
    CommitConflict,
    Conflict,
    Denied,
    InternalError,
    InvalidInput,
    ManifoldError,
    NotFound,
    Unavailable,
    UnknownAddress,
)
from manifold_common.ids import ProjectId
from manifold_common.ports.retry import RetryPolicy

from tests.support.lying_server import Answer, LyingServer
from tests.support.remote import MakeClient, RemoteServer
from tests.support.work import S1


def test_a_redirection_is_not_followed(client: RemoteManifold, lying_server: LyingServer, project: ProjectId) -> None:
    for status in (301, 302, 303, 307, 308):
        lying_server.lie = lambda asked, answer: Answer(b"", status, {"Location": lying_server.url + "/elsewhere"})  # noqa: B023
        with pytest.raises(BadAnswer, match="not Manifold"):
            client.sessions.checkout(S1, project)
    assert not any("elsewhere" in asked for asked in lying_server.asked)


@pytest.mark.parametrize(
    "body",
    [
        b"<html>no such page</html>",
        b'{"code": "unknown_address", "detail": "none"}',
        b'{"code": "not_found", "detail": "none", "hint": "see /api/openapi.json for what there is"}',  # before v1
    ],
)
def test_an_address_that_is_not_there_says_nothing_of_a_project(
    client: RemoteManifold, lying_server: LyingServer, project: ProjectId, body: bytes
) -> None:
    work = Path(client.sessions.checkout(S1, project).path)
    (work / "new").write_bytes(b"work")
    lying_server.lie = lambda asked, answer: Answer(body, 404)
    for wanted in (lambda: client.projects.resolve("demo"), lambda: client.sessions.close(S1)):
        with pytest.raises(UnknownAddress):
            wanted()
    assert (work / "new").read_bytes() == b"work"


def test_an_answer_has_an_end(
    client: RemoteManifold, lying_server: LyingServer, project: ProjectId, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_server, "_MAX_ANSWER_BYTES", 1 << 20)
    for status in (200, 500, 404):
        lying_server.lie = lambda asked, answer: Answer(b'{"', status, endless=b"x" * 65536)  # noqa: B023
        with pytest.raises(BadAnswer, match="more than"):
            client.sessions.checkout(S1, project)


@pytest.mark.alone("measures time-outs")
def test_an_answer_that_comes_byte_by_byte_is_given_up(
    make_client: MakeClient, lying_server: LyingServer, project: ProjectId, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Dripping(bytes):
        """Bytes that take their time."""

        def __bool__(self) -> bool:
            time.sleep(0.05)
            return True

    monkeypatch.setattr(remote_server, "_POLICY", RetryPolicy(attempts=1))
    client = make_client(url=lying_server.url, REMOTE_TIMEOUT_SECONDS="0.5")
    lying_server.lie = lambda asked, answer: Answer(b"{", endless=Dripping(b" "))
    begun = time.monotonic()
    with pytest.raises(Unavailable, match="too slowly"):
        client.sessions.checkout(S1, project)
    assert time.monotonic() - begun < 20


@pytest.mark.alone("measures time-outs")
@pytest.mark.parametrize(("body", "drop"), [(b"", b"T"), (bytes(64 << 20), b"")])
def test_headers_that_come_byte_by_byte_and_requests_that_are_not_taken_are_given_up(
    monkeypatch: pytest.MonkeyPatch, body: bytes, drop: bytes
) -> None:
    monkeypatch.setattr(bodies, "_CONNECT_SECONDS", 0.5)
    monkeypatch.setattr(bodies, "_SLOWEST_BYTES_A_SECOND", 1 << 30)
    listener, over = socket.create_server(("127.0.0.1", 0)), threading.Event()

    def serve() -> None:
        asking = listener.accept()[0]
        with asking, suppress(OSError):
            asking.sendall(b"HTTP/1.1 200 OK\r\nX: " if drop else b"")
            while not over.wait(0.05):
                asking.sendall(drop)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    pool = urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(connect=1.0, read=1.0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
    begun = time.monotonic()
    with pytest.raises(urllib3.exceptions.HTTPError):
        bodies.exchange(pool, "POST", url, headers={}, body=body, most=100, clock=SystemClock(), patience_seconds=0.5)
    assert time.monotonic() - begun < 5
    over.set()
    thread.join(5)
    listener.close()


def test_what_is_no_answer_is_refused(client: RemoteManifold, lying_server: LyingServer, project: ProjectId) -> None:
    for body in (
        b"[" * 200_000,
        b'{"a":' * 200_000,
        b'{"session": "s1"}',
        b"null",
        b"\xff\xfe",
        b"",
        b'{"plan": ' + b"9" * 10_000 + b"}",
    ):
        lying_server.lie = lambda asked, answer: Answer(body)  # noqa: B023
        for action in (
            lambda: client.sessions.checkout(S1, project),
            lambda: client.projects.all(),
            lambda: client.sessions.all(),
            lambda: client.projects.log(project),
            lambda: client.transfer.export(project, Path("never")),
        ):
            with pytest.raises(BadAnswer, match="no Manifold server answers"):
                action()


def test_a_deep_answer_where_anything_may_stand_is_refused(
    client: RemoteManifold, lying_server: LyingServer, project: ProjectId
) -> None:
    deep = b'{"items": [{"provenance": ' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}]}"
    lying_server.lie = lambda asked, answer: Answer(deep)
    with pytest.raises(BadAnswer):
        client.projects.log(project)


@pytest.mark.parametrize(
    "details",
    [
        {"hint": "x", "message": "y"},
        {"self": 1, "kind": "x", "details": {}},
        {"base_generation": [], "head_generation": {}, "paths": 5},
        {"session": "x", "retryable": True},
        {"object": {}, "reason": []},
    ],
)
@pytest.mark.parametrize(
    "code",
    ["session_moved", "commit_conflict", "corrupt_object", "not_found", "bad_answer", "no_such_code", "internal"],
)
def test_an_error_of_a_server_is_an_error_whatever_it_carries(code: str, details: dict[str, Any]) -> None:
    body = msgspec.json.encode({"code": code, "detail": "words", "hint": "more words", "details": details})
    error = error_of(409, body, "GET /x")
    assert isinstance(error, ManifoldError)
    assert "words" in str(error)


def test_an_error_that_is_none_is_told_as_what_it_is() -> None:
    for body in (b'{"code": "\x1b[2J"}', b"[" * 100_000, b'{"code": "' + b"a" * 100 + b'"}', b'{"code": 5}'):
        assert isinstance(error_of(404, body, "GET /x"), UnknownAddress)
        assert isinstance(error_of(403, body, "GET /x"), Denied)


@pytest.mark.parametrize("body", [b"", b"<html>sign in</html>", b"{}", b'{"message": "no"}'])
def test_no_answer_of_something_else_is_a_bug_of_manifold(body: bytes) -> None:
    for status in range(300, 600):
        error = error_of(status, body, "GET /x")
        expected: type[ManifoldError] = BadAnswer
        if status in (401, 403):
            expected = Denied
        elif status == 404:
            expected = UnknownAddress
        elif status >= 500 or status in (408, 425, 429):
            expected = Unavailable
        assert type(error) is expected, status
        assert bool(error.details.get("retryable")) == (status in (408, 425, 429, 500, 502, 503, 504))


@pytest.mark.parametrize(
    "field", [rb'"detail": "\ud800"', b'"details": {"a": 1e999}', b'"details": {"a": %s}' % (b"9" * 5000)]
)
def test_a_problem_that_no_json_reader_takes_is_no_answer_of_manifold(field: bytes) -> None:
    assert type(error_of(409, b'{"code": "conflict", ' + field + b"}", "GET /x")) is BadAnswer


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InvalidInput),
        (403, Denied),
        (404, NotFound),
        (408, Unavailable),
        (409, Conflict),
        (410, NotFound),
        (412, Conflict),
        (415, InvalidInput),
        (429, Unavailable),
        (500, InternalError),
        (503, Unavailable),
        (507, Unavailable),
    ],
)
def test_an_error_of_a_newer_server_goes_by_its_status(status: int, kind: type[ManifoldError]) -> None:
    body = msgspec.json.encode({"code": "of_a_newer_server", "detail": "words", "details": {"fact": 1}})
    error = error_of(status, body, "GET /x")
    assert (type(error), error.details.get("fact")) == (kind, 1)
    assert "of_a_newer_server" in error.message


@pytest.mark.parametrize("code", ["conflict", "commit_conflict", "corrupt_object", "of_a_newer_server"])
def test_a_server_writes_no_lines_of_its_own(code: str) -> None:
    forged = "x\nhint: run this\r\u2028hint: or this"
    details = {"session": forged, "project": forged, "object": forged, "reason": forged}
    body = msgspec.json.encode({"code": code, "detail": forged, "hint": forged, "details": details})
    error = error_of(409, body, "GET /x")
    assert len(error.message.splitlines()) == len((error.hint or "x").splitlines()) == 1
    assert not isinstance(error, CommitConflict) or (error.session, error.project) == (None, "")


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (None, "connection refused"),
        (b"", "it closed the connection"),
        (b"garbage\r\n\r\n", "it does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70_000, "it does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc", "the answer broke off"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc", "the answer broke off"),
    ],
)
def test_what_is_wrong_with_a_connection_is_said_in_words(
    make_client: MakeClient, monkeypatch: pytest.MonkeyPatch, said: bytes | None, words: str
) -> None:
    monkeypatch.setattr(remote_server, "_POLICY", RetryPolicy(attempts=1))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def serve() -> None:
            asking = listener.accept()[0]
            with asking:
                asking.recv(1 << 16)
                asking.sendall(said or b"")

        thread = threading.Thread(target=serve, daemon=True)
        if said is None:
            listener.close()
        else:
            thread.start()
        with pytest.raises(Unavailable) as refused:
            make_client(url=f"http://127.0.0.1:{port}").projects.all()
        assert refused.value.message == f"the server http://127.0.0.1:{port} cannot be reached: {words}"
        if said is not None:
            thread.join(5)


def test_a_name_that_is_not_known_and_what_is_not_encrypted_is_said_in_words(
    make_client: MakeClient, server: RemoteServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_server, "_POLICY", RetryPolicy(attempts=1))
    for url, words in (
        ("http://nowhere.invalid", "no address is known for its name"),
        (server.url.replace("http:", "https:"), "no secure connection can be made (wrong version number)"),
    ):
        with pytest.raises(Unavailable) as refused:
            make_client(url=url).projects.all()
        assert refused.value.message == f"the server {url} cannot be reached: {words}"
