"""The real host process, with its own PostgreSQL, as an operator starts and stops it."""

from __future__ import annotations

import json
import random
import shutil
import signal
import socket
import time
from pathlib import Path

import httpx
import pytest
from manifold_local.host_lock import host_is_running

from tests.support.embedded import postgres_processes
from tests.support.host import MakeHost


def test_what_was_committed_is_there_after_a_restart(make_host: MakeHost) -> None:
    host = make_host(embedded=True)
    content = random.Random(3).randbytes(200_000)
    with host.ready() as client:
        assert client.post("/api/v1/projects", json={"name": "demo"}).status_code == 201
        assert client.put("/api/v1/projects/demo/files/a/b.bin", content=content).json()["generation"] == 1
        part = client.get("/api/v1/projects/demo/files/a/b.bin", headers={"Range": "bytes=1000-1999"})
        assert (part.status_code, part.content) == (206, content[1000:2000])
        refused = client.put("/api/v1/projects/demo/files/a/b.bin", content=b"", headers={"If-Match": '"0"'})
        assert (refused.status_code, refused.json()["code"]) == (412, "generation_mismatch")
        assert client.get("/api/v1/projects/demo/files/../x").json()["code"]
    code, out, err = host.stop()
    assert code == 0, err
    assert "no sign-in" in out and "curl http://127.0.0.1:" in out and "manifold import" in out

    with make_host(embedded=True).ready() as client:
        assert client.get("/api/v1/projects/demo/files/a/b.bin").content == content
        assert client.get("/api/v1/projects/demo/commits").json()["items"][0]["generation"] == 1


def test_uncommitted_changes_survive_the_end_of_the_host_and_the_loss_of_its_ram(
    make_host: MakeHost, ram_folder: Path
) -> None:
    host = make_host()
    with host.ready() as client:
        client.post("/api/v1/projects", json={"name": "demo"})
        client.put("/api/v1/projects/demo/files/a", content=b"committed")
        work = Path(client.post("/api/v1/sessions", json={"project": "demo", "session": "s1"}).json()["path"])
        (work / "a").write_bytes(b"changed")
        (work / "new").write_bytes(b"new")
    assert host.stop()[0] == 0
    shutil.rmtree(ram_folder / "ram")

    with make_host().ready() as client:
        again = client.post("/api/v1/sessions/s1/checkout").json()
        assert again["kind"] == "restored"
        assert (Path(again["path"]) / "a").read_bytes() == b"changed"
        assert (Path(again["path"]) / "new").read_bytes() == b"new"


def test_a_killed_host_leaves_nothing_that_keeps_the_next_from_starting(make_host: MakeHost) -> None:
    first = make_host(embedded=True)
    with first.ready() as client:
        client.post("/api/v1/projects", json={"name": "demo"})
        client.put("/api/v1/projects/demo/files/a", content=b"x")
        work = Path(client.post("/api/v1/sessions", json={"project": "demo", "session": "s1"}).json()["path"])
        (work / "a").write_bytes(b"changed")
    first.stop(signal.SIGKILL)
    assert host_is_running(first.workdir) is None
    with make_host(embedded=True).ready() as client:
        assert client.get("/api/v1/projects/demo/files/a").content == b"x"
        changed = client.get("/api/v1/sessions/s1/status").json()["differences"]
        assert [(item["path"], item["change"]) for item in changed] == [("a", "modified")]


def test_a_host_that_stops_leaves_no_database_running(make_host: MakeHost) -> None:
    host = make_host(embedded=True)
    host.ready()
    assert postgres_processes(host.workdir / ".postgres")
    assert host.stop()[0] == 0
    assert not postgres_processes(host.workdir / ".postgres")


@pytest.mark.in_memory("a store in a bucket does not move")
def test_a_host_whose_workdir_is_moved_stops_and_the_next_one_goes_on_from_there(make_host: MakeHost) -> None:
    host = make_host(embedded=True)
    with host.ready() as client:
        client.post("/api/v1/projects", json={"name": "demo"})
        assert client.put("/api/v1/projects/demo/files/a", content=b"x").status_code < 300
        moved = host.workdir.rename(host.workdir.with_name("moved"))
        assert client.put("/api/v1/projects/demo/files/b", content=b"lost?").status_code == 503
    assert host.process.wait(30) == 1
    _, err = host.process.communicate()
    assert "was moved or removed" in err
    assert not host.workdir.exists()
    assert not postgres_processes(moved / ".postgres")
    with make_host(embedded=True, WORKDIR=str(moved)).ready(moved) as client:
        assert client.get("/api/v1/projects/demo/files/a").content == b"x"


def test_a_second_host_on_one_workdir_is_refused_and_told_where_the_first_is(make_host: MakeHost) -> None:
    first = make_host()
    url = str(first.ready().base_url)
    found = host_is_running(first.workdir)
    assert found is not None and (found.pid, found.url) == (first.process.pid, url)
    second = make_host()
    _, err = second.process.communicate(timeout=30)
    assert second.process.returncode == 4
    assert url in err and str(first.process.pid) in err
    assert first.stop()[0] == 0
    assert host_is_running(first.workdir) is None


def test_a_port_that_is_taken_is_named_with_what_to_do(make_host: MakeHost) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        host = make_host(SERVER_PORT=str(port))
        _, err = host.process.communicate(timeout=30)
    assert host.process.returncode == 4
    assert f"port {port}" in err and "SERVER_PORT" in err


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"SERVER_HOST": "somewhere.example"}, "not an IP address"),
        ({"SERVER_HOST": "203.0.113.9"}, "cannot be listened on"),
        ({"AUTH_ENABLED": "true"}, "auth.enabled: has no effect yet: this release has no sign-in"),
    ],
)
def test_what_it_cannot_do_it_refuses_at_the_start(make_host: MakeHost, variables: dict[str, str], said: str) -> None:
    host = make_host(**variables)
    _, err = host.process.communicate(timeout=30)
    assert host.process.returncode == 2
    assert said in err


