"""Bodies that come slowly, end early, or are too large; and clients that do not wait for the answer."""

from __future__ import annotations

import socket
import sys
import threading
import traceback

import pytest

from tests.support.api import Api, MakeApi
from tests.support.waiting import wait_until

FILES = "/api/v1/projects/demo/files"


def generation(api: Api) -> int:
    return int(api.get("/api/v1/projects/demo").json()["generation"])


def head(target: str, *headers: str) -> bytes:
    lines = (f"PUT {target} HTTP/1.1", "Host: localhost", *headers, "", "")
    return "\r\n".join(lines).encode()


def no_upload_is_running() -> bool:
    return not any(_is_busy(thread) for thread in threading.enumerate() if "AnyIO" in thread.name)


def _is_busy(thread: threading.Thread) -> bool:
    frame = sys._current_frames().get(thread.ident or 0)
    return frame is not None and "upload.py" in "".join(traceback.format_stack(frame))


def test_a_client_that_hangs_up_after_the_last_byte_gets_its_commit(api: Api) -> None:
    """A closed browser tab cancelled the commit: whatever the moment, a body that arrived whole is committed."""
    api.project()
    for number in range(40):
        with api.connect() as client:
            client.sendall(head(f"{FILES}/f{number}", "Content-Length: 5") + b"hello")
    wait_until(lambda: generation(api) == 40)
    assert len(api.get("/api/v1/projects/demo/tree").json()["items"]) == 40


def test_the_same_holds_for_chunked_bodies_in_two_pieces(api: Api) -> None:
    api.project()
    for number in range(20):
        with api.connect() as client:
            client.sendall(head(f"{FILES}/f{number}", "Transfer-Encoding: chunked") + b"5\r\nhello\r\n")
            client.sendall(b"6\r\n world\r\n0\r\n\r\n")
    wait_until(lambda: generation(api) == 20)
    assert api.get(f"{FILES}/f7").content == b"hello world"


@pytest.mark.parametrize(
    "request_bytes",
    [
        head(f"{FILES}/a", "Content-Length: 10") + b"hello",
        head(f"{FILES}/a", "Content-Length: 3000000") + b"x" * 2_000_000,
        head(f"{FILES}/a", "Transfer-Encoding: chunked") + b"5\r\nhello\r\n",
        head(f"{FILES}/a", "Transfer-Encoding: chunked") + b"5\r\nhel",
        head(f"{FILES}/a", "Transfer-Encoding: chunked") + b"5\r\nhello\r\nZZ\r\n",
        head(f"{FILES}/a", "Transfer-Encoding: chunked") + b"5\r\nhello\r\n0\r\n",
    ],
)
def test_a_body_that_ends_early_commits_nothing(api: Api, request_bytes: bytes) -> None:
    api.project()
    with api.connect() as client:
        client.sendall(request_bytes)
        client.shutdown(socket.SHUT_WR)
        while client.recv(65536):
            pass
    wait_until(no_upload_is_running)
    assert generation(api) == 0
    assert api.get("/api/v1/projects/demo/tree").json()["items"] == []


def test_an_archive_that_ends_early_commits_nothing(api: Api) -> None:
    api.project("source")
    api.put("/api/v1/projects/source/files/a", content=b"x" * 100_000)
    whole = api.get("/api/v1/projects/source/archive").content
    api.project()
    with api.connect() as client:
        request = (
            f"POST /api/v1/projects/demo/archive HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(whole)}\r\n\r\n"
        )
        client.sendall(request.encode() + whole[:-1])
        client.shutdown(socket.SHUT_WR)
        while client.recv(65536):
            pass
    wait_until(no_upload_is_running)
    assert generation(api) == 0


def test_a_client_that_stalls_is_given_up(make_api: MakeApi) -> None:
    api = make_api(SERVER_STALL_SECONDS="0.1")
    api.project()
    with api.connect() as client:
        client.sendall(head(f"{FILES}/a", "Content-Length: 10") + b"hello")
        assert client.recv(65536).startswith(b"HTTP/1.1 408 ")
    assert generation(api) == 0


def test_a_body_that_says_it_is_too_large_is_refused_before_it_is_sent(make_api: MakeApi) -> None:
    api = make_api(SERVER_MAX_UPLOAD_BYTES="1000")
    api.project()
    with api.connect() as client:
        client.sendall(head(f"{FILES}/a", "Content-Length: 1001", "Expect: 100-continue"))
        answer = client.recv(65536)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"100 Continue" not in answer
    assert generation(api) == 0


def test_a_body_that_turns_out_too_large_is_refused(make_api: MakeApi) -> None:
    api = make_api(SERVER_MAX_UPLOAD_BYTES="1000")
    api.project()
    answer = api.put(f"{FILES}/a", content=(b"x" * 100 for _ in range(11)))
    assert (answer.status_code, answer.json()["code"]) == (413, "quota_exceeded")
    assert answer.json()["details"] == {"limit": 1000}
    assert generation(api) == 0
    assert api.put(f"{FILES}/a", content=(b"x" * 100 for _ in range(10))).status_code == 201


def test_a_file_over_its_quota_is_refused_with_an_answer_that_arrives(make_api: MakeApi) -> None:
    api = make_api(PROJECTS_QUOTAS_MAX_FILE_BYTES="1000000")
    api.project()
    answer = api.put(f"{FILES}/a", content=b"x" * 3_000_000)
    assert (answer.status_code, answer.json()["code"]) == (413, "quota_exceeded")
    assert generation(api) == 0


@pytest.mark.parametrize("headers", [{"Content-Encoding": "gzip"}, {"Content-Type": "multipart/form-data; boundary=x"}])
def test_a_body_that_is_not_the_file_itself_is_refused(api: Api, headers: dict[str, str]) -> None:
    api.project()
    answer = api.put(f"{FILES}/a", content=b"x", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")
    assert "curl" in answer.text or "Content-Encoding" in answer.text


def test_slow_uploads_do_not_keep_others_waiting(api: Api) -> None:
    api.project()
    clients = [api.connect() for _ in range(60)]
    for number, client in enumerate(clients):
        client.sendall(head(f"{FILES}/slow{number}", "Content-Length: 2") + b"a")
    assert api.get("/readyz").status_code == 200
    assert api.get("/api/v1/projects").status_code == 200
    for client in clients:
        client.sendall(b"b")
    for client in clients:
        assert client.recv(65536).startswith(b"HTTP/1.1 201 ")
        client.close()
    assert generation(api) == 60


def test_a_download_that_nobody_takes_any_more_is_given_up(api: Api) -> None:
    api.project()
    api.put(f"{FILES}/large", content=b"0123456789abcdef" * (2 << 20))
    for _ in range(5):
        with api.connect() as client:
            client.sendall(f"GET {FILES}/large HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            assert client.recv(1000).startswith(b"HTTP/1.1 200 ")
    assert api.get(f"{FILES}/large", headers={"Range": "bytes=-16"}).content == b"0123456789abcdef"