def test_what_its_operator_should_know_is_said_at_the_start(make_host: MakeHost) -> None:
    """That other machines are let in, loudly, and what was set and has no effect yet, once."""
    host = make_host(SERVER_HOST="0.0.0.0", OPENAI_API_KEY="sk-of-the-tests", OTEL_SERVICE_NAME="manifold")
    host.ready().close()
    code, out, err = host.stop()
    assert code == 0
    for said in ("variable OPENAI_API_KEY: llm.apiKey: has no effect yet", "otel.serviceName: has no effect yet"):
        assert err.count(said) == 1
    assert "sk-of-the-tests" not in out + err
    assert "EVERYONE WHO CAN REACH THIS MACHINE" in out and "0.0.0.0" in out


def _begin_upload(client: httpx.Client, name: str) -> socket.socket:
    """Send all of an upload but its last byte."""
    connection = socket.create_connection((client.base_url.host, client.base_url.port or 0), timeout=30)
    head = f"PUT /api/v1/projects/demo/files/{name} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n"
    connection.sendall(f"{head}Expect: 100-continue\r\n\r\n".encode())
    assert b"100 Continue" in connection.recv(1000)  # so the request is running
    connection.sendall(b"ab")
    return connection


def _wait_until_closed(address: tuple[str, int]) -> None:
    """Wait until the port takes no new clients."""
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(address, timeout=5).close()
        except ConnectionResetError:
            pass  # it closes at this very moment: the next one is refused
        except ConnectionRefusedError:
            return
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_request_that_runs_is_finished_before_the_host_stops(make_host: MakeHost) -> None:
    host = make_host()
    with host.ready() as client:
        client.post("/api/v1/projects", json={"name": "demo"})
        connection = _begin_upload(client, "slow")
        address = (client.base_url.host, client.base_url.port or 0)
    host.process.send_signal(signal.SIGTERM)
    _wait_until_closed(address)
    connection.sendall(b"c")
    assert connection.recv(65536).startswith(b"HTTP/1.1 201 ")
    connection.close()
    _, err = host.process.communicate(timeout=40)
    assert host.process.returncode == 0, err
    with make_host().ready() as client:
        assert client.get("/api/v1/projects/demo/files/slow").content == b"abc"


@pytest.mark.alone("measures how long the host takes to stop")
def test_a_request_that_never_ends_does_not_keep_the_host(make_host: MakeHost) -> None:
    host = make_host(SERVER_SHUTDOWN_SECONDS="2")
    with host.ready() as client:
        client.post("/api/v1/projects", json={"name": "demo"})
        connection = _begin_upload(client, "endless")
    started = time.monotonic()
    code, _, err = host.stop()
    connection.close()
    assert code == 0, err
    assert time.monotonic() - started < 7
    with make_host().ready() as client:
        assert client.get("/api/v1/projects/demo").json()["generation"] == 0


def test_a_second_interrupt_ends_it_at_once(make_host: MakeHost) -> None:
    host = make_host(SERVER_SHUTDOWN_SECONDS="60")
    with host.ready() as client:
        client.post("/api/v1/projects", json={"name": "demo"})
        connection = _begin_upload(client, "endless")
        address = (client.base_url.host, client.base_url.port or 0)
    host.process.send_signal(signal.SIGINT)
    _wait_until_closed(address)
    code, _, _ = host.stop(signal.SIGINT)
    connection.close()
    assert code == 130


def test_an_interrupt_while_it_starts_is_a_clean_end(make_host: MakeHost) -> None:
    host = make_host()
    deadline = time.monotonic() + 60
    while host_is_running(host.workdir) is None:
        assert host.process.poll() is None
        assert time.monotonic() < deadline
    code, _, err = host.stop(signal.SIGINT)
    assert code == 0, err
    assert "Traceback" not in err
    with make_host().ready() as client:
        assert client.get("/api/v1/projects").json()["items"] == []


def test_no_name_or_content_reaches_the_log_or_the_disk_of_an_encrypted_host(make_host: MakeHost) -> None:
    name, text = "canary-name-7391", b"canary-content-5582"
    host = make_host(embedded=True, LOG_LEVEL="debug")
    with host.ready() as client:
        client.post("/api/v1/projects", json={"name": "demo"})
        client.put(f"/api/v1/projects/demo/files/{name}", content=text, params={"message": name})
        client.get(f"/api/v1/projects/demo/files/{name}")
        client.get(f"/api/v1/projects/demo/files/{name}/below")
        client.post(
            "/api/v1/projects/demo/archive", content=client.get("/api/v1/projects/demo/archive?format=zip").content
        )
        work = Path(client.post("/api/v1/sessions", json={"project": "demo", "session": "s1"}).json()["path"])
        (work / f"{name}-2").write_bytes(text)
        client.post("/api/v1/sessions/s1/save")
    code, out, err = host.stop()
    assert code == 0
    lines = [json.loads(line) for line in err.splitlines()]
    assert any("/api/v1/projects/{project}/files/{path:rest} 200" in line["message"] for line in lines)
    assert name not in out + err and text.decode() not in out + err
    for path in host.workdir.rglob("*"):
        assert name not in str(path)
        if path.is_file():
            data = path.read_bytes()
            assert name.encode() not in data and text not in data, path
